"""Labelled reviews from a table. Skips unusable rows and rejects doubtful labels."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reelsense.datasets.reviews import Review, text_key
from reelsense.errors import DatasetError
from reelsense.tables.reading import ReadOptions, open_table
from reelsense.tables.row import BLANK, Columns, Row, row_text, value_of
from reelsense.tables.storage import FileInfo
from reelsense.tables.text import UNDECODED
from reelsense.text.clean import clean

LABEL_COLUMNS = ("label", "sentiment", "class", "category", "target", "rating")

_LISTED = 10  # bad rows in a message

_WHOLE_NUMBER = re.compile(r"(-?\d+)\.0+")


@dataclass(frozen=True, slots=True)
class Labels:
    """How the labels of a table are read."""

    names: Mapping[str, str] = field(default_factory=dict)
    """New names of labels. A blank name leaves out the rows."""

    @classmethod
    def parse(cls, text: str) -> Labels:
        """Return the labels of a map such as "1=positive,0=negative"."""
        names: dict[str, str] = {}
        for entry in filter(None, text.split(",")):
            old, separator, new = entry.partition("=")
            if not separator or not old.strip():
                raise DatasetError(
                    f"invalid label map {entry!r}: expected old=new, for example "
                    "1=positive,0=negative",
                    code="invalid-label-map",
                )
            names[old.strip()] = new.strip()
        return cls(names)

    def name(self, value: object) -> str | None:
        """Return the name of a label; None if the row has none. Raises ValueError."""
        if value is None:
            return None
        if not isinstance(value, str | int | float):
            problem = f"{json.dumps(value, default=str)[:40]} is not a label"
            raise ValueError(problem)  # noqa: TRY004  # an error of the row, not of the caller
        text = str(value).strip()
        if isinstance(value, bool):
            text = text.lower()
        if match := _WHOLE_NUMBER.fullmatch(text):  # 1.0 in JSON and in CSV is 1
            text = match[1]
        return self.names.get(text, text) or None


def read_table(
    path: Path,
    text_column: str | None = None,
    label_column: str | None = None,
    options: ReadOptions | None = None,
    labels: Labels | None = None,
    max_bad_rows: float = 0.01,
    on_message: Callable[[str], object] = lambda _: None,
    group_column: str | None = None,
) -> list[Review]:
    """Read the reviews of a table in order.

    Rows with the same value of `group_column`, or with the same text, form one group. A blank label
    means no label.

    Args:
        path: The table.
        text_column: Name or number; None: the one with a usual name, such as text.
        label_column: The same, such as label.
        options: How the table is written.
        labels: How its labels are read.
        max_bad_rows: Share of rows without a usable text or label up to which they are skipped.
        on_message: Called with what was skipped or is doubtful.
        group_column: Name or number of a column such as a customer; None, or a blank value: rows
            with the same text form a group.

    Raises:
        DatasetError: The file cannot be read, too many rows are bad, or labels are doubtful.
    """
    if not path.is_file():
        raise DatasetError(f"cannot read {path}: it is not a file", code="unreadable")
    labels = labels or Labels()
    file = FileInfo(str(path), str(path), path.stat().st_size)
    reviews, problems, count = [], [], 0
    with open_table(file, options or ReadOptions()) as table:
        names: tuple[str, str, str | None] | None = None
        for row, _ in table.rows:
            count += 1
            columns = table.columns or Columns(tuple(row.values))
            names = names or _columns(columns, path, text_column, label_column, group_column)
            try:
                reviews.append(_review(row, path, *names, labels))
            except ValueError as error:
                problems.append(f"line {row.line}: {error}")
    if table.dialect:
        on_message(f"{path}: {table.dialect}")
    _report_bad_rows(path, problems, count, max_bad_rows, on_message)
    _check_labels(path, reviews, on_message)
    return reviews


def _columns(
    columns: Columns,
    path: Path,
    text_column: str | None,
    label_column: str | None,
    group_column: str | None,
) -> tuple[str, str, str | None]:
    if label_column is None:
        titles = [title.strip().casefold() for title in columns.header]
        label_column = next((name for name in LABEL_COLUMNS if name in titles), "label")
    return (
        columns.choose(text_column, str(path), "--text-column"),
        columns.choose(label_column, str(path), "--label-column"),
        group_column and columns.choose(group_column, str(path), "--group-column"),
    )


def _review(
    row: Row,
    path: Path,
    text_column: str,
    label_column: str,
    group_column: str | None,
    labels: Labels,
) -> Review:
    """Return the review of a row. Raises ValueError if the row is not usable."""
    if row.error:
        raise ValueError(row.error)
    text = row_text(row, text_column)
    if text.strip().casefold() in BLANK or not clean(text).strip():
        raise ValueError(f"{text_column!r} contains no text")
    try:
        value = value_of(row, label_column)
    except KeyError:
        raise ValueError(f"no column {label_column!r}") from None
    group = _group(row, group_column) or text_key(text)
    return Review(f"{path.name}:{row.line}", text, labels.name(value), None, group)


def _group(row: Row, column: str | None) -> str:
    """Return the group of a row; blank if it has none."""
    try:
        value = value_of(row, column) if column else None
    except KeyError:
        return ""
    return "" if value is None else str(value).strip()


def _report_bad_rows(
    path: Path,
    problems: Sequence[str],
    count: int,
    max_bad_rows: float,
    on_message: Callable[[str], object],
) -> None:
    if not problems:
        return
    more = f"; and {len(problems) - _LISTED:,} more" if len(problems) > _LISTED else ""
    listed = "; ".join(problems[:_LISTED]) + more
    summary = f"{path}: {len(problems):,} of {count:,} rows cannot be used: {listed}"
    # One bad row is tolerated: it is more than 1 % of a small table.
    encoding = ""
    if any(UNDECODED in problem for problem in problems):
        encoding = "pass the encoding of the file, for example --encoding windows-1252"
    if not max_bad_rows or len(problems) > max(1, max_bad_rows * count):
        advice = encoding or f"correct them, or raise --max-bad-rows (now {max_bad_rows:.0%})"
        raise DatasetError(f"{summary}. Remedy: {advice}", code="too-many-bad-rows")
    on_message(f"skipped: {summary}" + f"; {encoding}" * bool(encoding))


def _check_labels(
    path: Path, reviews: Sequence[Review], on_message: Callable[[str], object]
) -> None:
    counts = Counter(review.label for review in reviews if review.label is not None)
    by_folded: dict[str, list[str]] = {}
    for label in counts:
        by_folded.setdefault(" ".join(label.casefold().split()), []).append(label)
    variants = []
    for labels in by_folded.values():
        usual = max(labels, key=lambda label: (counts[label], label.islower()))
        variants += [f"{label}={usual}" for label in labels if label != usual]
    if variants:
        raise DatasetError(
            f"{path} has labels that differ only in case or spaces: pass --label-map "
            f"{','.join(variants)}",
            code="label-variants",
        )
    missing = [label for label in counts if label.casefold() in BLANK]
    if missing:
        rows = sum(counts[label] for label in missing)
        raise DatasetError(
            f"{path}: the label of {rows:,} row{'s' * (rows > 1)} is {missing[0]!r}: if these "
            f"rows are unlabelled, pass --label-map {missing[0]}=",
            code="missing-labels",
        )
    if set(map(str.casefold, counts)) in ({"0", "1"}, {"true", "false"}):
        no, yes = sorted(counts, key=str.casefold)
        on_message(
            f"{path}: the labels are {no} and {yes}: to name them, pass for example --label-map "
            f"{yes}=positive,{no}=negative"
        )
    if len(counts) == 1:
        on_message(f"{path}: all rows have the label {next(iter(counts))}")
    if single := [label for label, count in counts.items() if count == 1]:
        on_message(f"{path}: labels with a single row: {', '.join(sorted(single)[:_LISTED])}")
