"""Write the sections of RESULTS.md; format the one on serving with its ranking and chart.

Knows figures and Markdown; measures nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from load import LEAST_ANSWERS, LONGEST_WINDOW, Figures
from reelsense.files import write_atomically
from rivals.server import Server

LEAST_AGREEMENT = 0.995
"""With the labels of the checkpoint in PyTorch, fp32, over whole reviews."""

MOST_LOSS = 0.001
"""Of accuracy, against the same."""

SHORT = "short"
"""The cell of one short review and one client."""

OURS, STARTING = "reelsense", "starting-system"
DIFFER = 0.1
"""Rounds that differ by more than this share of their middle are shown with their range."""


def replace_section(path: Path, name: str, text: str) -> None:
    """Put `text` between the markers of section `name` of `path`; file and section may be new."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    section = f"{start}\n{text.strip()}\n{end}"
    content = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    marked = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
    if marked.search(content):
        content = marked.sub(lambda _: section, content)
    else:
        content = f"{content.rstrip()}\n\n{section}\n"
    write_atomically(path, content)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in x) + " |" for x in lines
    )


@dataclass(frozen=True, slots=True)
class Network:
    """What the network alone did on the same reviews."""

    reviews_per_s: float
    cpu_s: float
    """Processor seconds a review."""
    short_ms: float
    """The median of one short review."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All that was measured of one server."""

    server: Server
    cells: Mapping[str, Sequence[Figures]]
    """By the number of clients, or SHORT: one of each round."""
    start_s: float | None
    """From the start of its process to the first answer, the best of the rounds."""
    install_mb: int | None
    answered: int
    """Distinct reviews, in all cells; the shares below are of these."""
    accuracy: float
    agreement: float
    reference_accuracy: float
    failure: str = ""
    """Why something could not be measured."""

    @property
    def mark(self) -> str:
        """Why it is not ranked; "" if it is."""
        exact = self.agreement >= LEAST_AGREEMENT
        if exact and self.accuracy >= self.reference_accuracy - MOST_LOSS - 1e-9:
            return ""
        if not self.answered:
            return "no answers"
        return "different labels" if self.server.whole else "cut at 512"

    def mean(self, cell: str, of: Callable[[Figures], float]) -> float | None:
        """Return the mean over the rounds of `cell`; None if it was not measured."""
        found = [of(figures) for figures in self.cells.get(cell, ())]
        return fmean(found) if found else None

    def show(self, cell: str, of: Callable[[Figures], float]) -> str:
        """Return the mean for people, with the range where the rounds differ."""
        found = [of(figures) for figures in self.cells.get(cell, ())]
        return shown(fmean(found), found) if found else "-"


def rate(figures: Figures) -> float:
    """Return the reviews a second."""
    return figures.reviews_per_s


def by_rate(standings: Sequence[Standing], cell: str) -> list[Standing]:
    """Return `standings`, the fastest in `cell` first, those without it last."""
    return sorted(standings, key=lambda each: -(each.mean(cell, rate) or 0))


def servers_table(standings: Sequence[Standing], clients: Sequence[int]) -> str:
    """Return the table of the servers, the fastest at the most clients first."""
    most = str(max(clients))
    head = [
        "server",
        *(f"reviews/s, {n} client{'s' * (n > 1)}" for n in clients),
        f"processor s a review, {most}",
        f"p50 / p95 / p99 s, {most}",
        "p50 ms, short review",
        f"peak MB, {most}",
        "start s",
        "install MB",
        "accuracy",
        "agreement",
        "mark",
    ]
    rows = [_server_row(each, clients, most) for each in by_rate(standings, most)]
    return table(head, rows)


def _server_row(each: Standing, clients: Sequence[int], most: str) -> list[str]:
    name = f"**{each.server.name}**" if each.server.key == OURS else each.server.name
    errors = sum(figures.errors for rounds in each.cells.values() for figures in rounds)
    marks = [each.mark, f"{errors} errors" if errors else ""]
    peaks = [figures.peak_mb for figures in each.cells.get(most, ())]
    return [
        name,
        *(each.show(str(n), rate) for n in clients),
        each.show(most, lambda figures: figures.cpu_s),
        " / ".join(
            each.show(most, of) for of in (lambda f: f.p50_s, lambda f: f.p95_s, lambda f: f.p99_s)
        ),
        each.show(SHORT, lambda figures: figures.p50_s * 1000),
        f"{max(peaks):.0f}" if peaks else "-",
        "-" if each.start_s is None else _number(each.start_s),
        "-" if each.install_mb is None else str(each.install_mb),
        f"{each.accuracy:.2%} of {each.answered}" if each.answered else "-",
        f"{each.agreement:.2%}" if each.answered else "-",
        ", ".join(filter(None, marks)),
    ]


