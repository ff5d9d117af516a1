"""The tables of the database after the latest migration."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)


class Json(TypeDecorator[Any]):
    """JSON in ASCII, to store lone surrogates and zero bytes, which databases reject."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002  # interface
        """Return `value` as JSON."""
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        """Return the value of the JSON in the database."""
        return None if value is None else json.loads(value)


metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", Json, nullable=False),
    Column("suffix", String(8), nullable=False),
    Column("column", Json, nullable=False),
    Column("header", Json),
    Column("risk", Double),
    Column("model", Text, nullable=False),
    Column("version", String(64)),
    Column("labels", Json),
    Column("ratings", Json),
    Column("added", Json),
    Column("state", String(16), nullable=False),
    Column("rows", Integer, nullable=False, default=0),
    Column("done", Integer, nullable=False, default=0),
    Column("characters", BigInteger, nullable=False, default=0),
    Column("characters_done", BigInteger, nullable=False, default=0),
    Column("worked", Double, nullable=False, default=0.0),
    Column("created", Double, nullable=False),
    Column("ended", Double),
    Column("expires", Double),
    Column("error", Json),
    Column("error_code", Text),
    Column("owner", Text),
    Column("lease", Double, nullable=False, default=0.0),
    Column("verdicts", Json, nullable=False, default=dict),
    Column("stars", Json, nullable=False, default=dict),
    Column("key", Text),
    Column("bytes", BigInteger, nullable=False, default=0),
    Index("jobs_by_state", "state", "created"),
)
"""The fields of `Job`, and `lease`: until when `owner` may work on it, in seconds since 1970;
`bytes`: size of its rows."""

offers = Table(
    "offers",
    metadata,
    Column("owner", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("version", String(64), nullable=False),
    Column("seen", Double, nullable=False),
)
"""The models that the server `owner` offered when it was last `seen`, in seconds since 1970."""

ended_sessions = Table(
    "ended_sessions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("expires", Double, nullable=False),
)
"""Sessions of the pages that ended before they expired."""

job_rows = Table(
    "job_rows",
    metadata,
    Column("job", String(32), ForeignKey("jobs.id"), primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("line", Integer, nullable=False),
    Column("values", Json, nullable=False),
    Column("text", Text),
    Column("fault", Json),
    Column("cells", Text),
)
"""`values` is a list in the order of the job's `header`, otherwise an object. `text` is null in it,
to store it once. `fault`: why the row could not be read.
`cells`: the other cells as text, to search them; null: no other cells."""

job_columns = Table(
    "job_columns",
    metadata,
    Column("job", String(32), ForeignKey("jobs.id"), primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("name", Json, nullable=False),
    Column("kind", String(8), nullable=False),
    Column("content", Json, nullable=False),
)
"""The columns that rows can be grouped by. `content` is a list of the values and one of the index
of the value of each row."""

job_mentions = Table(
    "job_mentions",
    metadata,
    Column("job", String(32), ForeignKey("jobs.id"), primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("aspect", String(16), nullable=False),
    Column("quote", Text, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("positive", Double, nullable=False),
)
"""The fields of `Mention`, and its position in the text."""

job_answers = Table(
    "job_answers",
    metadata,
    Column("job", String(32), ForeignKey("jobs.id"), primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("label", Text),
    Column("score", Double),
    Column("positive", Double),
    Column("verdict", Text),
    Column("stars", Double),
    Column("error", Json),
)
"""Separate from the rows, which are wide: this table is sorted and counted."""

predictions = Table(
    "predictions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("created", Double, nullable=False),
    Column("text_hash", String(64), nullable=False),
    Column("text", Text),
    Column("model", Text, nullable=False),
    Column("version", String(64), nullable=False),
    Column("label", Text, nullable=False),
    Column("score", Double, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("stars", Double),
    Column("probabilities", Json, nullable=False),
    Column("share", Double),
    Index("predictions_by_time", "created"),
    Index("predictions_by_text", "text_hash"),
)
"""The fields of `KeptPrediction` and its prediction."""

feedback = Table(
    "feedback",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("created", Double, nullable=False),
    Column("prediction_id", String(32)),
    Column("text_hash", String(64), nullable=False),
    Column("text", Text),
    Column("label", Text),
    Column("stars", Double),
    Column("comment", Text),
    Column("source", Text, nullable=False),
    Column("key", Text),
    Column("idempotency_hash", String(64)),
    Column("digest", String(64)),
    Index("feedback_by_time", "created"),
    Index("feedback_by_text", "text_hash"),
    Index("feedback_by_prediction", "prediction_id"),
    Index("feedback_by_key", "idempotency_hash", unique=True),
)
"""The fields of `NewFeedback`. Not a foreign key: feedback may outlive its prediction."""
