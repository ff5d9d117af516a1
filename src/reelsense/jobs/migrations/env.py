"""Runs the migrations on the connection from `database.py`."""

from alembic import context

from reelsense.jobs.models import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
