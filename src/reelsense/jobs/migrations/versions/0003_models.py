"""Store the labels and ratings of the model of a job, and the models that servers offer."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns and the table.

    Jobs that have ended get the labels and ratings that occur in their results; the others get
    those of their model when they continue.
    """
    for name in ("labels", "ratings", "error_code"):
        op.add_column("jobs", sa.Column(name, sa.Text))
    op.create_table(
        "offers",
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("seen", sa.Double, nullable=False),
    )
    connection = op.get_bind()
    ended = sa.text("SELECT id, verdicts, stars FROM jobs WHERE ended IS NOT NULL")
    change = sa.text("UPDATE jobs SET labels = :labels, ratings = :ratings WHERE id = :id")
    for job_id, verdicts, stars in connection.execute(ended).all():
        labels = sorted(json.loads(verdicts).keys() - {"unsure", "error"})
        ratings = sorted(map(int, json.loads(stars)))
        values = {"id": job_id, "labels": json.dumps(labels), "ratings": json.dumps(ratings)}
        connection.execute(change, values)
