"""Write the sections of RESULTS.md, and format the one on servers. Measures nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from load import MAX_WINDOW, MIN_ANSWERS, LoadMetrics
from reelsense.files import write_atomically
from rivals.server import Server

MIN_AGREEMENT = 0.995  # with the labels of the checkpoint in PyTorch, fp32, on untruncated reviews
MAX_ACCURACY_LOSS = 0.001  # against the same
SPREAD = 0.1  # rounds that differ by more than this share of their mean are shown with their range

SHORT = "short"  # the cell of one short review and one client
REELSENSE, ORIGINAL_API = "reelsense", "starting-system"  # keys of servers

_BY_HAND = "with our int8 network"
_DEFAULT = "in a documented configuration"


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
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


@dataclass(frozen=True, slots=True)
class NetworkMetrics:
    """Speed of the network alone on the same reviews."""

    reviews_per_s: float
    cpu_s: float  # processor seconds per review
    short_ms: float  # median of one short review


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerResults:
    """All measurements of one server."""

    server: Server
    cells: Mapping[str, Sequence[LoadMetrics]]  # by number of clients, or SHORT: one per round
    start_s: float | None  # from process start to the first answer, the best of the rounds
    install_mb: int | None
    answered: int  # distinct reviews in all cells; the shares below are of these
    accuracy: float
    agreement: float
    reference_accuracy: float
    failure: str = ""  # why something could not be measured

    @property
    def mark(self) -> str:
        """Why the server is not ranked; "" if it is."""
        agrees = self.agreement >= MIN_AGREEMENT
        if agrees and self.accuracy >= self.reference_accuracy - MAX_ACCURACY_LOSS - 1e-9:
            return ""
        if not self.answered:
            return "no answers"
        return "different labels" if self.server.whole else "truncated at 512"

    def mean(self, cell: str, metric: Callable[[LoadMetrics], float]) -> float | None:
        """Return the mean over the rounds of `cell`; None if it was not measured."""
        values = [metric(metrics) for metrics in self.cells.get(cell, ())]
        return fmean(values) if values else None

    def show(self, cell: str, metric: Callable[[LoadMetrics], float]) -> str:
        """Return the mean as text, with the range if the rounds differ."""
        values = [metric(metrics) for metrics in self.cells.get(cell, ())]
        return with_range(fmean(values), values) if values else "-"


def rate(metrics: LoadMetrics) -> float:
    """Return the reviews per second."""
    return metrics.reviews_per_s


def by_rate(results: Sequence[ServerResults], cell: str) -> list[ServerResults]:
    """Return `results`, the fastest in `cell` first, those without it last."""
    return sorted(results, key=lambda result: -(result.mean(cell, rate) or 0))


def servers_table(results: Sequence[ServerResults], clients: Sequence[int]) -> str:
    """Return the table of the servers, the fastest with most clients first."""
    cell = str(max(clients))
    head = [
        "server",
        *(f"reviews/s, {n} client{'s' * (n > 1)}" for n in clients),
        f"processor s per review, {cell}",
        f"p50 / p95 / p99 s, {cell}",
        "p50 ms, short review",
        f"peak MB, {cell}",
        "start s",
        "install MB",
        "accuracy",
        "agreement",
        "mark",
    ]
    return table(head, [_server_row(result, clients, cell) for result in by_rate(results, cell)])


def _server_row(result: ServerResults, clients: Sequence[int], cell: str) -> list[str]:
    server = result.server
    errors = sum(metrics.errors for rounds in result.cells.values() for metrics in rounds)
    marks = [result.mark, f"{errors} errors" if errors else ""]
    peaks = [metrics.peak_mb for metrics in result.cells.get(cell, ())]
    percentiles: tuple[Callable[[LoadMetrics], float], ...] = (
        lambda metrics: metrics.p50_s,
        lambda metrics: metrics.p95_s,
        lambda metrics: metrics.p99_s,
    )
    return [
        f"**{server.name}**" if server.key == REELSENSE else server.name,
        *(result.show(str(n), rate) for n in clients),
        result.show(cell, lambda metrics: metrics.cpu_s),
        " / ".join(result.show(cell, percentile) for percentile in percentiles),
        result.show(SHORT, lambda metrics: metrics.p50_s * 1000),
        f"{max(peaks):.0f}" if peaks else "-",
        "-" if result.start_s is None else _number(result.start_s),
        "-" if result.install_mb is None else str(result.install_mb),
        f"{result.accuracy:.2%} of {result.answered}" if result.answered else "-",
        f"{result.agreement:.2%}" if result.answered else "-",
        ", ".join(filter(None, marks)),
    ]


def serving_section(
    intro: str,
    results: Sequence[ServerResults],
    clients: Sequence[int],
    network: Sequence[NetworkMetrics],
    unavailable: Mapping[str, str],
) -> str:
    """Return the section on servers; `intro` states machine, date and data."""
    ranked = by_rate(results, str(max(clients)))
    goals = [goal.row() for goal in serving_goals(results, clients, network)]
    missing = {result.server.name: result.failure for result in results if result.failure}
    parts = [
        "## Servers",
        intro,
        _METHOD,
        "![Reviews per second of each server](../docs/images/serving.png)",
        servers_table(ranked, clients),
        _clients_note(results),
        "### Targets",
        table(GOAL_HEAD, goals) if goals else "reelsense was not measured.",
        *(
            _labels_note(result)
            for result in results
            if result.server.key == REELSENSE and result.answered
        ),
        "### Settings",
        _list({result.server.name: result.server.settings for result in ranked}),
    ]
    if missing | dict(unavailable):
        parts += ["### Not measured, or with errors", _list(missing | dict(unavailable))]
    return "\n\n".join(parts)


_METHOD = f"""\
Each client sends one untruncated review over HTTP, waits for the answer and sends the next review.
All clients take their reviews from the same list. The measurement starts when every client has
received an answer, and counts the answers of the given number of seconds; with fewer than
{MIN_ANSWERS} answers it goes on for up to {MAX_WINDOW:.0f} s. Processor seconds and memory (PSS)
include all processes of the server; the clients run on the same cores. Values are means over the
rounds, with the range if it is more than {SPREAD:.0%} of the mean; start is the minimum and peak
the maximum. Agreement is with the labels of the checkpoint in PyTorch, fp32, without truncation. A
server that agrees on less than {MIN_AGREEMENT:.1%}, or whose accuracy is lower by more than
{MAX_ACCURACY_LOSS * 100:.1f} percentage points, is marked and not ranked."""


def _labels_note(ours: ServerResults) -> str:
    return (
        f"On {ours.answered:,} reviews, {ours.agreement:.2%} of the labels of reelsense are those "
        f"of PyTorch, fp32. Accuracy: reelsense {ours.accuracy:.2%}, PyTorch "
        f"{ours.reference_accuracy:.2%} ({ours.mark or 'ranked'})."
    )


def _clients_note(results: Sequence[ServerResults]) -> str:
    cpu_s = [
        metrics.client_cpu_s
        for result in results
        for rounds in result.cells.values()
        for metrics in rounds
    ]
    return (
        f"The clients took at most {max(cpu_s, default=0) * 1000:.1f} ms of a processor per review."
    )


def _list(items: Mapping[str, str]) -> str:
    return "\n".join(f"- **{name}**: {text}." for name, text in items.items())


GOAL_HEAD = ["metric", "target", "aim", "measured", "result"]


@dataclass(frozen=True, slots=True)
class Goal:
    """A target, a more ambitious aim, and the measured value."""

    metric: str
    target: float
    aim: float  # less than `target` if less is better
    measured: float | None
    unit: str = "x"

    def row(self) -> list[str]:
        """Return the row below GOAL_HEAD."""
        show = "{:.1%}".format if self.unit == "%" else lambda x: f"{_number(x)} {self.unit}"
        return [
            self.metric,
            show(self.target),
            show(self.aim),
            "-" if self.measured is None else show(self.measured),
            self.result,
        ]

    @property
    def result(self) -> str:
        """Whether target and aim are reached."""
        if self.measured is None:
            return "not measured"
        sign = 1 if self.aim > self.target else -1
        if sign * self.measured >= sign * self.aim:
            return "aim reached"
        return "reached" if sign * self.measured >= sign * self.target else "**missed**"


def serving_goals(
    results: Sequence[ServerResults], clients: Sequence[int], network: Sequence[NetworkMetrics]
) -> list[Goal]:
    """Return the goals for reelsense against other servers and the `network` alone."""
    cell = str(max(clients))
    ours = next((result for result in results if result.server.key == REELSENSE), None)
    if ours is None:
        return []
    others = [result for result in results if result is not ours]
    default = [result for result in others if not result.server.by_hand]
    by_hand = [result for result in others if result.server.by_hand]
    original = [result for result in others if result.server.key == ORIGINAL_API]
    return [
        *_goals_against_best(ours, default, cell, _DEFAULT, 6, 10),
        *_goals_against_best(ours, by_hand, cell, _BY_HAND, 1.4, 2),
        *_goals_against_original(ours, original, clients),
        *_own_goals(ours, others, cell),
        *_goals_against_network(ours, cell, network),
    ]


def _goals_against_best(
    ours: ServerResults,
    others: Sequence[ServerResults],
    cell: str,
    configuration: str,
    target: float,
    aim: float,
) -> list[Goal]:
    """Return two goals: against the best of all, and against the best of the ranked ones."""
    goals = []
    for which, candidates in (
        ("marked ones included", others),
        ("ranked ones only", [result for result in others if not result.mark]),
    ):
        best = by_rate([result for result in candidates if result.mean(cell, rate)], cell)[:1]
        name = best[0].server.name if best else "none"
        ratio = _ratio(ours.mean(cell, rate), best[0].mean(cell, rate)) if best else None
        metric = (
            f"reviews/s with {cell} clients, relative to the best other server {configuration} "
            f"({which}): {name}"
        )
        goals.append(Goal(metric, target, aim, ratio))
    return goals


def _goals_against_original(
    ours: ServerResults, original: Sequence[ServerResults], clients: Sequence[int]
) -> list[Goal]:
    cell = str(max(clients))
    rates = {n: result.mean(str(n), rate) or 0.0 for result in original for n in clients}
    fastest = max(rates, key=lambda n: rates[n], default=max(clients))
    our_rate = ours.mean(cell, rate)
    metric = f"reviews/s with {cell} clients, relative to the original Flask API with"
    return [
        Goal(f"{metric} {cell} clients", 20, 30, _ratio(our_rate, rates.get(max(clients)))),
        Goal(
            f"{metric} {fastest} clients (its maximum)",
            20, 30, _ratio(our_rate, rates.get(fastest)),
        ),
    ]  # fmt: skip


def _own_goals(ours: ServerResults, others: Sequence[ServerResults], cell: str) -> list[Goal]:
    starts = [result.start_s for result in others if result.start_s]
    default_starts = [
        result.start_s for result in others if result.start_s and not result.server.by_hand
    ]
    peaks = [metrics.peak_mb for metrics in ours.cells.get(cell, ())]
    p99, our_rate = ours.mean(cell, lambda metrics: metrics.p99_s), ours.mean(cell, rate)
    start = "time from start to first answer, relative to the fastest other server"
    return [
        Goal(
            f"p99 with {cell} clients, relative to {cell} x the mean service time",
            2, 1.3, None if p99 is None or our_rate is None else p99 * our_rate / int(cell),
        ),
        *(
            Goal(f"{start} ({which})", 1 / 3, 1 / 6, _ratio(ours.start_s, min(times, default=None)))
            for which, times in (
                (_DEFAULT, default_starts),
                (f"including those {_BY_HAND}", starts),
            )
        ),
        Goal(f"peak memory with {cell} clients", 450, 300, max(peaks, default=None), "MB"),
    ]  # fmt: skip


def _goals_against_network(
    ours: ServerResults, cell: str, network: Sequence[NetworkMetrics]
) -> list[Goal]:
    """Return the goals relative to `network`, measured once per round."""
    if not network:
        return []
    network_rate = fmean(metrics.reviews_per_s for metrics in network)
    network_cpu_s = fmean(metrics.cpu_s for metrics in network)
    short_ms = fmean(metrics.short_ms for metrics in network)
    time_ratio = _ratio(network_rate, ours.mean(cell, rate))
    cpu_ratio = _ratio(ours.mean(cell, lambda metrics: metrics.cpu_s), network_cpu_s)
    cost = f"overhead of HTTP, JSON, tokenizer and queue with {cell} clients over the network alone"
    short = f"p50 of a 20-word review, 1 client, relative to the network alone ({short_ms:.2f} ms)"
    short_ratio = ours.mean(SHORT, lambda metrics: metrics.p50_s * 1000 / short_ms)
    return [
        Goal(f"{cost}, time", 0.15, 0.05, None if time_ratio is None else time_ratio - 1, "%"),
        Goal(
            f"{cost}, processor seconds",
            0.15, 0.05, None if cpu_ratio is None else cpu_ratio - 1, "%",
        ),
        Goal(short, 2.5, 1.5, short_ratio),
    ]  # fmt: skip


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    return numerator / denominator if numerator is not None and denominator else None


def _number(value: float) -> str:
    """Return `value` with three significant digits, or with all digits before the point."""
    if value == 0:
        return "0"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def with_range(middle: float, values: Sequence[float]) -> str:
    """Return the `middle` of `values` as text, with their range if they differ."""
    text, low, high = _number(middle), min(values), max(values)
    return f"{text} ({_number(low)}-{_number(high)})" if high - low > SPREAD * middle else text
