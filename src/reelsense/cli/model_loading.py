"""Load the model of a command, and warn if it cannot meet the target error rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reelsense.prediction import UNSURE

if TYPE_CHECKING:
    from reelsense.bundle import Bundle, Manifest
    from reelsense.inference.classifier import Classifier


def load_classifier(model: str | None, risk: float | None) -> Classifier:
    """Return the classifier `model`, and warn if it cannot meet the target error rate `risk`."""
    from reelsense.inference.classifier import Classifier

    classifier = Classifier.load(model)
    _warn_if_unreachable(classifier.manifest, risk)
    return classifier


def read_bundle(model: str | None, risk: float | None) -> Bundle:
    """Return the bundle `model`, and warn if it cannot meet the target error rate `risk`."""
    from reelsense import registry
    from reelsense.bundle import read_bundle

    bundle = read_bundle(registry.find(model))
    _warn_if_unreachable(bundle.manifest, risk)
    return bundle


def _warn_if_unreachable(manifest: Manifest, risk: float | None) -> None:
    from reelsense.inference.calibration import decision_thresholds

    thresholds = decision_thresholds(manifest, risk)
    missing = [
        group.name
        for group, threshold in zip(manifest.groups, thresholds, strict=True)
        if threshold is None
    ]
    if missing:
        named = "the model's risk" if risk is None else f"a risk of {risk:.2%}"
        where = "" if len(missing) == len(thresholds) else f" in length group {', '.join(missing)}"
        click.echo(f"no threshold keeps to {named}: every verdict{where} is {UNSURE}", err=True)