def serving_section(
    intro: str,
    standings: Sequence[Standing],
    clients: Sequence[int],
    network: Sequence[Network],
    unavailable: Mapping[str, str],
) -> str:
    """Return the section on serving; `intro` says where, when and on what it was measured."""
    ranked = by_rate(standings, str(max(clients)))
    asked = [bar.row() for bar in bars(standings, clients, network)]
    missing = {each.server.name: each.failure for each in standings if each.failure}
    parts = [
        "## Servers",
        intro,
        _HOW,
        "![Reviews a second of each server](../docs/images/serving.png)",
        servers_table(ranked, clients),
        _clients_note(standings),
        "### Targets",
        table(["what", "at least", "aim", "got", ""], asked) if asked else "Ours was not measured.",
        *(_labels_note(each) for each in standings if each.server.key == OURS and each.answered),
        "### Settings",
        _list({each.server.name: each.server.settings for each in ranked}),
    ]
    if missing | dict(unavailable):
        parts += ["### Not measured, or with errors", _list(missing | dict(unavailable))]
    return "\n\n".join(parts)


_HOW = f"""\
Each client asks for one whole review over HTTP, waits for the answer and asks for the next; all
walk through the same reviews. An answer counts where it arrives within the window. That opens
once there was an answer for each client, and closes after the seconds of a cell; with fewer than
{LEAST_ANSWERS} answers it stays open, for at most {LONGEST_WINDOW:.0f} s. Processor seconds and
memory (PSS) are those of all processes of the server; the clients share its cores. Figures are
means over the rounds, with the range where that is more than {DIFFER:.0%} of the mean; start is
the best and peak the most of them. Agreement is with the labels of the checkpoint in PyTorch,
fp32, over whole reviews. A server that agrees on less than {LEAST_AGREEMENT:.1%}, or is less
accurate by more than {MOST_LOSS * 100:.1f} point, is marked and not ranked."""


def _labels_note(ours: Standing) -> str:
    return (
        f"On {ours.answered:,} reviews ours gives the label of PyTorch, fp32, to "
        f"{ours.agreement:.2%}; {ours.accuracy:.2%} of its labels are right, and "
        f"{ours.reference_accuracy:.2%} of PyTorch's: {ours.mark or 'ranked'}."
    )


def _clients_note(standings: Sequence[Standing]) -> str:
    taken = [f.client_cpu_s for each in standings for rounds in each.cells.values() for f in rounds]
    most = max(taken, default=0) * 1000
    return f"The clients took at most {most:.1f} ms of a processor for a review."


def _list(items: Mapping[str, str]) -> str:
    return "\n".join(f"- **{name}**: {text}." for name, text in items.items())


@dataclass(frozen=True, slots=True)
class Bar:
    """A target, and what was reached of it."""

    what: str
    least: float
    aim: float
    """Less than `least` where less is better."""
    got: float | None
    unit: str = "x"

    def row(self) -> list[str]:
        """Return its row in a table."""
        show = "{:.1%}".format if self.unit == "%" else lambda x: f"{_number(x)} {self.unit}"
        return [
            self.what,
            show(self.least),
            show(self.aim),
            "-" if self.got is None else show(self.got),
            self.verdict,
        ]

    @property
    def verdict(self) -> str:
        """Say whether it is reached."""
        if self.got is None:
            return "not measured"
        sign = 1 if self.aim > self.least else -1
        if sign * self.got >= sign * self.aim:
            return "aim reached"
        return "reached" if sign * self.got >= sign * self.least else "**missed**"


def bars(
    standings: Sequence[Standing], clients: Sequence[int], network: Sequence[Network]
) -> list[Bar]:
    """Return the bars that need what is served alone, and `network`, the network's own figures."""
    most = str(max(clients))
    ours = next((each for each in standings if each.server.key == OURS), None)
    if ours is None:
        return []
    others = [each for each in standings if each is not ours]
    as_they_come = [each for each in others if not each.server.by_hand]
    by_hand = [each for each in others if each.server.by_hand]
    starting = [each for each in others if each.server.key == STARTING]
    return [
        *_against_best(ours, as_they_come, most, "the best other server as it comes", 6, 10),
        *_against_best(ours, by_hand, most, "the best other server given int8 by hand", 1.4, 2),
        *_against_starting(ours, starting, clients),
        *_own_bars(ours, others, most),
        *_network_bars(ours, most, network),
    ]


