"""Create the tables of jobs, rows and answers."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("suffix", sa.String(8), nullable=False),
        sa.Column("column", sa.Text, nullable=False),
        sa.Column("risk", sa.Double),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.String(64)),
        sa.Column("added", sa.Text),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("characters", sa.BigInteger, nullable=False),
        sa.Column("characters_done", sa.BigInteger, nullable=False),
        sa.Column("worked", sa.Double, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("ended", sa.Double),
        sa.Column("expires", sa.Double),
        sa.Column("error", sa.Text),
        sa.Column("owner", sa.Text),
        sa.Column("lease", sa.Double, nullable=False),
        sa.Column("verdicts", sa.Text, nullable=False),
        sa.Column("stars", sa.Text, nullable=False),
    )
    op.create_index("jobs_by_state", "jobs", ["state", "created"])
    op.create_table(
        "job_rows",
        sa.Column("job", sa.String(32), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("line", sa.Integer, nullable=False),
        sa.Column("values", sa.Text, nullable=False),
        sa.Column("text", sa.Text),
        sa.Column("fault", sa.Text),
    )
    op.create_table(
        "job_answers",
        sa.Column("job", sa.String(32), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("label", sa.Text),
        sa.Column("score", sa.Double),
        sa.Column("positive", sa.Double),
        sa.Column("verdict", sa.Text),
        sa.Column("stars", sa.Double),
        sa.Column("error", sa.Text),
    )
