"""Store the columns of a table once per job instead of with every row."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column. Rows of earlier jobs keep their names of columns."""
    op.add_column("jobs", sa.Column("header", sa.Text))
