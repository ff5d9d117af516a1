"""The types of a summary. Shares are between 0 and 1, and intervals have 95% confidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from reelsense.report.results import Share


class _Described:
    """Lets pydantic describe fields in the OpenAPI document by the strings after them."""

    __slots__ = ()
    __pydantic_config__: ClassVar[dict[str, bool]] = {"use_attribute_docstrings": True}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean or a difference with its interval."""

    value: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval does not contain 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures(_Described):
    """The figures of a set of rows."""

    rows: int
    coverage: Share
    """Rows with a verdict other than unsure, among the rows that could be scored."""
    shares: dict[str, Share]
    """Verdicts of each label, among the rows with a verdict other than unsure."""
    stars: Estimate | None
    """Mean rating. null: no ratings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(Figures):
    """The rows with one value of a column."""

    value: str
    """The value of the column; blank: rows without one."""
    trend: list[float | None]
    """Share of `label` in each of the `periods`. null: no verdicts. Empty: no dates."""
    change: Estimate | None
    """Share of `label` from `split` on minus the share before. null: no verdicts or dates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period(Figures):
    """The rows of a day, a month or a year."""

    period: str
    """Such as 2026-11-30, 2026-11 or 2026."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend(_Described):
    """The figures over time."""

    column: str
    """The column with the dates."""
    periods: list[Period]
    split: str
    """The period that begins the later half of the rows."""
    change: Estimate | None
    """Share of `label` from `split` on minus the share before. null: no verdicts."""


@dataclass(frozen=True, slots=True)
class Quote:
    """A clause that judges an aspect."""

    n: int
    text: str
    positive: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AspectSummary(_Described):
    """The mentions of an aspect."""

    aspect: str
    mentions: int
    positive: Share
    """Positive mentions among those with a verdict other than unsure."""
    praise: list[Quote]
    """The most positive clauses, at most three."""
    criticism: list[Quote]
    """The most negative clauses, at most three."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aspects(_Described):
    """The aspects that the rows praise and criticise."""

    rows: int
    """Rows in which aspects were searched: all, or an evenly spaced sample of a large file."""
    aspects: list[AspectSummary]
    """Highest share of positive mentions first."""
    most_praised: list[str]
    """At most three of those with enough mentions."""
    most_criticised: list[str]
    """Likewise, the most criticised first."""


@dataclass(frozen=True, slots=True)
class NotableRow:
    """A row worth reading. `own_stars` is the rating in the file, from 0 to 10."""

    n: int
    text: str
    verdict: str
    label: str
    score: float
    stars: float | None
    own_stars: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notable(_Described):
    """Rows worth reading, at most three of each kind."""

    typical: list[NotableRow]
    """Rows with the most frequent verdict whose rating, or else score, is nearest to their mean."""
    mixed: list[NotableRow]
    """Rows with the lowest probability of their label."""
    differing: list[NotableRow]
    """Rows whose predicted rating differs most from the rating in the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary(_Described):
    """The summary of the rows of a table that match the filters."""

    findings: list[str]
    """The main findings as sentences."""
    labels: list[str]
    label: str
    """The label whose share is compared: positive, or the first one."""
    total: Figures
    verdicts: dict[str, int]
    """Rows per verdict. error: rows that could not be scored."""
    stars: dict[str, int]
    """Rows per predicted rating, rounded."""
    columns: list[str]
    """The columns that rows can be grouped by."""
    group_column: str | None
    """null: the table has no such column."""
    groups: list[Group]
    """Most rows first, at most 1,000."""
    other: Figures | None
    """The rows of the groups that are not listed. null: all are listed."""
    trend: Trend | None
    """null: no column contains dates such as 2026-11-30."""
    stars_column: str | None
    """The column with ratings to compare. null: none is called stars or rating."""
    aspects: Aspects | None
    """null: the model does not predict the sentiment of aspects."""
    notable: Notable
