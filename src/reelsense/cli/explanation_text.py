"""An explanation in a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from shutil import get_terminal_size

import click

from reelsense.bulk.rows import as_read
from reelsense.cli.prediction_text import said
from reelsense.prediction import Explanation, Part

_FOR, _AGAINST = "bright_blue", "yellow"  # told apart by the colour-blind too

_BAR = 8
"""Characters of the bar of the heaviest part."""


def as_text(text: str, found: Explanation) -> str:
    """Return `found`, about `text`, for people: in colour, heavy sentences bold."""
    most = max(abs(part.weight) for part in found.sentences)
    lines = [
        said(found.prediction),
        "",
        f"How far each sentence moves the log-odds towards {found.target_label}:",
        *(_line(text, part, most) for part in found.sentences),
    ]
    if found.words:
        told = ", ".join(
            click.style(f"{as_read(text, part)} {part.weight:+.2f}", fg=_colour(part))
            for part in found.words
        )
        lines += ["", f"Words that carry most of the heaviest: {told}"]
    return "\n".join([*lines, "", *_flip(text, found)])


def _flip(text: str, found: Explanation) -> list[str]:
    counterfactual = found.counterfactual
    if counterfactual is None:
        return [
            f"Nothing was found that turns the label when it is taken out ({found.forward_passes} "
            f"readings, budget {found.budget})."
        ]
    unit = counterfactual.unit if len(counterfactual.parts) > 1 else counterfactual.unit[:-1]
    number = (
        f"these {len(counterfactual.parts)} {unit}"
        if len(counterfactual.parts) > 1
        else f"this {unit}"
    )
    return [
        f"Without {number}: {said(counterfactual.prediction)}",
        *_quoted(text, counterfactual.parts),
    ]


def _quoted(text: str, parts: Sequence[Part]) -> list[str]:
    return [
        textwrap.fill(
            as_read(text, part), _width(), initial_indent="  - ", subsequent_indent="    "
        )
        for part in parts
    ]


def _line(text: str, part: Part, most: float) -> str:
    bar = "\u2588" * round(_BAR * abs(part.weight) / most) if most else ""
    head = f"{part.weight:+6.2f} {bar:<{_BAR}} "
    first, *rest = textwrap.wrap(as_read(text, part), _width() - len(head)) or [""]
    heavy = abs(part.weight) >= most / 2
    lines = [head + first, *(" " * len(head) + line for line in rest)]
    return "\n".join(click.style(line, fg=_colour(part), bold=heavy) for line in lines)


def _colour(part: Part) -> str:
    return _FOR if part.weight > 0 else _AGAINST


def _width() -> int:
    return max(40, min(100, get_terminal_size().columns))
