"""Store the size and the API key of a job, and the sessions that users have ended."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns and the table. The size of earlier jobs counts as 0."""
    op.add_column("jobs", sa.Column("key", sa.Text))
    op.add_column("jobs", sa.Column("bytes", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "ended_sessions",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("expires", sa.Double, nullable=False),
    )
