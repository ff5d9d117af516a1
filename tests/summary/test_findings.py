from __future__ import annotations

from reelsense.summary.aspects import Mention
from reelsense.summary.summarize import summarize
from tests.summary.made import KnownRow, rows_of, table


def test_findings_state_figures_with_intervals() -> None:
    mentions = [Mention(n, "acting", f"q{n}", "positive", 0.9) for n in range(20)]
    mentions += [Mention(n, "pace", f"q{n}", "negative", 0.1) for n in range(20)]
    rows = [
        *rows_of("Heat", 30, 0, seen="2026-01-01"),
        *rows_of("Cats", 0, 30, seen="2026-02-01"),
        *rows_of("Rare", 19, 0),
        ("unsure", 0.6, 5.0, {}),
        (None, None, None, {}),
    ]
    assert summarize(table(rows, mentions=mentions), group_column="film").findings == [
        "Of 79 rows with a verdict, 62.0 % are positive (51.0 % to 71.9 %).",
        "Coverage is 98.8 % (93.3 % to 99.8 %): the verdict on 1 row is unsure.",
        "1 row could not be scored.",
        "The mean predicted rating is 6.1 of 10 stars (5.6 to 6.6).",
        "By film, the share of positive is highest for Heat, 100.0 % (88.6 % to 100.0 %, 30 rows) "
        "and lowest for Cats, 0.0 % (0.0 % to 11.4 %, 30 rows).",
        "From 2026-02-01 on, the share of positive changed: \u2212100.0 points (\u2212100.0 to "
        "\u221283.9) compared with before.",
        "In 81 rows examined, the most praised aspect is acting (100.0 % of 20 mentions are "
        "positive, 83.9 % to 100.0 %), and the most criticised is pace (0.0 % of 20 mentions are "
        "positive, 0.0 % to 16.1 %).",
    ]


def test_findings_do_not_rank_small_groups() -> None:
    rows = [*rows_of("a", 19, 0), *rows_of("b", 0, 19)]
    assert not any("By film" in text for text in summarize(table(rows)).findings)
    more = [*rows, *rows_of("a", 1, 0), *rows_of("b", 1, 0)]
    assert any("By film" in text for text in summarize(table(more)).findings)


def test_findings_say_that_intervals_overlap() -> None:
    rows = [*rows_of("a", 11, 9), *rows_of("b", 9, 11)]
    [text] = [text for text in summarize(table(rows)).findings if "By film" in text]
    assert text.endswith("; their intervals overlap.")


def test_findings_of_three_labels_state_each_share() -> None:
    labels = ("negative", "neutral", "positive")
    rows: list[KnownRow] = [(label, 0.9, None, {}) for label in labels]
    [text, *_] = summarize(table(rows, labels)).findings
    assert text == (
        "Of 3 rows with a verdict, 33.3 % are positive (6.1 % to 79.2 %), 33.3 % are neutral "
        "(6.1 % to 79.2 %), 33.3 % are negative (6.1 % to 79.2 %)."
    )
