"""Show a summary in HTML: as a part of a page, and as a self-contained report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

from reelsense import __version__
from reelsense.extras import importable
from reelsense.prediction import ERROR, UNSURE
from reelsense.summary import findings
from reelsense.summary.aspects import MIN_RANKED
from reelsense.summary.labels import display_order, label_class
from reelsense.summary.results import Estimate, Group, Summary

importable("jinja2", "serve", "an HTML report")

from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: E402  # after the check
from markupsafe import Markup  # noqa: E402

SHOWN_GROUPS = 25

GroupSort = Literal["value", "rows", "share", "coverage", "stars", "change"]

_STYLES = ("frame.css", "page.css")  # of the pages: the report looks like them


def _no_link(*_: object) -> None:
    return None


@dataclass(frozen=True, slots=True)
class View:
    """How a summary is shown, and what it links to. The links return a URL, or None."""

    sort: GroupSort = "rows"
    descending: bool = True
    all_groups: bool = False
    sort_link: Callable[[str], str | None] = _no_link
    all_link: Callable[[], str | None] = _no_link
    group_link: Callable[[str], str | None] = _no_link
    verdict_link: Callable[[str], str | None] = _no_link
    row_link: Callable[[int], str | None] = _no_link


@dataclass(frozen=True, slots=True)
class Source:
    """What a report is about."""

    name: str  # of the file
    model: str  # its name and version; blank: unknown
    filters: str = ""  # in words; blank: all rows


def render_part(summary: Summary, view: View) -> Markup:
    """Return the summary as a part of a page, without its form."""
    template = _environment().get_template("summary.html.jinja")
    return Markup(template.render(summary=summary, view=view, **_variables(summary, view)))  # noqa: S704  # the template escapes


def render_report(summary: Summary, source: Source) -> str:
    """Return the summary as a self-contained HTML page."""
    static = resources.files("reelsense") / "server" / "static"
    styles = "\n".join((static / name).read_text(encoding="utf-8") for name in _STYLES)
    view = View(all_groups=True)
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            summary=summary,
            source=source,
            version=__version__,
            styles=Markup(styles),  # noqa: S704  # files of the package
            part=render_part(summary, view),
        )
    )


def sorted_groups(summary: Summary, sort: GroupSort, *, descending: bool) -> list[Group]:
    """Return the groups in an order; groups without the figure come last."""

    def key(group: Group) -> Any:
        share = group.shares[summary.label]
        return {
            "value": group.value.casefold() or None,
            "rows": group.rows,
            "share": share.value if share.total else None,
            "coverage": group.coverage.value if group.coverage.total else None,
            "stars": group.stars and group.stars.value,
            "change": group.change and group.change.value,
        }[sort]

    known = [group for group in summary.groups if key(group) is not None]
    known.sort(key=key, reverse=descending)
    return known + [group for group in summary.groups if key(group) is None]


@lru_cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reelsense.summary"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": findings.percent,
        "range": findings.range_of,
        "points": findings.points,
        "signed_points": lambda change: findings.points(change).partition(" (")[0],
        "label_class": label_class,
        "line": _line,
        "band": _band,
    }
    return environment


def _variables(summary: Summary, view: View) -> dict[str, Any]:
    groups = sorted_groups(summary, view.sort, descending=view.descending)
    order = [*display_order(summary.labels), UNSURE]
    if summary.verdicts[ERROR]:
        order.append(ERROR)
    return {
        "groups": groups if view.all_groups else groups[:SHOWN_GROUPS],
        "verdicts": {verdict: summary.verdicts[verdict] for verdict in order},
        "stars": dict(reversed(summary.stars.items())),
        "min_ranked": MIN_RANKED,
        "aspects": {aspect.aspect: aspect for aspect in summary.aspects.aspects}
        if summary.aspects
        else {},
    }


def _line(values: Sequence[float | None]) -> list[str]:
    """Return the points of the lines through the values that exist, in a box of 100 by 100."""
    lines: list[list[str]] = [[]]
    for position, value in enumerate(values):
        if value is not None:
            lines[-1].append(_point(position, value, len(values)))
        elif lines[-1]:
            lines.append([])
    return [" ".join(points * 2 if len(points) == 1 else points) for points in lines if points]


def _band(estimates: Sequence[Estimate]) -> str:
    """Return the points of the area between the ends of intervals, in a box of 100 by 100."""
    count = len(estimates)
    above = [_point(n, estimate.high, count) for n, estimate in enumerate(estimates)]
    below = [_point(n, estimate.low, count) for n, estimate in enumerate(estimates)]
    return " ".join(above + below[::-1])


def _point(position: int, value: float, count: int) -> str:
    return f"{100 * position / max(1, count - 1):.1f},{100 - 100 * value:.1f}"
