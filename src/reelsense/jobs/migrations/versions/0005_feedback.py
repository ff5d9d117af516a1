"""Store predictions and feedback."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "predictions",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("text_hash", sa.String(64), nullable=False),
        sa.Column("text", sa.Text),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("stars", sa.Double),
        sa.Column("probabilities", sa.Text, nullable=False),
        sa.Column("share", sa.Double),
    )
    op.create_table(
        "feedback",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("prediction_id", sa.String(32)),
        sa.Column("text_hash", sa.String(64), nullable=False),
        sa.Column("text", sa.Text),
        sa.Column("label", sa.Text),
        sa.Column("stars", sa.Double),
        sa.Column("comment", sa.Text),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("idempotency_hash", sa.String(64)),
        sa.Column("digest", sa.String(64)),
    )
    for table in ("predictions", "feedback"):
        op.create_index(f"{table}_by_time", table, ["created"])
        op.create_index(f"{table}_by_text", table, ["text_hash"])
    op.create_index("feedback_by_prediction", "feedback", ["prediction_id"])
    op.create_index("feedback_by_key", "feedback", ["idempotency_hash"], unique=True)
