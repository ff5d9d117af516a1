from collections.abc import Sequence

import pytest
from sqlalchemy import select

from reelsense.errors import JobStateError
from reelsense.feedback import queries
from reelsense.feedback.queue import PredictionQueue, next_item
from reelsense.feedback.records import Feedback, NewFeedback
from reelsense.feedback.repository import FeedbackRepository
from reelsense.feedback.row_queue import RowQueue
from reelsense.jobs.database import Database
from reelsense.jobs.job import Job, NewJob
from reelsense.jobs.models import predictions
from reelsense.jobs.repository import JobRepository
from reelsense.prediction import UNSURE, Prediction
from reelsense.tables.row import Row
from tests.jobs.conftest import Time
from tests.jobs.work import answer, claimed, new, rows

SURE, DOUBTFUL = answer(0.9), answer(0.6, verdict=UNSURE)


@pytest.fixture
def jobs(database: Database, now: Time) -> JobRepository:
    return JobRepository(database, 100.0, now)


@pytest.fixture
def repository(jobs: JobRepository) -> FeedbackRepository:
    return FeedbackRepository(jobs.database, keep_texts=True)


def done(
    jobs: JobRepository,
    answers: Sequence[Prediction | str],
    values: Sequence[dict[str, object]] = (),
    header: tuple[str, ...] | None = ("id", "text"),
) -> Job:
    """Return a job that is done, whose rows have these answers and values in addition."""
    suffix = ".csv" if header else ".jsonl"
    new_job = NewJob(f"in{suffix}", suffix, "text", header, None, "tiny", None)
    values = values or [{}] * len(answers)
    read = [Row(n + 2, {"id": str(n), "text": f"text {n}"} | more) for n, more in enumerate(values)]
    jobs.receive(new_job, read, 10_000)
    job = claimed(jobs)
    return jobs.record(job, jobs.next_rows(job, len(read)), answers, 1.0)


def test_quarter_of_rows_is_random_and_the_rest_waits_only_if_unsure(jobs: JobRepository) -> None:
    job = done(jobs, [SURE] * 30 + [DOUBTFUL] * 50)
    keys = RowQueue(jobs, job).keys([], 100)
    assert len(keys["random"]) == 20
    assert {int(key) for key in keys["unsure"]} == set(range(30, 80)) - set(
        map(int, keys["random"])
    )
    assert keys["suspect"] == []
    assert RowQueue(jobs, job).keys([], 100) == keys
    limited = RowQueue(jobs, job).keys(keys["random"][:3], 4)
    assert limited["random"] == keys["random"][3:7]
    assert limited["unsure"] == keys["unsure"][:4]


def test_rows_of_another_job_are_drawn_differently(jobs: JobRepository) -> None:
    drawn = [RowQueue(jobs, done(jobs, [SURE] * 40)).keys([], 100)["random"] for _ in range(3)]
    assert drawn[0] != drawn[1] != drawn[2]


def test_rows_that_could_not_be_scored_are_not_asked(jobs: JobRepository) -> None:
    job = done(jobs, ["is blank"] * 8)
    assert next_item(RowQueue(jobs, job), 0, [], 50) == (None, 0)


@pytest.mark.parametrize("header", [("id", "text", " Sentiment "), None])
def test_rows_whose_label_contradicts_the_prediction_are_suspect(
    jobs: JobRepository, header: tuple[str, ...] | None
) -> None:
    given = ["positive", "negative", "other", None, ["negative"], {"a": 1}, True, 1.0, "x" * 9999]
    values: list[dict[str, object]] = [{" Sentiment ": value} for value in given * 8]
    job = done(jobs, [SURE] * len(values), values, header)
    keys = RowQueue(jobs, job).keys([], 100)
    negative = {n for n, value in enumerate(given * 8) if value == "negative"}
    assert {int(key) for key in keys["suspect"]} == negative - set(map(int, keys["random"]))
    item = RowQueue(jobs, job).find(keys["suspect"][0])
    assert item is not None
    assert (item.label, item.given, item.text) == ("positive", "negative", f"text {item.key}")


def review(repository: FeedbackRepository, queue: RowQueue, key: str, label: str) -> Feedback:
    item = queue.find(key)
    assert item is not None
    source = f"{queue.name}-{item.reason}"
    given = NewFeedback(queue.prediction_id(item), item.text, label, source=source)
    (outcome,) = repository.add([given])
    assert isinstance(outcome, Feedback)
    return outcome


def test_reviewed_row_is_stored_with_its_prediction(
    jobs: JobRepository, repository: FeedbackRepository
) -> None:
    job = done(jobs, [SURE] * 8)
    key = RowQueue(jobs, job).keys([], 9)["random"][0]
    first = review(repository, RowQueue(jobs, job), key, "negative")
    assert first.text == f"text {key}"
    assert first.predicted is not None
    assert (first.predicted.label, first.predicted.score) == ("positive", 0.9)
    assert (first.source, first.predicted.version) == ("job-queue-random", "1")
    assert job.id not in str(first.prediction_id)
    assert RowQueue(jobs, job).find(key) is None
    repository.remove(first.id, None)
    again = review(repository, RowQueue(jobs, job), key, "positive")
    assert again.prediction_id == first.prediction_id
    (measured,) = queries.stats(jobs.database).measured
    assert (measured.source, measured.accuracy.count, measured.accuracy.total) == (
        *("job-queue-random", 1, 1),
    )
    with jobs.database.reading() as connection:
        (record,) = connection.execute(select(predictions)).mappings()
    assert record["share"] is None  # not drawn from the requests
    assert record["text"] is None
    repository.remove(again.id, None)
    assert next_item(PredictionQueue(jobs.database, "1"), 0, [], 50) == (None, 0)


def test_rows_of_an_open_job_are_not_reviewed(jobs: JobRepository) -> None:
    job = jobs.receive(new(), rows("good", "bad"), 10)
    with pytest.raises(JobStateError):
        RowQueue(jobs, job)


@pytest.mark.parametrize("key", ["", "-1", "9", "x", "\0", "0.5"])
def test_unknown_row_is_not_found(jobs: JobRepository, key: str) -> None:
    assert RowQueue(jobs, done(jobs, [DOUBTFUL] * 4)).find(key) is None


def test_large_job_is_sampled(jobs: JobRepository) -> None:
    job = done(jobs, [DOUBTFUL] * 1500)
    keys = RowQueue(jobs, job).keys([], 10_000)
    assert (len(keys["random"]), len(keys["unsure"])) == (250, 750)
    assert max(map(int, keys["unsure"])) > 1000
