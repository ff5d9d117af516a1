import json
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from reelsense.errors import DatasetError, JobStateError, LostJobError, NoJobError, StoreError
from reelsense.jobs import queries
from reelsense.jobs.job import check_ended
from reelsense.jobs.models import job_answers, job_rows
from reelsense.jobs.models import jobs as job_table
from reelsense.jobs.repository import JobRepository
from reelsense.tables.row import Row
from tests import tiny
from tests.jobs.conftest import KEEP, Time
from tests.jobs.work import (
    LEASE,
    TINY,
    added_values,
    answer,
    answered,
    claimed,
    manifest,
    new,
    rows,
    step,
)

CLASSIFIER = tiny.star_classifier()


def texts(table: list[Row]) -> list[object]:
    return [row.values["text"] for row in table]


def stored(jobs: JobRepository) -> list[int]:
    """Return the number of records in each table."""
    with jobs.database.reading() as connection:
        return [
            connection.scalar(select(func.count()).select_from(table)) or 0
            for table in (job_table, job_rows, job_answers)
        ]


def test_job_lifecycle(jobs: JobRepository, now: Time) -> None:
    job = jobs.receive(new(), rows("good film", "bad", " "), max_rows=3)
    assert (job.state, job.rows, job.done, job.version) == ("waiting", 3, 0, None)
    assert (job.created, job.ended, job.expires) == (1000.25, None, None)
    assert job.is_open
    assert job.seconds_left is None
    with pytest.raises(JobStateError, match="0 of 3 rows") as caught:
        check_ended(job)
    assert caught.value.code == "job-not-ended"
    now.now += 10
    job = claimed(jobs)
    assert (job.state, job.owner, job.version) == ("running", "me", "1")
    job = step(jobs, job, CLASSIFIER, 2)
    assert (job.state, job.done, job.worked) == ("running", 2, 0.5)
    assert job.seconds_left is not None
    assert 0 < job.seconds_left < 0.5
    job = step(jobs, job, CLASSIFIER, 2)
    assert (job.state, job.done, job.characters_done) == ("done", 3, job.characters)
    assert (job.ended, job.expires, job.owner) == (1010.25, 1010.25 + KEEP, None)
    assert job.seconds_left is None
    check_ended(job)
    assert jobs.job(job.id) == job
    assert jobs.claim("me", TINY, LEASE) is None
    errors = [added["error"] for added in added_values(jobs, job)]
    assert errors == [None, None, "'text' is blank"]


def test_job_ids_are_unguessable(jobs: JobRepository) -> None:
    ids = {jobs.receive(new(), rows("good"), 9).id for _ in range(5)}
    assert len(ids) == 5
    assert min(map(len, ids)) >= 22  # 128 bits
    for job_id in ("", "%", "nosuch", "'"):
        with pytest.raises(NoJobError):
            jobs.job(job_id)


@pytest.mark.parametrize(("count", "code"), [(0, "no-rows"), (6, "too-many-rows")])
def test_receive_rejects_empty_and_long_files(jobs: JobRepository, count: int, code: str) -> None:
    with pytest.raises(DatasetError, match=r"^in\.csv ") as caught:
        jobs.receive(new(), rows(*["good"] * count), max_rows=5)
    assert caught.value.code == code
    assert jobs.count() == 0
    jobs.sweep()
    assert stored(jobs) == [0, 0, 0]


def test_interrupted_upload_stores_nothing(jobs: JobRepository) -> None:
    def broken() -> Iterator[Row]:
        yield from rows(*["good"] * 1500)
        assert stored(jobs)[:2] == [1, 1000]  # the first rows are stored already
        assert jobs.claim("me", TINY, LEASE) is None
        raise DatasetError("a quote is never closed")

    with pytest.raises(DatasetError, match="never closed"):
        jobs.receive(new(), broken(), 10_000)
    assert jobs.claim("me", TINY, LEASE) is None
    assert jobs.count() == 0
    assert jobs.sweep() == 1
    assert stored(jobs) == [0, 0, 0]


def test_claim_prefers_oldest_job_of_model(jobs: JobRepository, now: Time) -> None:
    received = []
    for _ in range(3):
        received.append(jobs.receive(new(), rows("good"), 9).id)
        now.now += 1
    jobs.offer("me", TINY)
    assert [jobs.claim(owner, TINY, LEASE) for owner in "abc"] == [
        jobs.job(job_id) for job_id in received
    ]
    assert jobs.claim("d", TINY, LEASE) is None


