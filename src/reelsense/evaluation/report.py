"""The report: one HTML page that loads nothing from elsewhere, and a model card.

Turns an `Evaluation` into pages for people; measures nothing itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from reelsense import __version__
from reelsense.bundle import Manifest
from reelsense.datasets import imdb
from reelsense.datasets.evaluation_sets import AUGMENTED, PHRASES, SENTENCES
from reelsense.evaluation import plots
from reelsense.evaluation.evaluate import Evaluation
from reelsense.evaluation.explanations import SHARES
from reelsense.evaluation.fairness import ALL
from reelsense.evaluation.label_quality import AUDITED
from reelsense.evaluation.predictions import LabelledPredictions
from reelsense.files import write_atomically
from reelsense.text.clean import LONE_SURROGATE, clean

PAGE, CARD = "index.html", "MODEL_CARD.md"

_TERMS = {
    "sentence-transformers/all-MiniLM-L6-v2": "Apache-2.0",
    "google-bert/bert-base-uncased": "Apache-2.0",
}
"""The licences of base models, as their cards on the Hugging Face hub state them (2026-11)."""

_SOURCES = {
    AUGMENTED: "Kaushik et al. 2020, Apache-2.0",
    SENTENCES: "Socher et al. 2013, in the form of GLUE, under its terms",
    PHRASES: "Socher et al. 2013, in the form of GLUE, under its terms",
}
"""Whose they are, and the terms of what a model may have learned from beside reviews."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What goes into the page and the card."""

    manifest: Manifest
    data: str
    """What was measured on, for people: "the official test part of ..."."""
    on_imdb: bool = False
    """Whether that is the Large Movie Review Dataset."""
    published_as: str | None = None
    """The name under which the project publishes the model; None: it is somebody else's."""
    evaluation: Evaluation
    predictions: LabelledPredictions
    texts: bool = True
    """Whether to show the texts of mistakes; without, their names alone."""


def write_report(folder: Path, report: Report) -> None:
    """Write PAGE and CARD into `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / PAGE, as_page(report))
    write_atomically(folder / CARD, as_card(report))


def as_page(report: Report) -> str:
    """Return the report as one HTML page."""
    return _render("report.html.jinja", report, plots=_plots(report), audited=AUDITED)


def as_card(report: Report) -> str:
    """Return the model card, in the form of the Hugging Face hub."""
    base = report.manifest.provenance.get("recipe", {}).get("base", "")
    text = _render(
        "card.md.jinja",
        report,
        base=base,
        base_terms=_TERMS.get(base, ""),
        sources=_SOURCES,
        from_imdb=report.manifest.provenance.get("data") == imdb.NAME,
        on_imdb=report.on_imdb,
        published_as=report.published_as,
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _render(template: str, report: Report, **more: Any) -> str:
    environment = Environment(
        loader=PackageLoader("reelsense.evaluation"),
        autoescape=select_autoescape(["html.jinja"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": _percent,
        "risk": _risk,
        "least": _least,
        "clean": clean,
        "median": median,
    }
    text = environment.get_template(template).render(
        manifest=report.manifest,
        data=report.data,
        e=report.evaluation,
        texts=report.texts,
        shares=SHARES,
        version=__version__,
        summary=_summary(report),
        **more,
    )
    return LONE_SURROGATE.sub("\ufffd", text)


def _percent(share: float, digits: int = 1) -> str:
    return f"{share * 100:.{digits}f}%"


def _risk(risk: float) -> str:
    return f"{risk * 100:g}%"


def _least(thresholds: Sequence[float | None]) -> str:
    """The thresholds of one risk, those of short texts first."""
    known = {None: "out of reach", 0.0: "any"}
    return " / ".join(known.get(score) or _percent(score or 0) for score in thresholds)


def _plots(report: Report) -> dict[str, Markup]:
    found, predictions, curves = report.evaluation, report.predictions, report.manifest.provenance
    drawn = {
        "reliability": plots.reliability(predictions),
        "coverage": plots.coverage(predictions, found.decided),
        "by_length": plots.accuracy_of(found.by_length, "words"),
    }
    if found.by_rating:
        drawn["by_rating"] = plots.accuracy_of(found.by_rating, "stars the author gave")
    if found.flips:
        drawn["flips"] = plots.flip_shares(found.flips)
    if curves.get("curves", {}).get("loss"):  # a checkpoint may come without its log
        drawn["training"] = plots.training(curves["curves"])
    if found.explanations:
        drawn["explained"] = plots.explained(found.explanations.rankings)
        if found.explanations.flips.sizes:
            drawn["flip_sizes"] = plots.flip_sizes(found.explanations.flips.sizes)
    for changes in found.identity:
        if changes.shifts and (changes.terms, changes.source) == ("held-out", "templates"):
            drawn[f"identity {changes.category}"] = plots.identity_shifts(changes)
    # Markup: the pictures are our own SVG, in which matplotlib has escaped all text.
    return {name: Markup(picture) for name, picture in drawn.items()}  # noqa: S704


def _summary(report: Report) -> list[str]:
    """What a hurried reader is to know, good and bad, in whole sentences."""
    found = report.evaluation
    lines = [
        f"{_percent(found.metrics.accuracy)} of {found.metrics.reviews:,} answers are right; of "
        f"the 80% it is surest of, {_percent(found.surest.value)}.",
        f"Its probabilities are off by {_percent(found.metrics.ece, 2)} on average.",
    ]
    control = report.manifest.risk_control
    lines += [
        f"Told to err in at most {_risk(each.risk)} of what it decides, it decides "
        f"{_percent(each.decided.value)} and errs in {_percent(each.wrong.value)} of that."
        for each in found.decided
        if control and each.risk == control.default_risk and each.decided.count
    ]
    if found.single_sentences:
        accuracy = _percent(found.single_sentences.accuracy.value)
        lines.append(f"On single sentences by critics {accuracy} of the answers are right.")
    lines += [
        f"Of the {each.name}, {_percent(each.edits.value)} of the edited halves are right."
        for each in found.pairs
    ]
    if found.explanations and found.explanations.deletion.ratio:
        lines.append(
            "Taking out the sentence it calls heaviest moves the log-odds "
            f"{found.explanations.deletion.ratio:.1f} times as far as taking out another of like "
            "length."
        )
    missed = [
        f"{each.name} ({_percent(each.errors.value)} of the labels are wrong)"
        for each in (found.behaviours.errors if found.behaviours else [])
        if each.target is not None and each.errors.value > each.target
    ]
    if missed:
        lines.append(f"It misses the target of 8% errors on {', '.join(missed)}.")
    lines += [
        f"Its probabilities depend on identity terms: {_percent(each.changed.value)} of the "
        "template sentences change by more than 0.1 with a term that it was not trained on."
        for each in found.identity
        if (each.category, each.terms, each.source) == (ALL, "held-out", "templates")
        and each.changed.count
    ]
    return lines
