from __future__ import annotations

import csv
import io
import re
from html import unescape
from html.parser import HTMLParser
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.summary.aspects import Mention
from reelsense.summary.export import to_csv
from reelsense.summary.page import (
    SHOWN_GROUPS,
    GroupSort,
    Source,
    View,
    render_part,
    render_report,
    sorted_groups,
)
from reelsense.summary.summarize import summarize
from tests.summary.made import BINARY, KnownRow, rows_of, table

EVIL = "<script>alert(1)</script>"
MENTIONS = [Mention(0, "music", EVIL, "positive", 0.9)] * 20
ROWS = [
    *rows_of("Heat", 30, 2, seen="2026-01-01"),
    *rows_of(EVIL, 5, 25, seen="2026-02-01"),
    *rows_of("", 1, 0),
    (None, None, None, {"film": "Cats"}),
]
SUMMARY = summarize(table(ROWS, mentions=MENTIONS), group_column="film")


class Addresses(HTMLParser):
    """Collects what a page would load or link to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_report_is_self_contained() -> None:
    page = render_report(SUMMARY, Source("films.csv", "tiny 1", "film Heat"))
    parser = Addresses()
    parser.feed(page)
    assert parser.found == ["data:,"]
    assert "url(" not in page
    assert "@import" not in page
    text = unescape(page)
    for expected in (*SUMMARY.findings, "films.csv", "scored by tiny 1", "(film Heat)", "(blank)"):
        assert expected in text


def test_report_escapes_cells_and_quotes() -> None:
    page = render_report(SUMMARY, Source(EVIL, EVIL, EVIL))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 5


def test_part_links_groups_rows_and_orders() -> None:
    view = View(
        sort="share",
        sort_link=lambda sort: f"?by={sort}",
        group_link=lambda value: f"?value={value}",
        row_link=lambda n: f"?row={n}",
        verdict_link=lambda verdict: f"?verdict={verdict}",
    )
    part = render_part(SUMMARY, view)
    assert set(re.findall(r"\?by=(\w+)", part)) == set(get_args(GroupSort))
    assert 'href="?value=Heat"' in part
    assert "?verdict=negative" in part
    assert set(re.findall(r"\?row=(\d+)", part)) >= {"0"}
    assert part.count('aria-sort="descending"') == 1


def test_part_shows_the_first_groups() -> None:
    rows: list[KnownRow] = [("positive", 0.9, None, {"film": f"f{n % 40}"}) for n in range(80)]
    summary = summarize(table(rows))
    first = render_part(summary, View(all_link=lambda: "?all=1"))
    assert first.count('class="name"') == SHOWN_GROUPS
    assert 'href="?all=1">Show all 40 groups' in first
    assert render_part(summary, View(all_groups=True)).count('class="name"') == 40


@given(st.sampled_from(get_args(GroupSort)), st.booleans())
def test_sorted_groups_keeps_all_groups_and_puts_unknown_last(
    sort: GroupSort, descending: bool
) -> None:
    groups = sorted_groups(SUMMARY, sort, descending=descending)
    assert sorted(group.value for group in groups) == sorted(g.value for g in SUMMARY.groups)
    if sort in ("share", "stars"):
        assert groups[-1].value == "Cats"
        assert [group.value for group in groups[:3]] == (
            ["", "Heat", EVIL] if descending else [EVIL, "Heat", ""]
        )
    if sort == "value":
        assert groups[-1].value == ""


@pytest.mark.parametrize("labels", [BINARY, ("a", "b", "c")])
def test_csv_has_one_row_per_group(labels: tuple[str, ...]) -> None:
    rows: list[KnownRow] = [(labels[n % 2], 0.9, 8.0, {"film": f'"{n % 3}",\n'}) for n in range(9)]
    summary = summarize(table(rows, labels), group_column="film")
    lines = list(csv.DictReader(io.StringIO(to_csv(summary), newline="")))
    assert [line["film"] for line in lines] == [group.value for group in summary.groups]
    for line, group in zip(lines, summary.groups, strict=True):
        assert int(line["rows"]) == group.rows
        assert float(line["coverage"]) == group.coverage.value
        for label, share in group.shares.items():
            ends = [float(line[f"{label}{end}"]) for end in ("", "_low", "_high")]
            assert ends == [share.value, share.low, share.high]
        assert float(line["stars"]) == 8.0
        assert line["change"] == ""


def test_csv_without_groups_has_one_row() -> None:
    [line] = csv.DictReader(io.StringIO(to_csv(summarize(table([("positive", 0.9, None, {})])))))
    assert (line["rows"], line["positive"], line["stars"]) == ("1", "1.0", "")