def test_job_continues_after_restart(more: Callable[[], JobRepository]) -> None:
    before = more()
    before.receive(new(), rows("good", "bad", "great"), 9)
    step(before, claimed(before), CLASSIFIER, 2)
    before.close()
    after = more()
    job = after.claim("me", TINY, LEASE)
    assert job
    assert after.begin(job, manifest()).done == 2
    assert texts(after.next_rows(job, 9)) == ["great"]
    assert step(after, job, CLASSIFIER, 9).state == "done"


def test_released_job_is_claimed_immediately(
    jobs: JobRepository, more: Callable[[], JobRepository]
) -> None:
    jobs.receive(new(), rows("good", "bad"), 9)
    job = step(jobs, claimed(jobs, "first"), CLASSIFIER, 1)
    assert more().claim("second", TINY, LEASE) is None
    jobs.release(job)
    assert claimed(more(), "second").done == 1
    with pytest.raises(LostJobError):
        step(jobs, job, CLASSIFIER, 1)


def test_claim_tolerates_clock_set_back(jobs: JobRepository, now: Time) -> None:
    jobs.receive(new(), rows("good", "bad"), 9)
    jobs.release(step(jobs, claimed(jobs, "first"), CLASSIFIER, 1))
    claimed(jobs, "second")  # and dies
    now.now -= 3600
    assert claimed(jobs, "third").done == 1
    assert jobs.claim("fourth", TINY, LEASE) is None


def test_lost_lease_leaves_one_answer_per_row(
    jobs: JobRepository, more: Callable[[], JobRepository], now: Time
) -> None:
    jobs.receive(new(), rows("good", "bad", "great"), 9)
    slow = claimed(jobs, "slow")
    batch = jobs.next_rows(slow, 2)
    now.now += LEASE - 1
    jobs.renew(slow, LEASE)
    now.now += LEASE - 1
    other = more()
    assert other.claim("quick", TINY, LEASE) is None
    now.now += 2
    quick = step(other, claimed(other, "quick"), CLASSIFIER, 1)
    for late in (
        lambda: jobs.record(slow, batch, [answer(0.9)] * 2, 1.0),
        lambda: jobs.renew(slow, LEASE),
        lambda: jobs.begin(slow, manifest("2")),
    ):
        with pytest.raises(LostJobError):
            late()
    jobs.offer("quick", TINY)
    jobs.release(slow)
    jobs.fail(slow, "the machine is on fire", "fire")
    assert jobs.job(slow.id) == quick  # the slow owner changes nothing
    quick = step(other, quick, CLASSIFIER, 9)
    assert (quick.state, stored(jobs)) == ("done", [1, 3, 3])


def test_record_rejects_repeated_rows(jobs: JobRepository) -> None:
    jobs.receive(new(), rows("good", "bad"), 9)
    job = claimed(jobs)
    step(jobs, job, CLASSIFIER, 1)
    with pytest.raises(LostJobError):
        step(jobs, job, CLASSIFIER, 1)


def test_new_model_version_discards_predictions(jobs: JobRepository) -> None:
    jobs.receive(new(), rows("good", "bad"), 9)
    job = step(jobs, claimed(jobs), CLASSIFIER, 1)
    job = jobs.begin(job, manifest("2"))
    assert (job.version, job.done, job.characters_done, job.worked) == ("2", 0, 0, 0.0)
    assert (job.verdicts, job.stars) == ({}, {})
    assert stored(jobs) == [1, 2, 0]
    assert step(jobs, job, CLASSIFIER, 9).state == "done"


def test_cancelled_job_keeps_predictions(jobs: JobRepository, now: Time) -> None:
    jobs.receive(new(), rows("good", "bad"), 9)
    job = step(jobs, claimed(jobs), CLASSIFIER, 1)
    now.now += 5
    assert jobs.cancel(job.id)
    cancelled = jobs.job(job.id)
    assert (cancelled.state, cancelled.ended) == ("cancelled", 1005.25)
    with pytest.raises(LostJobError):
        step(jobs, job, CLASSIFIER, 1)
    assert jobs.claim("me", TINY, LEASE) is None
    now.now += 5
    assert not jobs.cancel(job.id)
    assert jobs.job(job.id) == cancelled
    check_ended(cancelled)
    assert len(added_values(jobs, cancelled)) == 1


def test_failed_job_has_reason(jobs: JobRepository) -> None:
    jobs.receive(new(), rows("good"), 9)
    jobs.fail(claimed(jobs), "no thresholds", "invalid-input")
    [job] = [jobs.job(job_id) for job_id in all_ids(jobs)]
    assert (job.state, job.error, job.owner) == ("failed", "no thresholds", None)
    assert job.error_code == "invalid-input"


