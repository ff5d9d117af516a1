"""Store what summaries need: cells to search, columns to group by, and mentions of aspects."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column and the tables. The rows of earlier jobs cannot be grouped."""
    op.add_column("job_rows", sa.Column("cells", sa.Text))
    op.create_table(
        "job_columns",
        sa.Column("job", sa.String(32), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_table(
        "job_mentions",
        sa.Column("job", sa.String(32), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("aspect", sa.String(16), nullable=False),
        sa.Column("quote", sa.Text, nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("positive", sa.Double, nullable=False),
    )
