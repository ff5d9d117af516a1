"""Summaries of jobs, on SQLite and PostgreSQL."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelsense.errors import InputError, JobStateError
from reelsense.jobs import queries
from reelsense.jobs.job import Job, NewJob
from reelsense.jobs.queries import RowQuery
from reelsense.jobs.repository import JobRepository
from reelsense.jobs.summaries import job_summary
from reelsense.prediction import ERROR, Prediction
from reelsense.summary.aspects import Mention
from reelsense.tables.row import Row
from tests.jobs.work import answer, claimed, manifest, new

FILMS = st.sampled_from(
    ["", "Heat", "heat", "Am\u00e9lie", "a%b_", 'quote " back\\', "\udcff", "x\0"]
)
ANSWERS = st.one_of(
    st.just("is blank"),
    st.builds(
        answer, st.floats(0, 1), st.sampled_from([1.0, 9.6]), st.sampled_from(["", "unsure"])
    ),
)
ROWS = st.lists(st.tuples(FILMS, st.text(max_size=4), ANSWERS), min_size=1, max_size=12)

HEADER = ("film", "text")


def stored(
    jobs: JobRepository,
    made: list[tuple[str, str, Prediction | str]],
    *,
    header: tuple[str, ...] | None = HEADER,
    mentions: tuple[Mention, ...] = (),
) -> Job:
    """Return a job that is done, with the film, the text and the prediction of each row."""
    rows = [Row(n, {"film": film, "text": text}) for n, (film, text, _) in enumerate(made, 2)]
    jobs.receive(NewJob("in.csv", ".csv", "text", header, None, "tiny", None), rows, 10_000)
    job = claimed(jobs)
    answers = [prediction for *_, prediction in made]
    return jobs.record(job, jobs.next_rows(job, len(made)), answers, 1.0, mentions)


def numbers(jobs: JobRepository, job: Job, **query: str) -> list[int]:
    return [row.n for row in queries.page(jobs.database, job, RowQuery(**query)).rows]  # type: ignore[arg-type]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, st.sampled_from([HEADER, None]))
def test_groups_link_to_their_rows(
    jobs: JobRepository,
    made: list[tuple[str, str, Prediction | str]],
    header: tuple[str, ...] | None,
) -> None:
    job = stored(jobs, made, header=header)
    summary = job_summary(jobs.database, job, RowQuery())
    assert summary.total.rows == len(made)
    assert summary.verdicts[ERROR] == job.verdicts.get(ERROR, 0)
    assert {name: n for name, n in summary.verdicts.items() if n} == job.verdicts
    assert {star: n for star, n in summary.stars.items() if n} == job.stars
    linked = []
    for group in summary.groups:
        query = {"column": "film", "value": group.value}
        listed = numbers(jobs, job, **query)
        filtered = job_summary(jobs.database, job, RowQuery(**query), "film")  # type: ignore[arg-type]
        assert len(listed) == group.rows == filtered.total.rows
        assert filtered.groups == [group]
        linked += listed
    if summary.groups:
        assert sorted(linked) == list(range(len(made)))


@pytest.fixture
def job(jobs: JobRepository) -> Job:
    predictions: list[Prediction | str] = [answer(0.9, 8.0), answer(0.2, 2.0), answer(0.6, 6.0)]
    films, texts = ["Heat", "AM\u00c9LIE", "Heat"], ["A joy.", "heat wave", "So so."]
    mentions = (
        Mention(0, "music", 'The "music"', "positive", 0.9),
        Mention(2, "pace", "slow \u00e9", "negative", 0.1),
    )
    return stored(jobs, list(zip(films, texts, predictions, strict=True)), mentions=mentions)


def test_search_finds_all_columns(jobs: JobRepository, job: Job) -> None:
    assert numbers(jobs, job, search="heat") == [0, 1, 2]
    assert numbers(jobs, job, search="am\u00e9lie") == [1]
    assert numbers(jobs, job, search="heat", verdict="negative") == [1]
    assert numbers(jobs, job, search="heat", column="film", value="Heat") == [0, 2]
    assert numbers(jobs, job, search="film") == []  # a name of a column


def test_summary_follows_filters(jobs: JobRepository, job: Job) -> None:
    summary = job_summary(jobs.database, job, RowQuery(search="heat", verdict="negative"))
    assert (summary.total.rows, summary.total.shares["negative"].count) == (1, 1)
    assert [group.value for group in summary.groups] == ["AM\u00c9LIE"]
    assert [row.text for row in summary.notable.mixed] == ["heat wave"]
    assert summary.aspects
    assert summary.aspects.aspects == []


def test_summary_has_stored_mentions(jobs: JobRepository, job: Job) -> None:
    aspects = job_summary(jobs.database, job, RowQuery()).aspects
    assert aspects
    assert [(a.aspect, a.mentions) for a in aspects.aspects] == [("music", 1), ("pace", 1)]
    assert [quote.text for quote in aspects.aspects[0].praise] == ['The "music"']


def test_summary_of_other_labels_has_no_aspects(jobs: JobRepository) -> None:
    jobs.receive(new(), [Row(2, {"id": "1", "text": "x"})], 9)
    job = claimed(jobs)
    other = replace(manifest("2"), labels=("a", "b"))
    assert job_summary(jobs.database, jobs.begin(job, other), RowQuery()).aspects is None


def test_page_lists_the_other_columns(jobs: JobRepository, job: Job) -> None:
    rows = queries.page(jobs.database, job, RowQuery()).rows
    assert [row.values for row in rows] == [
        {"film": "Heat"},
        {"film": "AM\u00c9LIE"},
        {"film": "Heat"},
    ]


@pytest.mark.parametrize("query", [RowQuery(column="actor"), RowQuery()])
def test_unknown_columns_and_labels_are_errors(
    jobs: JobRepository, job: Job, query: RowQuery
) -> None:
    with pytest.raises(InputError) as caught:
        job_summary(jobs.database, job, query, "actor")
    assert caught.value.code == "no-such-column"
    with pytest.raises(InputError) as caught:
        job_summary(jobs.database, job, RowQuery(), label="maybe")
    assert caught.value.code == "unknown-label"


def test_job_that_has_not_begun_has_no_summary(jobs: JobRepository) -> None:
    job = jobs.receive(new(), [Row(2, {"id": "1", "text": "x"})], 9)
    with pytest.raises(JobStateError) as caught:
        job_summary(jobs.database, job, RowQuery())
    assert caught.value.code == "job-not-begun"


def test_summary_of_a_running_job_has_the_rows_that_are_done(jobs: JobRepository) -> None:
    rows = [Row(n, {"film": "Heat", "text": "x"}) for n in range(2, 5)]
    jobs.receive(NewJob("in.csv", ".csv", "text", HEADER, None, "tiny", None), rows, 9)
    job = claimed(jobs)
    assert job_summary(jobs.database, job, RowQuery()).total.rows == 0
    for done in (1, 2):
        job = jobs.record(job, jobs.next_rows(job, 1), [answer(0.9)], 1.0)
        summary = job_summary(jobs.database, job, RowQuery())
        assert [group.rows for group in summary.groups] == [done]


def test_new_version_discards_mentions(jobs: JobRepository) -> None:
    rows = [Row(n, {"film": "Heat", "text": "x"}) for n in range(2, 5)]
    jobs.receive(NewJob("in.csv", ".csv", "text", HEADER, None, "tiny", None), rows, 9)
    job = claimed(jobs)
    mention = Mention(0, "music", "x", "positive", 0.9)
    job = jobs.record(job, jobs.next_rows(job, 1), [answer(0.9)], 1.0, [mention])
    job = jobs.begin(job, manifest("2"))
    job = jobs.record(job, jobs.next_rows(job, 1), [answer(0.9)], 1.0)
    aspects = job_summary(jobs.database, job, RowQuery()).aspects
    assert aspects
    assert aspects.aspects == []


def test_sweep_erases_columns_and_mentions(jobs: JobRepository, job: Job) -> None:
    jobs.delete(job.id)
    assert jobs.sweep() == 1
    with jobs.database.reading() as connection:
        assert queries.column_kinds(connection, job) == {}
    summary = job_summary(jobs.database, replace(job, done=0), RowQuery())
    assert (summary.total.rows, summary.columns) == (0, [])
