"""The report of a bundle taken apart: its figures and its plots.

Knows the page that `reelsense evaluate` writes; what it does not find there is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from html import unescape

_SIZE = re.compile(r'viewBox="0 0 (\d+(?:\.\d+)?) (\d+(?:\.\d+)?)"')
_PIXELS = 4 / 3
"""In a point."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture, its size in pixels and what it shows."""

    name: str
    caption: str
    width: int
    height: int
    svg: str


@dataclass(frozen=True, slots=True)
class Chapter:
    """A chapter of the report that has plots."""

    anchor: str
    title: str
    plots: tuple[Plot, ...]


@dataclass(frozen=True, slots=True)
class ReportPage:
    """What there is in a report."""

    about: str
    """What was measured, on what."""
    figures: dict[str, str]
    """By name: "accuracy", "calibration error"."""
    chapters: tuple[Chapter, ...]
    decided: dict[str, tuple[str, str]]
    """By risk, "2%": the share of the answers that is decided, and of these that is wrong."""

    def plot(self, name: str) -> Plot | None:
        """Return the plot of that name, if there is one."""
        plots = (plot for chapter in self.chapters for plot in chapter.plots)
        return next((plot for plot in plots if plot.name == name), None)


@lru_cache(maxsize=2)
def read_report(page: str) -> ReportPage:
    """Return what there is in a report."""
    head, *rest = page.split('<h2 id="')
    chapters = []
    bodies = {}
    for each in rest:
        anchor, _, more = each.partition('">')
        title, _, body = more.partition("</h2>")
        bodies[anchor] = body
        if plots := _plots(anchor, body):
            chapters.append(Chapter(anchor, _text(title), plots))
    return ReportPage(
        about=_text(_between(head, '<p class="quiet">', "</p>")),
        figures=_figures(bodies.get("answers", "")),
        chapters=tuple(chapters),
        decided=_decided(bodies.get("unsure", "")),
    )


def _figures(chapter: str) -> dict[str, str]:
    items = _between(chapter, '<ul class="figures">', "</ul>").split("<li>")[1:]
    pairs = [item.partition("</strong>") for item in items]
    return {_text(name): _text(value) for value, _, name in pairs}


def _decided(chapter: str) -> dict[str, tuple[str, str]]:
    """The rows of the first table, but for the risks that are out of reach; without intervals."""
    rows = _between(chapter, "<tbody>", "</tbody>").split("<tr>")[1:]
    cells = [[_text(f"<{cell}") for cell in re.split("<(?=t[dh])", row)[1:]] for row in rows]
    return {
        risk: (decided.split(" ")[0], wrong.split(" ")[0])
        for risk, _, decided, wrong, _ in (row for row in cells if len(row) == 5)
    }


def _plots(anchor: str, chapter: str) -> tuple[Plot, ...]:
    plots = []
    for n, figure in enumerate(chapter.split("<figure>")[1:], 1):
        picture, _, rest = figure.partition("<figcaption>")
        size = _SIZE.search(picture)
        if size and picture.startswith("<svg"):
            width, height = (round(float(points) * _PIXELS) for points in size.groups())
            caption = _text(rest.partition("</figcaption>")[0])
            plots.append(Plot(f"{anchor}-{n}", caption, width, height, _small(picture)))
    return tuple(plots)


def _small(svg: str) -> str:
    """The same picture in fewer bytes: no metadata, hundredths of a point, few fonts."""
    before, _, rest = svg.strip().partition("<metadata>")
    after = rest.partition("</metadata>")[2]
    tags = re.sub(r"<[^<>]*>", lambda tag: _small_tag(tag[0]), before + after)
    return re.sub(r">\s+<", "><", tags)


def _small_tag(tag: str) -> str:
    tag = re.sub(r"(\.\d\d)\d+", r"\1", tag)
    tag = re.sub(r'font-family: [^;"]*', "font-family: 'DejaVu Sans', Verdana, sans-serif", tag)
    return re.sub(r"\s+", " ", tag)


def _between(text: str, begin: str, end: str) -> str:
    return text.partition(begin)[2].partition(end)[0]


def _text(html: str) -> str:
    """What is to be read of a piece of HTML."""
    return unescape(re.sub(r"<[^<>]*>", "", html)).strip()
