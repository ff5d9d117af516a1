"""The models that servers offer to jobs, and conditions that select jobs by them.

Servers renew their offers regularly, so the offers of a crashed server expire. A job that has begun
needs the same version of its model; any other job accepts any version.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Connection, delete, exists, false, insert, or_, update

from reelsense.jobs.job import ModelId
from reelsense.jobs.models import jobs, offers

_KEPT = 86_400.0  # seconds for which the models of a server that died are kept


def record(connection: Connection, owner: str, models: Iterable[ModelId], now: float) -> None:
    """Replace the models that `owner` offers, and delete those of servers that died long ago."""
    connection.execute(
        delete(offers).where(or_(offers.c.owner == owner, offers.c.seen < now - _KEPT))
    )
    records = [
        {"owner": owner, "name": model.name, "version": model.version, "seen": now}
        for model in models
    ]
    connection.execute(insert(offers), records)


def record_absence(connection: Connection, owner: str, since: float) -> None:
    """Record that `owner` was last seen at the time `since`."""
    connection.execute(update(offers).where(offers.c.owner == owner).values(seen=since))


def scored_by(models: Iterable[ModelId]) -> ColumnElement[bool]:
    """Return the condition that one of `models` can score the job."""
    return or_(
        false(),
        *(
            (jobs.c.model == model.name)
            & or_(jobs.c.version.is_(None), jobs.c.version == model.version)
            for model in models
        ),
    )


def is_offered(
    since: float, other_versions: ColumnElement[bool] | None = None
) -> ColumnElement[bool]:
    """Return the condition that a server has offered the model of the job after `since`.

    Jobs that satisfy the condition `other_versions` accept other versions of their model.
    """
    is_version = or_(jobs.c.version.is_(None), offers.c.version == jobs.c.version)
    return (
        exists()
        .where(
            offers.c.name == jobs.c.model,
            offers.c.seen > since,
            is_version if other_versions is None else or_(is_version, other_versions),
        )
        .correlate(jobs)
    )
