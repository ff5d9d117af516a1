"""Jobs from the first row to the last, over crashes, and what is listed of them."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelsense.datasets.tables import Row
from reelsense.errors import DatasetError, JobStateError, LostJobError, NoJobError
from reelsense.prediction import Coverage, Prediction
from reelsense.store import listing
from reelsense.store.database import Database
from reelsense.store.jobs import CANCELLED, DONE, RUNNING, WAITING, Job, Jobs, NewJob, check_ended
from reelsense.store.listing import Asked

ADDED = ["label", "score", "positive", "verdict", "stars"]
NEW = NewJob("films.csv", ".csv", "text", 0.02, "tiny")


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def jobs(tmp_path: Path, time: Time) -> Iterator[Jobs]:
    # REELSENSE_TEST_DATABASE: another kind of database than SQLite, which is emptied.
    made = Jobs(
        Database(os.environ.get("REELSENSE_TEST_DATABASE") or f"sqlite:///{tmp_path / 'jobs.db'}"),
        keep=100,
        now=time,
    )
    yield made
    time.now += 1e6
    made.sweep()
    made.close()


def rows(*texts: str) -> list[Row]:
    return [Row(n + 2, {"id": str(n), "text": text, "x": "y"}) for n, text in enumerate(texts)]


def answer(positive: float, verdict: str = "unsure") -> Prediction:
    label = "positive" if positive >= 0.5 else "negative"
    both = {"negative": 1 - positive, "positive": positive}
    return Prediction(label, max(both.values()), both, verdict, 1 + 9 * positive, Coverage(1, 1))


def begun(jobs: Jobs, *texts: str) -> Job:
    received = jobs.receive(NEW, rows(*texts), 1000)
    job = jobs.claim("me", "tiny", 30)
    assert job
    assert job.id == received.id
    return jobs.begin(job, "v1", ADDED)


def test_a_job_from_its_first_row_to_its_last(jobs: Jobs, time: Time) -> None:
    received = jobs.receive(NEW, rows("good", "bad", "so"), 1000)
    assert (received.state, received.rows, received.done, received.risk) == (WAITING, 3, 0, 0.02)
    assert jobs.count() == 1
    assert received.seconds_left is None
    job = jobs.claim("me", "tiny", 30)
    assert job is not None
    assert (job.state, job.owner) == (RUNNING, "me")
    job = jobs.begin(job, "v1", ADDED)
    step = jobs.next_rows(job, 2)
    assert step == rows("good", "bad")
    job = jobs.record(job, step, [answer(0.1 + 0.2), "is blank"], took=4.0)
    assert (job.done, job.is_open, job.worked) == (2, True, 4.0)
    assert job.seconds_left == pytest.approx(4 * 22 / 47)
    with pytest.raises(JobStateError, match="2 of 3 rows"):
        check_ended(job)
    time.now = 2000
    job = jobs.record(job, jobs.next_rows(job, 2), [answer(0.9, "positive")], took=1.0)
    assert (job.state, job.ended, job.expires, job.owner) == (DONE, 2000, 2100, None)
    check_ended(job)
    found = list(jobs.results(job))
    assert [row for row, _ in found] == rows("good", "bad", "so")
    assert found[0][1] == {
        "label": "negative",
        "score": 1 - (0.1 + 0.2),
        "positive": 0.1 + 0.2,
        "verdict": "unsure",
        "stars": 1 + 9 * (0.1 + 0.2),
        "error": None,
    }
    assert found[1][1] == dict.fromkeys(ADDED) | {"error": "is blank"}


def test_what_a_row_holds_comes_back_as_it_was(jobs: Jobs) -> None:
    given = [
        Row(2, {"text": "half \ud83d of a pair", "n": 7, "list": [1, {"a": None}]}),
        Row(3, {"other": "\U0001f600"}),
        Row(4, {"text": None}),
        Row(5, {"b": "\udc80 no UTF-8", "text": "a\0b"}, "not UTF-8 text"),
        Row(6, {}, "line 6 is not JSON: \udc80"),
        Row(7, {"a": "first", "text": "second", "z": "last"}),
    ]
    jobs.receive(NEW, given, 1000)
    job = jobs.claim("me", "tiny", 30)
    assert job
    found = jobs.next_rows(job, 100)
    assert found == given
    assert list(found[-1].values) == ["a", "text", "z"]
    jobs.record(job, found, ["\udc80"] * 6, 1.0)
    assert [added["error"] for _, added in jobs.results(jobs.job(job.id))] == ["\udc80"] * 6


def test_nothing_is_kept_of_what_cannot_be_received(jobs: Jobs) -> None:
    with pytest.raises(DatasetError, match=r"films\.csv: there are no rows"):
        jobs.receive(NEW, [], 10)
    with pytest.raises(DatasetError, match="more than 2 rows"):
        jobs.receive(NEW, rows("a", "b", "c"), 2)

    def broken() -> Iterator[Row]:
        yield from rows("a", "b")
        raise DatasetError("a quote is never closed")

    with pytest.raises(DatasetError, match="quote"):
        jobs.receive(NEW, broken(), 10)
    assert jobs.count() == 0
    assert jobs.claim("me", "tiny", 30) is None
    assert jobs.sweep() == 3


def test_a_job_is_of_one_owner_until_its_lease_is_over(jobs: Jobs, time: Time) -> None:
    job = begun(jobs, "a", "b", "c")
    assert jobs.claim("other", "tiny", 30) is None
    job = jobs.record(job, jobs.next_rows(job, 1), [answer(0.1)], 1.0)
    time.now += 20
    jobs.renew(job, 30)
    time.now += 20
    assert jobs.claim("other", "tiny", 30) is None
    time.now += 11
    taken = jobs.claim("other", "tiny", 30)
    assert taken is not None
    assert (taken.id, taken.done) == (job.id, 1)
    # Who was thought dead comes back: what it has is not kept a second time.
    with pytest.raises(LostJobError):
        jobs.record(job, jobs.next_rows(job, 1), [answer(0.2)], 1.0)
    with pytest.raises(LostJobError):
        jobs.renew(job, 30)
    jobs.release(job)
    assert jobs.job(job.id).owner == "other"
    taken = jobs.record(taken, jobs.next_rows(taken, 2), [answer(0.3), answer(0.4)], 1.0)
    assert [added["positive"] for _, added in jobs.results(taken)] == [0.1, 0.3, 0.4]


def test_what_is_given_back_is_taken_at_once(jobs: Jobs) -> None:
    job = begun(jobs, "a")
    jobs.release(job)
    taken = jobs.claim("next", "tiny", 30)
    assert taken is not None
    assert taken.id == job.id


def test_jobs_are_taken_in_their_order_and_by_their_model(jobs: Jobs, time: Time) -> None:
    first = jobs.receive(NEW, rows("a"), 10)
    time.now += 1
    jobs.receive(NEW, rows("b"), 10)
    assert jobs.claim("me", "another", 30) is None
    taken = jobs.claim("me", "tiny", 30)
    assert taken is not None
    assert taken.id == first.id


def test_of_many_who_claim_one_gets_it(jobs: Jobs) -> None:
    jobs.receive(NEW, rows("a"), 10)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: jobs.claim(f"owner {n}", "tiny", 30), range(8)))
    assert sum(each is not None for each in found) == 1


def test_another_model_begins_anew(jobs: Jobs) -> None:
    job = begun(jobs, "a", "b")
    job = jobs.record(job, jobs.next_rows(job, 1), [answer(0.1)], 1.0)
    assert jobs.begin(job, "v1", ADDED).done == 1
    job = jobs.begin(job, "v2", ["label", "score"])
    assert (job.done, job.worked, job.version, job.added) == (0, 0.0, "v2", ("label", "score"))
    job = jobs.record(job, jobs.next_rows(job, 2), [answer(0.8), answer(0.7)], 1.0)
    assert [added for _, added in jobs.results(job)] == [
        {"label": "positive", "score": 0.8, "error": None},
        {"label": "positive", "score": 0.7, "error": None},
    ]


def test_one_that_is_cancelled_keeps_what_is_done(jobs: Jobs) -> None:
    job = begun(jobs, "a", "b", "c")
    job = jobs.record(job, jobs.next_rows(job, 1), [answer(0.1)], 1.0)
    ended = jobs.cancel(job.id)
    assert (ended.state, ended.done, ended.expires) == (CANCELLED, 1, 1100)
    with pytest.raises(LostJobError):
        jobs.record(job, jobs.next_rows(job, 1), [answer(0.2)], 1.0)
    assert len(list(jobs.results(ended))) == 1
    assert jobs.claim("me", "tiny", 30) is None


def test_one_that_fails_says_why(jobs: Jobs) -> None:
    job = begun(jobs, "a")
    jobs.fail(job, "the model has no thresholds")
    assert (jobs.job(job.id).state, jobs.job(job.id).error) == (
        "failed",
        "the model has no thresholds",
    )


def test_what_has_ended_stays_as_it_ended(jobs: Jobs) -> None:
    job = begun(jobs, "a")
    jobs.record(job, jobs.next_rows(job, 1), [answer(0.1)], 1.0)
    assert jobs.cancel(job.id).state == DONE
    jobs.fail(job, "late")
    assert jobs.job(job.id).state == DONE


def test_what_is_deleted_is_gone_at_once_and_swept_later(jobs: Jobs) -> None:
    job = begun(jobs, "a", "b")
    jobs.delete(job.id)
    for ask in (jobs.job, jobs.cancel, jobs.delete):
        with pytest.raises(NoJobError):
            ask(job.id)
    with pytest.raises(LostJobError):
        jobs.record(job, rows("a"), [answer(0.1)], 1.0)
    assert jobs.count() == 0
    assert jobs.sweep() == 1
    assert jobs.sweep() == 0
    assert jobs.next_rows(job, 10) == []


def test_what_has_ended_is_deleted_after_its_time_and_no_other(jobs: Jobs, time: Time) -> None:
    done = begun(jobs, "a")
    jobs.record(done, jobs.next_rows(done, 1), [answer(0.1)], 1.0)
    waits = jobs.receive(NEW, rows("a"), 10)
    time.now += 99
    assert jobs.sweep() == 0
    time.now += 2
    assert jobs.sweep() == 1
    with pytest.raises(NoJobError):
        jobs.job(done.id)
    assert jobs.job(waits.id) == waits


def test_a_file_shrinks_when_a_job_is_swept(tmp_path: Path) -> None:
    file = tmp_path / "shrinks.db"
    jobs = Jobs(Database(f"sqlite:///{file}"), keep=1)
    job = jobs.receive(NEW, rows(*["word " * 1000] * 2000), 10_000)
    jobs.delete(job.id)
    assert jobs.sweep() == 1
    assert file.stat().st_size < 200_000
    jobs.close()


Texts = st.lists(st.text("ab%_\\ A\u00e9", max_size=6), min_size=1, max_size=12)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    Texts,
    st.randoms(use_true_random=False),
    st.builds(
        Asked,
        verdict=st.sampled_from(["", "positive", "unsure", listing.ERROR]),
        search=st.text("ab%_\\ A", max_size=2),
        sort=st.sampled_from(listing.SORTS),
        descending=st.booleans(),
        offset=st.integers(0, 5),
        limit=st.integers(1, 6),
    ),
)
def test_what_is_listed_is_what_was_asked_for(
    jobs: Jobs, texts: list[str], choose: random.Random, asked: Asked
) -> None:
    kinds: list[Prediction | str] = [
        "is blank",
        *(answer(share, verdict) for share in (0.2, 0.8) for verdict in ("positive", "unsure")),
    ]
    answers = [choose.choice(kinds) for _ in texts]
    job = begun(jobs, *texts)
    job = jobs.record(job, jobs.next_rows(job, len(texts)), answers, 1.0)

    def value(n: int) -> object:
        each = answers[n]
        return None if isinstance(each, str) else getattr(each, asked.sort)

    def wanted(n: int) -> bool:
        each = answers[n]
        verdict = listing.ERROR if isinstance(each, str) else each.verdict
        return asked.verdict in ("", verdict) and asked.search.lower() in texts[n].lower()

    places = [n for n in range(len(texts)) if wanted(n)]
    if asked.sort == "n":
        places.sort(reverse=asked.descending)
    else:
        known = [n for n in places if value(n) is not None]
        known.sort(key=lambda n: value(n), reverse=asked.descending)  # type: ignore[arg-type,return-value]  # of one kind
        places = known + [n for n in places if value(n) is None]
    page = listing.page(jobs.database, job, asked)
    jobs.delete(job.id)
    assert page.total == len(places)
    shown = places[asked.offset :][: asked.limit]
    assert [each.n for each in page.rows] == shown
    assert [each.text for each in page.rows] == [texts[n] for n in shown]
    assert [each.error is not None for each in page.rows] == [
        isinstance(answers[n], str) for n in shown
    ]


def test_kinds_of_answers_are_counted(jobs: Jobs) -> None:
    job = begun(jobs, "a", "b", "c", "d")
    answers: list[Prediction | str]
    answers = [answer(0.95, "positive"), answer(0.99, "positive"), answer(0.3), "is blank"]
    job = jobs.record(job, jobs.next_rows(job, 4), answers, 1.0)
    counts = listing.counts(jobs.database, job)
    assert counts.verdicts == {"positive": 2, "unsure": 1, listing.ERROR: 1}
    assert counts.stars == {10: 2, 4: 1}


def test_the_text_of_a_row(jobs: Jobs) -> None:
    job = begun(jobs, "a", "b")
    assert jobs.text(job, 1) == "b"
    with pytest.raises(NoJobError):
        jobs.text(job, 2)