def _against_best(
    ours: Standing, others: Sequence[Standing], cell: str, title: str, least: float, aim: float
) -> list[Bar]:
    """Return two bars: against the best of all, and against the best of the ranked ones."""
    found = []
    for which, among in (
        ("marked ones too", others),
        ("ranked ones alone", [each for each in others if not each.mark]),
    ):
        best = by_rate([each for each in among if each.mean(cell, rate)], cell)[:1]
        name = best[0].server.name if best else "there is none"
        got = _ratio(ours.mean(cell, rate), best[0].mean(cell, rate)) if best else None
        what = f"reviews/s at {cell} clients against {title}, {which}: {name}"
        found.append(Bar(what, least, aim, got))
    return found


def _against_starting(
    ours: Standing, starting: Sequence[Standing], clients: Sequence[int]
) -> list[Bar]:
    most = str(max(clients))
    rates = {n: each.mean(str(n), rate) or 0.0 for each in starting for n in clients}
    fastest = max(rates, key=lambda n: rates[n], default=max(clients))
    mine = ours.mean(most, rate)
    title = f"reviews/s at {most} clients against the starting system's way"
    return [
        Bar(f"{title}, clients: {most}", 20, 30, _ratio(mine, rates.get(max(clients)))),
        Bar(f"{title} at its best, clients: {fastest}", 20, 30, _ratio(mine, rates.get(fastest))),
    ]


def _own_bars(ours: Standing, others: Sequence[Standing], most: str) -> list[Bar]:
    starts = [each.start_s for each in others if each.start_s]
    plain = [each.start_s for each in others if each.start_s and not each.server.by_hand]
    peaks = [figures.peak_mb for figures in ours.cells.get(most, ())]
    p99, mine = ours.mean(most, lambda figures: figures.p99_s), ours.mean(most, rate)
    start = "start to first answer against the fastest other server"
    return [
        Bar(
            f"p99 at {most} clients against {most} x the mean service time",
            2, 1.3, None if p99 is None or mine is None else p99 * mine / int(most),
        ),
        *(
            Bar(f"{start}, {which}", 1 / 3, 1 / 6, _ratio(ours.start_s, min(found, default=None)))
            for which, found in (("as it comes", plain), ("int8 by hand too", starts))
        ),
        Bar(f"peak memory at {most} clients", 450, 300, max(peaks, default=None), "MB"),
    ]  # fmt: skip


def _network_bars(ours: Standing, most: str, network: Sequence[Network]) -> list[Bar]:
    """Return the bars against `network`, measured once a round."""
    if not network:
        return []
    rates = fmean(each.reviews_per_s for each in network)
    cpu_s = fmean(each.cpu_s for each in network)
    short_ms = fmean(each.short_ms for each in network)
    cost = _ratio(rates, ours.mean(most, rate))
    cpu = _ratio(ours.mean(most, lambda figures: figures.cpu_s), cpu_s)
    title = f"cost of HTTP, JSON, tokenizer and queue at {most} clients on the network alone"
    short = f"p50 of a 20-word review, one client, against the network alone ({short_ms:.2f} ms)"
    got = ours.mean(SHORT, lambda figures: figures.p50_s * 1000 / short_ms)
    return [
        Bar(f"{title}, by reviews/s", 0.15, 0.05, None if cost is None else cost - 1, "%"),
        Bar(f"{title}, by processor seconds", 0.15, 0.05, None if cpu is None else cpu - 1, "%"),
        Bar(short, 2.5, 1.5, got),
    ]


def _ratio(over: float | None, under: float | None) -> float | None:
    return over / under if over is not None and under else None


def _number(value: float) -> str:
    """Return `value` with three digits that matter, or all before the point."""
    if value == 0:
        return "0"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def shown(middle: float, values: Sequence[float]) -> str:
    """Return the `middle` of `values` for people, with the range where they differ."""
    text, low, high = _number(middle), min(values), max(values)
    return f"{text} ({_number(low)}-{_number(high)})" if high - low > DIFFER * middle else text
