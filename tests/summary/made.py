"""Tables of rows and predictions for tests of summaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reelsense.summary.aspects import Mention
from reelsense.summary.columns import ColumnEncoder
from reelsense.summary.notable import ReadRow
from reelsense.summary.scored import ScoredRows
from reelsense.summary.summarize import ScoredTable
from reelsense.tables.row import Row

BINARY = ("negative", "positive")

# The verdict, probability of the label, rating and other cells of a row; verdict None: not scored.
KnownRow = tuple[str | None, float | None, float | None, Mapping[str, object]]


def table(
    rows: Sequence[KnownRow],
    labels: tuple[str, ...] = BINARY,
    mentions: Sequence[Mention] | None = None,
) -> ScoredTable:
    encoder = ColumnEncoder("text")
    for line, (*_, cells) in enumerate(rows, start=2):
        encoder.add(Row(line, {"text": f"row {line}", **cells}))
    columns = {column.name: column for column in encoder.columns()}

    def read(numbers: Sequence[int]) -> dict[int, ReadRow]:
        found = {}
        for n in numbers:
            verdict, score, stars, _ = rows[n]
            found[n] = ReadRow(f"text {n}", str(verdict), labels[-1], score or 0.0, stars)
        return found

    return ScoredTable(
        scored=ScoredRows.of(
            labels, [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]
        ),
        kinds={name: column.kind for name, column in columns.items()},
        load=columns.__getitem__,
        mentions=mentions,
        step=1,
        read=read,
    )


def rows_of(film: str, positive: int, negative: int, **cells: object) -> list[KnownRow]:
    """Return rows of a film with these numbers of verdicts."""
    good: KnownRow = ("positive", 0.9, 8.0, {"film": film, **cells})
    bad: KnownRow = ("negative", 0.8, 3.0, {"film": film, **cells})
    return [good] * positive + [bad] * negative
