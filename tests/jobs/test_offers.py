"""Which models servers offer, and which jobs wait for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from reelsense.jobs.job import Job, ModelId
from reelsense.jobs.repository import JobRepository
from reelsense.tables.row import Row
from tests import tiny
from tests.jobs.conftest import Time
from tests.jobs.work import LEASE, TINY, claimed, manifest, new, rows, step

OTHER = [ModelId("other", "1")]
NEWER = [ModelId("tiny", "2")]
MISSING = 300.0


@pytest.fixture
def waiting(jobs: JobRepository) -> Job:
    """A job that has not begun."""
    return jobs.receive(new(), rows("good", "bad"), 9)


@pytest.fixture
def begun(jobs: JobRepository, waiting: Job) -> Job:
    """A job that has begun with TINY and is free."""
    job = step(jobs, claimed(jobs), tiny.star_classifier(), 1)
    jobs.release(job)
    return jobs.job(waiting.id)


@pytest.mark.parametrize("models", [OTHER, NEWER, []])
def test_begun_job_is_claimed_by_its_version_only(
    jobs: JobRepository, begun: Job, models: list[ModelId]
) -> None:
    assert jobs.claim("me", models, LEASE) is None
    job = jobs.claim("me", [*models, *TINY], LEASE)
    assert job is not None
    assert (job.id, job.done, job.labels) == (begun.id, 1, ("negative", "positive"))
    assert job.ratings == tiny.STARS


def test_waiting_job_is_claimed_by_any_version(jobs: JobRepository, waiting: Job) -> None:
    assert jobs.claim("me", OTHER, LEASE) is None
    assert jobs.claim("me", NEWER, LEASE) is not None


def test_job_names_model_that_no_server_offers(
    jobs: JobRepository, waiting: Job, now: Time
) -> None:
    def shown() -> tuple[str, str | None]:
        job = jobs.job(waiting.id)
        return job.state, job.waiting_for

    assert shown() == ("waiting", "tiny")
    jobs.offer("a", [*OTHER, *NEWER])
    assert shown() == ("waiting", None)
    job = step(jobs, claimed(jobs), tiny.star_classifier(), 1)
    assert shown() == ("waiting", "tiny 1")
    assert jobs.job(job.id).seconds_left is None
    jobs.offer("b", TINY)
    assert shown() == ("running", None)
    assert jobs.job(job.id).seconds_left is not None
    jobs.offer("a", TINY)
    jobs.offer("b", OTHER)  # a still offers it
    assert shown() == ("running", None)
    now.now += 31
    assert shown() == ("waiting", "tiny 1")
    step(jobs, job, tiny.star_classifier(), 9)
    assert shown() == ("done", None)


def test_orphan_is_claimed_after_its_model_is_missing(
    jobs: JobRepository, begun: Job, now: Time
) -> None:
    jobs.offer("a", TINY)
    jobs.offer("b", OTHER)
    now.now += MISSING - 1
    assert jobs.claim_orphan("b", OTHER, MISSING, LEASE) is None
    now.now += 1
    assert jobs.claim_orphan("a", TINY, MISSING, LEASE) is None  # a can score it
    orphan = jobs.claim_orphan("b", OTHER, MISSING, LEASE)
    assert orphan is not None
    assert (orphan.id, orphan.owner, orphan.done) == (begun.id, "b", 1)
    assert jobs.claim_orphan("c", OTHER, MISSING, LEASE) is None  # b has the lease


def test_withdrawn_model_is_missing_at_once_but_not_given_up(
    jobs: JobRepository, begun: Job, now: Time
) -> None:
    jobs.offer("a", TINY)
    jobs.withdraw("a")
    assert jobs.job(begun.id).waiting_for == "tiny 1"
    now.now += MISSING - 60
    assert jobs.claim_orphan("b", OTHER, MISSING, LEASE) is None
    now.now += 60
    assert jobs.claim_orphan("b", OTHER, MISSING, LEASE) is not None


def test_orphan_is_left_to_server_of_its_name(jobs: JobRepository, begun: Job, now: Time) -> None:
    now.now += MISSING
    jobs.offer("newer", NEWER)
    assert jobs.claim_orphan("other", OTHER, MISSING, LEASE) is None
    orphan = jobs.claim_orphan("newer", NEWER, MISSING, LEASE)
    assert orphan is not None
    job = jobs.begin(orphan, manifest("2"))
    jobs.release(job)
    assert (job.id, job.version, job.done) == (begun.id, "2", 0)
    assert jobs.claim_orphan("newer", NEWER, MISSING, LEASE) is None


def test_orphan_that_has_not_begun(jobs: JobRepository, waiting: Job, now: Time) -> None:
    jobs.offer("a", NEWER)
    now.now += MISSING - 1
    assert jobs.claim_orphan("b", OTHER, MISSING, LEASE) is None
    now.now += 1
    assert jobs.claim_orphan("a", NEWER, MISSING, LEASE) is None
    orphan = jobs.claim_orphan("b", OTHER, MISSING, LEASE)
    assert orphan is not None
    assert orphan.id == waiting.id


def test_replaced_model_is_needed_until_its_job_ends(
    jobs: JobRepository, begun: Job, more: Callable[[], JobRepository]
) -> None:
    [model], [newer] = TINY, NEWER
    assert jobs.needs(model, "other")
    assert more().needs(model, "tiny")
    assert not jobs.needs(newer, "other")
    jobs.cancel(begun.id)
    assert not jobs.needs(model, "other")


def test_replaced_model_is_needed_by_waiting_jobs_of_its_name(
    jobs: JobRepository, waiting: Job
) -> None:
    [model] = TINY
    assert jobs.needs(model, "other")
    assert not jobs.needs(model, "tiny")  # its new version scores them
    jobs.delete(waiting.id)
    assert not jobs.needs(model, "other")


def test_replaced_model_is_needed_by_upload_in_progress(jobs: JobRepository) -> None:
    def upload() -> Iterator[Row]:
        assert jobs.needs(TINY[0], "other")
        yield from rows("good")

    jobs.receive(new(), upload(), 9)
