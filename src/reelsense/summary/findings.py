"""The main findings of a summary as sentences, each figure with its interval."""

from __future__ import annotations

from collections.abc import Iterator

from reelsense.report.results import Share
from reelsense.summary.aspects import MIN_RANKED
from reelsense.summary.labels import display_order
from reelsense.summary.results import AspectSummary, Estimate, Group, Summary

_MAX_LABELS = 4  # whose shares are stated


def findings(summary: Summary) -> list[str]:
    """Return the main findings of `summary`."""
    return [*_overall(summary), *_groups(summary), *_trend(summary), *_aspects(summary)]


def percent(value: float) -> str:
    """Return a share in percent."""
    return f"{100 * value:.1f} %"


def range_of(estimate: Share | Estimate) -> str:
    """Return the interval of a share in percent."""
    return f"{percent(estimate.low)} to {percent(estimate.high)}"


def points(change: Estimate) -> str:
    """Return a difference of shares in percentage points, with its interval."""
    value, low, high = (
        f"{100 * part:+.1f}".replace("-", "\u2212")
        for part in (change.value, change.low, change.high)
    )
    return f"{value} points ({low} to {high})"


def group_name(group: Group) -> str:
    """Return the value of a group; blank values get a name."""
    return group.value or "(blank)"


def rows(count: int) -> str:
    """Return a number of rows in words."""
    return "1 row" if count == 1 else f"{count:,} rows"


def _overall(summary: Summary) -> Iterator[str]:
    total = summary.total
    labels = display_order(summary.labels)
    # Of two labels, the share of the first says all.
    stated = labels[:1] if len(labels) == 2 else labels[:_MAX_LABELS]
    decided = total.coverage.count
    if decided:
        shares = ", ".join(
            f"{percent(share.value)} are {label} ({range_of(share)})"
            for label, share in ((label, total.shares[label]) for label in stated)
        )
        yield f"Of {rows(decided)} with a verdict, {shares}."
    if total.coverage.total:
        unsure = total.coverage.total - decided
        reason = f": the verdict on {rows(unsure)} is unsure" if unsure else ""
        yield (f"Coverage is {percent(total.coverage.value)} ({range_of(total.coverage)}){reason}.")
    if errors := total.rows - total.coverage.total:
        yield f"{rows(errors)} could not be scored."
    if total.stars:
        yield (
            f"The mean predicted rating is {total.stars.value:.1f} of 10 stars "
            f"({total.stars.low:.1f} to {total.stars.high:.1f})."
        )


def _groups(summary: Summary) -> Iterator[str]:
    def share(group: Group) -> Share:
        return group.shares[summary.label]

    def described(group: Group) -> str:
        of = share(group)
        return f"{group_name(group)}, {percent(of.value)} ({range_of(of)}, {rows(of.total)})"

    ranked = [group for group in summary.groups if share(group).total >= MIN_RANKED]
    if len(ranked) < 2:
        return
    ranked.sort(key=lambda group: share(group).value)
    lowest, highest = ranked[0], ranked[-1]
    overlap = share(lowest).high >= share(highest).low
    yield (
        f"By {summary.group_column}, the share of {summary.label} is highest for "
        f"{described(highest)} and lowest for {described(lowest)}"
        f"{'; their intervals overlap' if overlap else ''}."
    )


def _trend(summary: Summary) -> Iterator[str]:
    trend = summary.trend
    if trend and trend.change:
        is_clear = "changed" if trend.change.is_clear else "did not change clearly"
        yield (
            f"From {trend.split} on, the share of {summary.label} {is_clear}: "
            f"{points(trend.change)} compared with before."
        )


def _aspects(summary: Summary) -> Iterator[str]:
    if not summary.aspects:
        return

    def described(aspect: AspectSummary) -> str:
        share = aspect.positive
        return (
            f"{aspect.aspect} ({percent(share.value)} of {share.total:,} mentions are positive, "
            f"{range_of(share)})"
        )

    by_name = {aspect.aspect: aspect for aspect in summary.aspects.aspects}
    parts = [
        f"{description} {described(by_name[names[0]])}"
        for description, names in (
            ("the most praised aspect is", summary.aspects.most_praised),
            ("the most criticised is", summary.aspects.most_criticised),
        )
        if names
    ]
    if parts:
        yield f"In {rows(summary.aspects.rows)} examined, {', and '.join(parts)}."
