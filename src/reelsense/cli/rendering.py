"""Predictions and explanations as text for a terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from shutil import get_terminal_size

import click

from reelsense.bulk.rows import as_read
from reelsense.prediction import UNSURE, AspectMention, Explanation, Part, Prediction

_FOR, _AGAINST = "bright_blue", "yellow"  # distinguishable for colour-blind readers

_BAR_WIDTH = 8  # characters of the longest bar


def as_line(prediction: Prediction) -> str:
    """Return the verdict, its probability and the stars of a prediction."""
    # Rounded down: only certainty is shown as 100 %.
    score = f"{math.floor(prediction.score * 1000) / 10:.1f}%"
    line = f"{prediction.label}  {score}"
    if prediction.verdict == UNSURE:
        line = f"{UNSURE}  ({prediction.label} {score})"
    return line if prediction.stars is None else f"{line}  {prediction.stars:.1f} of 10 stars"


def as_text(text: str, explanation: Explanation) -> str:
    """Return an explanation of `text` with colours; the sentences with the most weight are bold."""
    max_weight = max(abs(part.weight) for part in explanation.sentences)
    lines = [
        as_line(explanation.prediction),
        "",
        f"Contribution of each sentence to the log-odds of {explanation.target_label}:",
        *(_sentence(text, part, max_weight) for part in explanation.sentences),
    ]
    if explanation.words:
        words = ", ".join(
            click.style(f"{as_read(text, part)} {part.weight:+.2f}", fg=_colour(part))
            for part in explanation.words
        )
        lines += ["", f"Words with the most weight in the strongest sentence: {words}"]
    lines += ["", *_counterfactual(text, explanation)]
    if explanation.aspects is not None:
        lines += ["", *_aspects(text, explanation.aspects)]
    return "\n".join(lines)


def _aspects(text: str, mentions: Sequence[AspectMention]) -> list[str]:
    if not mentions:
        return ["No clause judges an aspect of the film."]
    return ["Aspects, each with the verdict for its clause alone:"] + [
        textwrap.fill(
            as_read(text, mention),
            _width(),
            initial_indent=f"  {mention.aspect:<10} {mention.verdict:<9} ",
            subsequent_indent=" " * 23,
        )
        for mention in mentions
    ]


def _counterfactual(text: str, explanation: Explanation) -> list[str]:
    counterfactual = explanation.counterfactual
    if counterfactual is None:
        return [
            "No counterfactual found: no removal within the budget changes the label "
            f"({explanation.forward_passes} forward passes, budget {explanation.budget})."
        ]
    count, unit = len(counterfactual.parts), counterfactual.unit
    removed = f"these {count} {unit}" if count > 1 else f"this {unit.removesuffix('s')}"
    return [
        f"Without {removed}: {as_line(counterfactual.prediction)}",
        *(
            textwrap.fill(
                as_read(text, part), _width(), initial_indent="  - ", subsequent_indent="    "
            )
            for part in counterfactual.parts
        ),
    ]


def _sentence(text: str, part: Part, max_weight: float) -> str:
    bar = "\u2588" * round(_BAR_WIDTH * abs(part.weight) / max_weight) if max_weight else ""
    head = f"{part.weight:+6.2f} {bar:<{_BAR_WIDTH}} "
    first, *rest = textwrap.wrap(as_read(text, part), _width() - len(head)) or [""]
    is_bold = abs(part.weight) >= max_weight / 2
    lines = [head + first, *(" " * len(head) + line for line in rest)]
    return "\n".join(click.style(line, fg=_colour(part), bold=is_bold) for line in lines)


def _colour(part: Part) -> str:
    return _FOR if part.weight > 0 else _AGAINST


def _width() -> int:
    return max(40, min(100, get_terminal_size().columns))
