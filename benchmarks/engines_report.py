"""Write the section and chart on inference engines. Measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

import chart
from engine_setups import BASELINE, OURS, BatchingStrategy, EngineSetup
from products import SIZES, Peak, Rates, peaks
from sections import GOAL_HEAD, MIN_AGREEMENT, SPREAD, Goal, table, with_range

PLACE = chart.PLACE.with_name("engines.png")


@dataclass(frozen=True, slots=True)
class EngineResults:
    """Measurements of an engine, one per round."""

    setup: EngineSetup
    strategy: BatchingStrategy
    reviews_per_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)  # processor seconds per review
    short_ms: list[float] = field(default_factory=list)
    window_ms: list[float] = field(default_factory=list)
    labels: list[NDArray[np.int64]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Median reviews per second."""
        return median(self.reviews_per_s)

    def agreement(self, other: EngineResults) -> float:
        """Return the share of equal labels in the last round."""
        return float((self.labels[-1] == other.labels[-1]).mean())


@dataclass(frozen=True, slots=True)
class Report:
    """All results."""

    intro: str
    engines: Sequence[EngineResults]
    rates: Rates
    operations: float  # mean per review
    tokens: float  # mean per review

    def ranked(self) -> list[EngineResults]:
        """Return the engines, the fastest first."""
        return sorted(self.engines, key=lambda results: -results.rate)

    def named(self, name: str) -> EngineResults:
        """Return the results of the engine `name`."""
        return next(results for results in self.engines if results.setup.name == name)

    def achieved(self, results: EngineResults) -> float:
        """Return the 10**9 operations per second of an engine."""
        return results.rate * self.operations / 1e9

    def as_json(self) -> dict[str, Any]:
        """Return all results for JSON; the first three are those of reelsense."""
        ours, baseline = self.named(OURS), self.named(BASELINE)
        return {
            "short_review_ms": median(ours.short_ms),
            "network_reviews_per_s": ours.rate,
            "network_cpu_s_per_review": median(ours.cpu_s),
            "about": self.intro,
            "operations_per_review": self.operations,
            "tokens_per_review": self.tokens,
            "engines": {
                results.setup.name: {
                    "way": results.strategy.name,
                    "reviews_per_s": results.reviews_per_s,
                    "cpu_s_per_review": results.cpu_s,
                    "short_review_ms": results.short_ms,
                    "window_256_ms": results.window_ms,
                    "agreement": results.agreement(baseline),
                    "gigaoperations_per_s": self.achieved(results),
                }
                for results in self.engines
            },
            "products_gigaoperations_per_s": self.rates,
            "limits": {precision: peak.rate for precision, peak in peaks(self.rates).items()},
        }

    def goals(self) -> list[Goal]:
        """Return the goals for the network alone."""
        ours, peak = self.named(OURS), peaks(self.rates).get("int8")
        speedup, achieved = ours.rate / self.named(BASELINE).rate, self.achieved(ours)
        share = achieved / peak.rate if peak else None
        share_of_best = achieved / peak.best if peak else None
        metric = "network alone, share of the int8 product rate"
        return [
            Goal("reviews/s, relative to PyTorch eager fp32 with sorted batches", 5, 8, speedup),
            Goal(f"{metric} that three libraries reach", 0.5, 0.7, share, "%"),
            Goal(f"{metric} of the best library", 0.5, 0.7, share_of_best, "%"),
        ]

    def section(self) -> str:
        """Return the section of RESULTS.md."""
        parts = [
            "## The network alone",
            self.intro,
            _METHOD,
            "![Reviews per second of each engine](../docs/images/engines.png)",
            self._engines_table(),
            "### Products of large matrices",
            "10**9 operations per second on all cores, the better one of "
            f"{' and '.join(map(str, SIZES))} rows and columns. The peak is the third best value; "
            "JAX multiplies bf16 into fp32. ONNX Runtime and NumPy do not multiply bf16 on CPUs, "
            "and CTranslate2 has no function for products.",
            self._products_table(),
            f"A review takes {self.operations / 1e9:.2f} x 10**9 operations on average, for "
            f"{self.tokens:.0f} tokens (formula: benchmarks/products.py).",
            "### Targets",
            table(GOAL_HEAD, [goal.row() for goal in self.goals()]),
            self._speed_at_peak(),
        ]
        return "\n\n".join(parts)

    def _speed_at_peak(self) -> str:
        """Return which share of the peak the goals for the speed need."""
        peak = peaks(self.rates).get("int8")
        if peak is None:
            return "Too few libraries multiply int8 to determine the peak."
        share = self.achieved(self.named(BASELINE)) / peak.rate
        return (
            f"5 x the rate of PyTorch, eager, fp32, is {5 * share:.0%} of the int8 peak, and 8 x "
            f"is {8 * share:.0%}; the peak itself is {1 / share:.1f} x."
        )

    def _engines_table(self) -> str:
        head = [
            "engine", "reviews/s", "x PyTorch", "share of the peak", "processor s per review",
            "ms, short review", "ms, 256 tokens", "agreement", "batches",
        ]  # fmt: skip
        by_precision = peaks(self.rates)
        return table(
            head,
            [
                self._row(results, by_precision.get(results.setup.precision))
                for results in self.ranked()
            ],
        )

    def _row(self, results: EngineResults, peak: Peak | None) -> list[str]:
        name, precision = results.setup.name, results.setup.precision
        baseline = self.named(BASELINE)
        return [
            f"**{name}**" if name == OURS else name,
            _median(results.reviews_per_s),
            f"{results.rate / baseline.rate:.2f}",
            f"{self.achieved(results) / peak.rate:.0%} of {precision}" if peak else "-",
            _median(results.cpu_s),
            _median(results.short_ms),
            _median(results.window_ms),
            f"{results.agreement(baseline):.2%}",
            results.strategy.name,
        ]

    def _products_table(self) -> str:
        precisions = ("fp32", "bf16", "int8")
        peak_rates = {name: f"{peak.rate:.0f}" for name, peak in peaks(self.rates).items()}
        rows = []
        for library in sorted({name for rates in self.rates.values() for name in rates}):
            rates = [self.rates.get(name, {}).get(library) for name in precisions]
            rows.append([library, *(f"{rate:.0f}" if rate else "-" for rate in rates)])
        rows.append(["**peak**", *(peak_rates.get(name, "-") for name in precisions)])
        return table(["library", *precisions], rows)

    def draw(self, cores: int, path: Path = PLACE) -> None:
        """Draw the reviews per second of each engine, the fastest on top."""
        baseline = self.named(BASELINE)
        rows = [
            chart.Row(
                results.setup.name,
                results.rate,
                ours=results.setup.name == OURS,
                marked=results.agreement(baseline) < MIN_AGREEMENT,
            )
            for results in self.ranked()
        ]
        title = f"Untruncated movie reviews through the network per second, {cores} cores"
        mark = f"labels agree with PyTorch, fp32, on less than {MIN_AGREEMENT:.1%}"
        chart.draw_rows(rows, title, mark, path)


_METHOD = f"""\
All engines run the same fine-tuned weights; the input is windows of tokens, the output logits.
Reviews/s are measured with untruncated reviews, in batches of similar length. A first round chose
the fastest batching strategy for each engine (last column); reelsense batches as it is served.
Milliseconds are the latency of a single text on all cores. Values are medians over the rounds, with
the range if it is more than {SPREAD:.0%} of the median. Agreement is with the labels of PyTorch,
fp32. torch.compile was not measured: it compiles for many seconds for each new shape, and was not
faster afterwards."""


def _median(values: Sequence[float]) -> str:
    return with_range(median(values), values)