def all_ids(jobs: JobRepository) -> list[str]:
    with jobs.database.reading() as connection:
        return list(connection.scalars(select(job_table.c.id)))


def test_deleted_job_is_hidden_immediately(jobs: JobRepository) -> None:
    jobs.receive(new(), rows("good", "bad"), 9)
    job = step(jobs, claimed(jobs), CLASSIFIER, 1)
    jobs.delete(job.id)
    for method in (jobs.job, jobs.cancel, jobs.delete):
        with pytest.raises(NoJobError):
            method(job.id)
    with pytest.raises(LostJobError):
        step(jobs, job, CLASSIFIER, 1)
    assert jobs.count() == 0
    assert jobs.sweep() == 1
    assert stored(jobs) == [0, 0, 0]
    assert jobs.sweep() == 0


def test_ended_jobs_expire(jobs: JobRepository, now: Time) -> None:
    job = answered(jobs, ["good"] * 3, [answer(0.9)] * 3)
    running = jobs.receive(new(), rows("bad"), 9)
    now.now += KEEP - 1
    assert jobs.sweep() == 0
    assert jobs.job(job.id) == job
    now.now += 2
    assert jobs.sweep() == 1
    with pytest.raises(NoJobError):
        jobs.job(job.id)
    assert stored(jobs) == [1, 1, 0]
    assert jobs.job(running.id).is_open  # one that has not ended stays, however old
    now.now += 1e6
    assert jobs.sweep() == 0


def test_unfinished_upload_is_swept(jobs: JobRepository, now: Time) -> None:
    def slow() -> Iterator[Row]:
        yield from rows(*["good"] * 1000)
        assert jobs.sweep() == 0  # it may still come
        now.now += 4000
        assert jobs.sweep() == 1
        yield from rows("late")

    with pytest.raises((NoJobError, StoreError)):
        jobs.receive(new(), slow(), 10_000)
    jobs.sweep()
    assert stored(jobs) == [0, 0, 0]


def test_sweep_erases_many_rows(jobs: JobRepository) -> None:
    job = answered(jobs, ["good"] * 5500, [answer(0.9)] * 5500)
    jobs.delete(job.id)
    assert jobs.sweep() == 1
    assert stored(jobs) == [0, 0, 0]


def test_results_of_deleted_job_raise(
    jobs: JobRepository, more: Callable[[], JobRepository]
) -> None:
    job = answered(jobs, ["good"] * 1500, [answer(0.9)] * 1500)
    chunks = jobs.results(job)
    next(chunks)
    jobs.delete(job.id)
    more().sweep()
    with pytest.raises(NoJobError):
        list(chunks)


def test_concurrent_claims_get_different_jobs(
    more: Callable[[], JobRepository], jobs: JobRepository
) -> None:
    for _ in range(12):
        jobs.receive(new(), rows("good"), 9)
    opened = [more() for _ in range(4)]
    barrier = threading.Barrier(len(opened))

    def claim(n: int) -> list[str]:
        barrier.wait(30)
        ids = []
        while job := opened[n].claim(str(n), TINY, LEASE):
            ids.append(job.id)
            job = opened[n].begin(job, manifest())
            opened[n].record(job, opened[n].next_rows(job, 1), [answer(0.9)], 1.0)
        return ids

    with ThreadPoolExecutor(len(opened)) as pool:
        claimed_ids = [job_id for ids in pool.map(claim, range(len(opened))) for job_id in ids]
    assert sorted(claimed_ids) == sorted(all_ids(jobs))
    assert stored(jobs) == [12, 12, 12]


def test_expiring_leases_leave_one_answer_per_row(
    more: Callable[[], JobRepository], jobs: JobRepository
) -> None:
    # Leases expire at once: all owners work on the same rows at the same time.
    job = jobs.receive(new(), rows(*map(str, range(60))), 100)
    opened = [more() for _ in range(3)]

    def work(n: int) -> int:
        lost = 0
        repository, choose = opened[n], random.Random(n)
        while repository.job(job.id).is_open:
            try:
                own = repository.claim(str(n), TINY, -1.0)
                if own is None:
                    continue
                own = repository.begin(own, manifest())
                batch = repository.next_rows(own, choose.randint(1, 4))
                repository.record(own, batch, [str(row.values["text"]) for row in batch], 1.0)
            except LostJobError:
                lost += 1
        return lost

    with ThreadPoolExecutor(len(opened)) as pool:
        list(pool.map(work, range(len(opened))))
    errors = [added["error"] for added in added_values(jobs, jobs.job(job.id))]
    assert errors == list(map(str, range(60)))


