"""Measure how long the summary of a job takes, in milliseconds.

    python benchmarks/summaries.py [--database postgresql+psycopg://HOST/NAME]

Stores a job of 50,000 generated rows with made-up predictions, and asks for summaries as the page
of a job does. Takes two minutes. Writes its section of RESULTS.md.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median

import machine
from machine import seconds
from reelsense.bundle import Manifest
from reelsense.jobs import summaries
from reelsense.jobs.database import Database
from reelsense.jobs.job import Job, ModelId, NewJob
from reelsense.jobs.queries import RowQuery
from reelsense.jobs.repository import JobRepository
from reelsense.prediction import Prediction, TokenCounts
from reelsense.summary.aspects import Mention, sample_step
from reelsense.tables.row import Row
from sections import replace_section, table
from serving import RESULTS

TARGET = 300  # maximum milliseconds
HEADER = ("id", "film", "seen", "source", "stars", "review")
WORDS = ["the", "film", "acting", "plot", "was", "great", "dull", "scene", "of", "and", "hero"]
WORDS_PER_REVIEW = 230  # as in the Large Movie Review Dataset
LABELS = ("negative", "positive")
MENTIONS_PER_ROW = 3
REPEATS = 7

QUERIES = {
    "all rows, by film": (RowQuery(), None),
    "all rows, by day": (RowQuery(), "seen"),
    "rows with verdict unsure": (RowQuery(verdict="unsure"), None),
    "rows of one film": (RowQuery(column="film", value="film 3"), "source"),
    "rows that contain a word": (RowQuery(search="film 3"), None),
}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", help="default: a temporary SQLite file")
    parser.add_argument("--rows", type=int, default=50_000, help="default: 50000")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = options.database or f"sqlite:///{Path(folder) / 'jobs.db'}"
        with closing(Database(url)) as database:
            jobs = JobRepository(database, retention=3600)
            job = scored_job(jobs, options.rows)
            text = section(url.partition(":")[0], job, measure(database, job))
            jobs.delete(job.id)
    print(text)
    replace_section(RESULTS, "summaries", text)


def scored_job(jobs: JobRepository, rows: int) -> Job:
    """Store a job and its predictions."""
    choose = random.Random(1)
    new_job = NewJob("films.csv", ".csv", "review", HEADER, None, "made-up", None)
    jobs.receive(new_job, generated(rows, choose), rows)
    job = jobs.claim("benchmark", [ModelId("made-up", "1")], 3600)
    if job is None:
        raise RuntimeError("the database contains other jobs: pass an empty one")
    manifest = Manifest(
        name="made-up", version="1", labels=LABELS, window=512, ratings=tuple(range(1, 11))
    )
    job = jobs.begin(job, manifest)
    step = sample_step(rows)
    while job.is_open:
        batch = jobs.next_rows(job, 1000)
        predictions = [predicted(choose.random()) for _ in batch]
        mentions = [
            mention(n, choose)
            for n in range(job.done, job.done + len(batch))
            if n % step == 0
            for _ in range(MENTIONS_PER_ROW)
        ]
        job = jobs.record(job, batch, predictions, 1.0, mentions)
    return job


def generated(rows: int, choose: random.Random) -> Iterator[Row]:
    """Yield rows of films, of which a few have many reviews."""
    for n in range(rows):
        day = f"2026-{choose.randint(1, 12):02}-{choose.randint(1, 28):02}"
        film = f"film {int(choose.expovariate(1 / 60))}"
        review = " ".join(choose.choices(WORDS, k=WORDS_PER_REVIEW))
        cells = (str(n), film, day, choose.choice("abc"), str(choose.randint(1, 5)), review)
        yield Row(n + 2, dict(zip(HEADER, cells, strict=True)))


def predicted(positive: float) -> Prediction:
    """Return a prediction that is unsure between 40 and 60 %."""
    label = LABELS[positive >= 0.5]
    probabilities = {"negative": 1 - positive, "positive": positive}
    verdict = "unsure" if 0.4 < positive < 0.6 else label
    stars = 1 + 9 * positive
    return Prediction(
        label, probabilities[label], probabilities, 0.6, verdict, stars, TokenCounts(9, 9)
    )


def mention(n: int, choose: random.Random) -> Mention:
    """Return a mention of an aspect in row `n`."""
    positive = choose.random()
    aspect = choose.choice(["acting", "story", "music", "pace"])
    verdict = LABELS[positive >= 0.5]
    return Mention(n, aspect, f"the {aspect} of scene {n}", verdict, positive)


def measure(database: Database, job: Job) -> list[tuple[str, list[float]]]:
    """Return for each query the milliseconds of the first summary and of the next ones.

    Each with those of the processor. The predictions are read from the database for the first
    summary, and then kept in memory.
    """
    results = []
    for name, (query, column) in QUERIES.items():
        summarize = partial(summaries.job_summary, database, job, query, column)
        first = []
        for _ in range(REPEATS):
            summaries._scored.cache_clear()
            first.append(timed(summarize))
        following = [timed(summarize) for _ in range(REPEATS)]
        medians = [
            median(times) for part in (first, following) for times in zip(*part, strict=True)
        ]
        results.append((name, medians))
    return results


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Return the milliseconds that `call` takes, and those of the processor."""
    begun = time.process_time()
    wall = seconds(call)
    return 1000 * wall, 1000 * (time.process_time() - begun)


def section(database: str, job: Job, results: list[tuple[str, list[float]]]) -> str:
    """Return the section of RESULTS.md."""
    load = os.getloadavg()[0]
    slowest = max(medians[1] for _, medians in results)
    return "\n".join(
        [
            "## Summary of a file",
            f"`python benchmarks/summaries.py`: {job.rows:,} rows of {WORDS_PER_REVIEW} words and "
            f"{len(HEADER)} columns in {database}; medians of {REPEATS}; {machine.describe()}. "
            f"Other programs kept the cores busy (load {load:.0f}): the time of the processor is "
            "that on an idle machine.",
            "",
            table(
                ["summary of", "first, ms", "processor", "next, ms", "processor"],
                [[name, *(f"{value:.0f}" for value in medians)] for name, medians in results],
            ),
            "",
            f"Target: at most {TARGET} ms; the slowest takes {slowest:.0f} ms of the processor.",
        ]
    )


if __name__ == "__main__":
    main()
