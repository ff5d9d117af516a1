import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelsense.jobs import queries
from reelsense.jobs.queries import ListedRow, RowQuery
from reelsense.jobs.repository import JobRepository
from reelsense.prediction import ERROR, Prediction
from tests.jobs.work import answer, answered, claimed, new, rows

TEXTS = st.text(st.sampled_from("aAbB%_\\/'é "), max_size=6)
MOODS = st.sampled_from([0.1, 0.25, 0.5, 0.9])
ANSWERS = st.one_of(
    st.just("is blank"),
    st.builds(answer, MOODS, st.sampled_from([1.0, 5.2, 10.0]), st.sampled_from(["", "unsure"])),
)
QUERIES = st.builds(
    RowQuery,
    verdict=st.sampled_from(["", "unsure", "positive", "negative", ERROR]),
    search=st.text(st.sampled_from("aB%_\\/'é"), max_size=2),
    sort=st.sampled_from(get_args(queries.Sort)),
    descending=st.booleans(),
    offset=st.integers(0, 4),
    limit=st.integers(0, 5),
)


@dataclass(frozen=True)
class KnownRow:
    n: int
    text: str
    answer: Prediction | str

    def by(self, sort: str) -> object:
        if sort == "positive" and isinstance(self.answer, Prediction):
            return self.answer.probabilities["positive"]
        return self.n if sort == "n" else getattr(self.answer, sort, None)

    def matches(self, query: RowQuery) -> bool:
        verdict = ERROR if isinstance(self.answer, str) else self.answer.verdict
        return query.verdict in ("", verdict) and query.search.lower() in self.text.lower()


def expected(known: list[KnownRow], query: RowQuery) -> tuple[int, list[int]]:
    """Return the total and the row numbers of the page, computed in plain Python."""
    matching = [row for row in known if row.matches(query)]
    good = [row for row in matching if row.by(query.sort) is not None]
    bad = [row for row in matching if row.by(query.sort) is None]
    good.sort(key=lambda row: row.by(query.sort), reverse=query.descending)  # type: ignore[arg-type, return-value]  # all of one type
    numbers = [row.n for row in good + bad]
    return len(matching), numbers[query.offset :][: query.limit]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXTS, ANSWERS), min_size=1, max_size=8), st.lists(QUERIES, max_size=8))
def test_page_matches_reference_implementation(
    jobs: JobRepository, given: list[tuple[str, Prediction | str]], row_queries: list[RowQuery]
) -> None:
    job = answered(jobs, [text for text, _ in given], [answer for _, answer in given])
    known = [KnownRow(n, text, answer) for n, (text, answer) in enumerate(given)]
    for query in row_queries:
        page = queries.page(jobs.database, job, query)
        assert (page.total, [row.n for row in page.rows]) == expected(known, query)
        for row in page.rows:
            assert row.text == known[row.n].text


def test_page_lists_rows_with_predictions(jobs: JobRepository) -> None:
    job = answered(jobs, ["good", None], [answer(0.1 + 0.2, 7.96), "'text' is not a text but null"])
    page = queries.page(jobs.database, job, RowQuery())
    assert page.rows[0] == ListedRow(
        n=0,
        line=2,
        text="good",
        label="negative",
        score=1 - (0.1 + 0.2),
        positive=0.1 + 0.2,
        verdict="negative",
        stars=7.96,
        error=None,
        values={"id": "2"},
    )
    assert (page.rows[1].text, page.rows[1].error) == ("", "'text' is not a text but null")
    assert page.rows[1].label is None


def test_page_lists_only_done_rows_of_job(jobs: JobRepository) -> None:
    answered(jobs, ["other"], [answer(0.9)])
    jobs.receive(new(), rows("good", "bad"), 9)
    job = claimed(jobs)
    job = jobs.record(job, jobs.next_rows(job, 1), [answer(0.9)], 1)
    page = queries.page(jobs.database, job, RowQuery())
    assert (page.total, [row.text for row in page.rows]) == (1, ["good"])
    assert job.verdicts == {"positive": 1}


def test_verdicts_and_stars_are_counted(jobs: JobRepository) -> None:
    answers: list[Prediction | str] = [
        answer(0.9, 7.6),
        answer(0.8, 8.3),
        answer(0.1, 1.2, "unsure"),
        "is blank",
    ]
    job = answered(jobs, ["a", "b", "c", ""], answers)
    assert job.verdicts == {"positive": 2, "unsure": 1, ERROR: 1}
    assert job.stars == {"8": 2, "1": 1}


@pytest.mark.parametrize("search", ["100%", "a_b", "back\\slash", "slash/", "'; --", 'say "hi"'])
def test_search_escapes_sql_wildcards(jobs: JobRepository, search: str) -> None:
    texts = ["100 of 100", "aXb", "backslash", "slash", "; --", "say hi", f"so {search} it is"]
    job = answered(jobs, texts, [answer(0.9)] * len(texts))
    page = queries.page(jobs.database, job, RowQuery(search=search.upper()))
    assert [row.text for row in page.rows] == [texts[-1]]


def test_search_ignores_case_of_accented_letters(jobs: JobRepository) -> None:
    job = answered(jobs, ["AMÉLIE", "Amelie", "ЛЕВИАФАН"], [answer(0.9)] * 3)

    def matching(search: str) -> list[str]:
        return [row.text for row in queries.page(jobs.database, job, RowQuery(search=search)).rows]

    assert matching("amélie") == ["AMÉLIE"]
    assert matching("левиафан") == ["ЛЕВИАФАН"]


@pytest.mark.parametrize("search", ["\0", "g\ud800"])
def test_search_for_unstorable_text_is_empty(jobs: JobRepository, search: str) -> None:
    job = answered(jobs, ["good"], [answer(0.9)])
    assert queries.page(jobs.database, job, RowQuery(search=search)).total == 0


def test_long_search_is_fast(jobs: JobRepository) -> None:
    job = answered(jobs, ["a" * 1_000_000 + "B"], [answer(0.9)])
    begun = time.monotonic()
    for search, total in (
        (f"{'a' * 60_000}b", 1),
        (f"b{'a' * 60_000}", 0),
        (f"{'a' * 20_000}c", 0),
    ):
        assert queries.page(jobs.database, job, RowQuery(search=search)).total == total
    # PostgreSQL's search is quadratic for such patterns.
    assert time.monotonic() - begun < (5 if jobs.database._engine.dialect.name == "sqlite" else 60)


def test_page_of_erased_job_is_empty(
    more: Callable[[], JobRepository], jobs: JobRepository
) -> None:
    job = answered(jobs, ["good"], [answer(0.9)])
    jobs.delete(job.id)
    more().sweep()
    assert queries.page(jobs.database, job, RowQuery()) == queries.Page(0, [])