def test_delete_during_record(more: Callable[[], JobRepository], jobs: JobRepository) -> None:
    other = more()
    for _ in range(20):
        jobs.receive(new(), rows("good"), 9)
        job = claimed(jobs)
        batch = jobs.next_rows(job, 1)
        with ThreadPoolExecutor(1) as pool:
            deletion = pool.submit(other.delete, job.id)
            with suppress(LostJobError):
                jobs.record(job, batch, [answer(0.9)], 1.0)
            deletion.result(30)
        with pytest.raises(NoJobError):
            jobs.job(job.id)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.floats(0, 1, exclude_min=True), min_size=1, max_size=20),
    st.floats(1, 10),
)
def test_numbers_round_trip(jobs: JobRepository, moods: list[float], stars: float) -> None:
    job = answered(jobs, ["good"] * len(moods), [answer(mood, stars) for mood in moods])
    values = added_values(jobs, job)
    assert [added["positive"] for added in values] == moods
    assert {added["stars"] for added in values} == {stars}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.builds(
            Row,
            line=st.integers(1, 9),
            values=st.dictionaries(st.sampled_from(["a", "text", "\ud800", "\0", "z"]), VALUES),
            error=st.none() | st.just("not UTF-8 text"),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_rows_round_trip(jobs: JobRepository, given: list[Row]) -> None:
    jobs.receive(new(".jsonl"), given, 9)
    job = claimed(jobs)
    stored_rows = jobs.next_rows(job, 9)
    jobs.delete(job.id)
    assert stored_rows == given
    # The order of keys and the types of numbers stay the same, too.
    assert json.dumps([row.values for row in stored_rows]) == json.dumps(
        [row.values for row in given]
    )


def test_unstorable_characters_round_trip(jobs: JobRepository) -> None:
    strange = "zero \0 and half a pair \ud800"
    row = Row(1, {"text": strange, "\0": strange}, strange)
    jobs.receive(new(".jsonl"), [row], 9)
    job = claimed(jobs)
    assert jobs.next_rows(job, 1) == [row]
    assert jobs.text(job, 0) == strange
    job = jobs.record(job, [row], [strange], 1.0)
    [added] = added_values(jobs, job)
    assert added["error"] == strange
    [listed] = queries.page(jobs.database, job, queries.RowQuery()).rows
    assert listed.text == listed.error == strange.replace("\ud800", "\ufffd")


def test_text_returns_text_of_row(jobs: JobRepository) -> None:
    job = jobs.receive(new(), rows("good", None), 9)
    assert jobs.text(job, 0) == "good"
    for n in (1, 2, -1):
        with pytest.raises(NoJobError) as caught:
            jobs.text(job, n)
        assert caught.value.code == "no-such-row"


def test_character_counts_exceed_32_bits(jobs: JobRepository) -> None:
    huge = 3_000_000_000
    job = jobs.receive(new(), rows("good"), 9)
    with jobs.database.writing() as connection:
        connection.execute(job_table.update().values(characters=huge))
    assert jobs.job(job.id).characters == huge


def test_record_stores_only_added_columns(jobs: JobRepository) -> None:
    jobs.receive(new(), rows("good"), 9)
    job = jobs.claim("me", TINY, LEASE)
    assert job
    job = jobs.begin(job, manifest(labels=("bad", "good"), ratings=()))
    job = jobs.record(job, jobs.next_rows(job, 1), [answer(0.9)], 1.0)
    [added] = added_values(jobs, job)
    assert added == {"label": "positive", "score": 0.9, "verdict": "positive", "error": None}


def test_claim_alternates_between_jobs(jobs: JobRepository, now: Time) -> None:
    for column in ("a", "b", "c"):
        now.now += 1
        jobs.receive(new(column=column), rows("x", "y"), 9)
    turns = []
    for _ in range(7):
        now.now += 1
        job = claimed(jobs)
        turns.append(job.column)
        jobs.release(job)
    assert turns == [*"abc", *"abc", "a"]


def test_receive_rejects_too_many_cells(
    jobs: JobRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reelsense.jobs.contents._MAX_CELLS", 7)
    jobs.receive(new(), rows("a", "b", "c"), 9)
    with pytest.raises(DatasetError) as caught:
        jobs.receive(new(), rows("a", "b", "c", "d"), 9)
    assert caught.value.code == "too-many-cells"


def test_expired_job_is_hidden_before_sweep(jobs: JobRepository, now: Time) -> None:
    job = answered(jobs, ["a"], [answer(0.9)])
    assert job.expires is not None
    now.now = job.expires + 1
    with pytest.raises(NoJobError):
        jobs.job(job.id)
