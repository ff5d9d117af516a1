"""The tables of the database, as the newest migration leaves them."""

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
    """JSON in ASCII: so half of a pair and a zero byte can be kept, which databases refuse."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002  # as it is called
        """Return `value` as it is kept."""
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        """Return what was kept."""
        return None if value is None else json.loads(value)


metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", Json, nullable=False),
    Column("suffix", String(8), nullable=False),
    Column("column", Json, nullable=False),
    Column("risk", Double),
    Column("model", Text, nullable=False),
    Column("version", String(64)),
    Column("added", Json),
    Column("state", String(16), nullable=False),
    Column("rows", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("characters", BigInteger, nullable=False),
    Column("characters_done", BigInteger, nullable=False),
    Column("worked", Double, nullable=False),
    Column("created", Double, nullable=False),
    Column("ended", Double),
    Column("expires", Double),
    Column("error", Json),
    Column("owner", Text),
    Column("lease", Double, nullable=False),
    Column("verdicts", Json, nullable=False),
    Column("stars", Json, nullable=False),
    Index("jobs_by_state", "state", "created"),
)
"""Times are seconds since 1970. `expires`: when it is deleted; `lease`: until when `owner` has
it."""

job_rows = Table(
    "job_rows",
    metadata,
    Column("job", String(32), ForeignKey("jobs.id"), primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("line", Integer, nullable=False),
    Column("values", Json, nullable=False),
    Column("text", Text),
    Column("fault", Json),
)
"""`text` is kept once: in `values` it is null. `fault`: why the row could not be read."""

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
"""Apart from the rows, which are wide: these are sorted and counted."""
