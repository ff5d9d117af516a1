"""Helpers that create and score jobs."""

from __future__ import annotations

from collections.abc import Sequence

from reelsense.bulk.rows import answer_rows
from reelsense.bundle import Manifest
from reelsense.inference.classifier import Classifier
from reelsense.jobs.job import Job, ModelId, NewJob
from reelsense.jobs.repository import JobRepository
from reelsense.prediction import Prediction, TokenCounts
from reelsense.tables.row import Row
from tests import tiny

LABELS = ("negative", "positive")
LEASE = 30.0
TINY = [ModelId("tiny", "1")]


def manifest(
    version: str = "1", *, labels: tuple[str, ...] = LABELS, ratings: tuple[int, ...] = tiny.STARS
) -> Manifest:
    return Manifest(name="tiny", version=version, labels=labels, window=16, ratings=ratings)


def new(suffix: str = ".csv", column: str = "text") -> NewJob:
    header = None if suffix == ".jsonl" else ("id", "text")
    return NewJob(f"in{suffix}", suffix, column, header, None, "tiny", None)


def rows(*texts: object) -> list[Row]:
    return [Row(n, {"id": str(n), "text": text}) for n, text in enumerate(texts, start=2)]


def answer(positive: float, stars: float | None = None, verdict: str = "") -> Prediction:
    label = "positive" if positive >= 0.5 else "negative"
    return Prediction(
        label=label,
        score=max(positive, 1 - positive),
        probabilities={"negative": 1 - positive, "positive": positive},
        threshold=0.0,
        verdict=verdict or label,
        stars=stars,
        tokens=TokenCounts(total=1, scored=1),
    )


def claimed(jobs: JobRepository, owner: str = "me", version: str = "1") -> Job:
    job = jobs.claim(owner, [ModelId("tiny", version)], LEASE)
    assert job
    return jobs.begin(job, manifest(version))


def answered(
    jobs: JobRepository, texts: Sequence[object], answers: Sequence[Prediction | str]
) -> Job:
    """Return a job that is done, with these answers."""
    jobs.receive(new(), rows(*texts), 10_000)
    job = claimed(jobs)
    return jobs.record(job, jobs.next_rows(job, len(texts)), answers, 1.0)


def step(jobs: JobRepository, job: Job, classifier: Classifier, count: int) -> Job:
    """Score the next rows."""
    batch = jobs.next_rows(job, count)
    answers = answer_rows(classifier.predict_each, batch, job.column)
    return jobs.record(job, batch, answers, 0.5)


def added_values(jobs: JobRepository, job: Job) -> list[dict[str, object]]:
    """Return the values that are added to each row of the result."""
    return [added for chunk in jobs.results(job) for _, added in chunk]
