"""Write the section and chart on inference engines.

Knows figures and Markdown; measures nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

import chart
from contenders import BASELINE, OURS, Contender, Way
from products import SIZES, Limit, Rates, limits
from sections import DIFFER, LEAST_AGREEMENT, Bar, shown, table

PLACE = chart.PLACE.with_name("engines.png")


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of a contender: one of each round."""

    contender: Contender
    way: Way
    reviews_per_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    """Processor seconds a review."""
    short_ms: list[float] = field(default_factory=list)
    window_ms: list[float] = field(default_factory=list)
    labels: list[NDArray[np.int64]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """The reviews a second."""
        return median(self.reviews_per_s)

    def agreement(self, other: Figures) -> float:
        """Return the share of equal labels in the last round."""
        return float((self.labels[-1] == other.labels[-1]).mean())


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found."""

    intro: str
    figures: Sequence[Figures]
    rates: Rates
    operations: float
    """Of a review, in the mean."""
    tokens: float
    """Of a review, in the mean."""

    def ranked(self) -> list[Figures]:
        """Return the fastest first."""
        return sorted(self.figures, key=lambda each: -each.rate)

    def named(self, name: str) -> Figures:
        """Return what was measured of the contender `name`."""
        return next(each for each in self.figures if each.contender.name == name)

    def achieved(self, each: Figures) -> float:
        """Return its 10**9 operations a second."""
        return each.rate * self.operations / 1e9

    def facts(self) -> dict[str, Any]:
        """Return all as JSON has it; the first three are ours, as it is served."""
        mine, baseline = self.named(OURS), self.named(BASELINE)
        return {
            "short_review_ms": median(mine.short_ms),
            "network_reviews_per_s": mine.rate,
            "network_cpu_s_per_review": median(mine.cpu_s),
            "about": self.intro,
            "operations_per_review": self.operations,
            "tokens_per_review": self.tokens,
            "engines": {
                each.contender.name: {
                    "way": each.way.name,
                    "reviews_per_s": each.reviews_per_s,
                    "cpu_s_per_review": each.cpu_s,
                    "short_review_ms": each.short_ms,
                    "window_256_ms": each.window_ms,
                    "agreement": each.agreement(baseline),
                    "gigaoperations_per_s": self.achieved(each),
                }
                for each in self.figures
            },
            "products_gigaoperations_per_s": self.rates,
            "limits": {name: each.rate for name, each in limits(self.rates).items()},
        }

    def bars(self) -> list[Bar]:
        """Return the targets of the network alone."""
        mine, limit = self.named(OURS), limits(self.rates).get("int8")
        ratio, achieved = mine.rate / self.named(BASELINE).rate, self.achieved(mine)
        third, best = (achieved / limit.rate, achieved / limit.best) if limit else (None, None)
        what = "network alone, share of the int8 product rate"
        return [
            Bar("reviews/s against PyTorch eager fp32, sorted batches", 5, 8, ratio),
            Bar(f"{what} that three libraries reach", 0.5, 0.7, third, "%"),
            Bar(f"{what} of the best library", 0.5, 0.7, best, "%"),
        ]

    def section(self) -> str:
        """Return the section of RESULTS.md."""
        parts = [
            "## The network alone",
            self.intro,
            _HOW,
            "![Reviews a second of each engine](../docs/images/engines.png)",
            self._engines_table(),
            "### Products of large matrices",
            f"10**9 operations a second, on all cores, the best of {SIZES} rows and columns. The "
            "limit is the third best; JAX multiplies bf16 into fp32. ONNX Runtime and NumPy do not "
            "multiply bf16 on processors, and CTranslate2 has no product to call.",
            self._products_table(),
            f"A review takes {self.operations / 1e9:.2f} x 10**9 operations in the mean, for its "
            f"{self.tokens:.0f} tokens (benchmarks/products.py has the formula).",
            "### Targets",
            table(["what", "at least", "aim", "got", ""], [each.row() for each in self.bars()]),
            self._ceiling(),
        ]
        return "\n\n".join(parts)

    def _ceiling(self) -> str:
        """Say what of the limit the asked speed would take."""
        limit = limits(self.rates).get("int8")
        if limit is None:
            return "Too few libraries multiplied int8 for a limit."
        share = self.achieved(self.named(BASELINE)) / limit.rate
        return (
            f"5 x the rate of PyTorch, eager, fp32, would be {5 * share:.0%} of the int8 limit, "
            f"and 8 x {8 * share:.0%}; the limit itself is {1 / share:.1f} x."
        )

    def _engines_table(self) -> str:
        head = [
            "engine", "reviews/s", "x PyTorch", "share of the limit", "processor s a review",
            "ms, short review", "ms, 256 tokens", "agreement", "batches",
        ]  # fmt: skip
        found = limits(self.rates)
        return table(
            head, [self._row(each, found.get(each.contender.precision)) for each in self.ranked()]
        )

    def _row(self, each: Figures, limit: Limit | None) -> list[str]:
        name, precision = each.contender.name, each.contender.precision
        baseline = self.named(BASELINE)
        return [
            f"**{name}**" if name == OURS else name,
            _shown(each.reviews_per_s),
            f"{each.rate / baseline.rate:.2f}",
            f"{self.achieved(each) / limit.rate:.0%} of {precision}" if limit else "-",
            _shown(each.cpu_s),
            _shown(each.short_ms),
            _shown(each.window_ms),
            f"{each.agreement(baseline):.2%}",
            each.way.name,
        ]

    def _products_table(self) -> str:
        precisions = ("fp32", "bf16", "int8")
        found = {name: f"{each.rate:.0f}" for name, each in limits(self.rates).items()}
        rows = []
        for library in sorted({name for each in self.rates.values() for name in each}):
            rates = [self.rates.get(name, {}).get(library) for name in precisions]
            rows.append([library, *(f"{rate:.0f}" if rate else "-" for rate in rates)])
        rows.append(["**limit**", *(found.get(name, "-") for name in precisions)])
        return table(["library", *precisions], rows)

    def draw(self, cores: int, path: Path = PLACE) -> None:
        """Draw how many reviews a second each engine takes, the fastest on top."""
        baseline = self.named(BASELINE)
        rows = [
            chart.Row(
                each.contender.name,
                each.rate,
                ours=each.contender.name == OURS,
                marked=each.agreement(baseline) < LEAST_AGREEMENT,
            )
            for each in self.ranked()
        ]
        title = f"Whole movie reviews through the network a second, {cores} cores"
        mark = f"labels agree with PyTorch, fp32, on less than {LEAST_AGREEMENT:.1%}"
        chart.draw_rows(rows, title, mark, path)


_HOW = f"""\
The same fine-tuned weights; windows of tokens go in, logits come out. Reviews/s are those of whole
reviews in batches of like length, by the way of batching that a first round found fastest for the
engine (the last column); ours batches as it is served. Milliseconds are those of one text alone on
all cores. Figures are medians over the rounds, with the range where that is more than
{DIFFER:.0%} of the median. Agreement is with the labels of PyTorch, fp32. torch.compile is left
out: each new shape compiled for many seconds, and was no faster then."""


def _shown(values: Sequence[float]) -> str:
    return shown(median(values), values)
