"""The risk that a person chooses on a page. Knows forms and the thresholds of a model."""

from __future__ import annotations

from dataclasses import dataclass

from flask import request

from reelsense.bundle import Manifest
from reelsense.errors import NotReadyError
from reelsense.inference.calibration import decision_thresholds
from reelsense.server.middleware.problems import FieldError, invalid
from reelsense.server.model_holder import classifier
from reelsense.server.scoring import effective_risk, threshold


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the risks to choose from."""

    value: str
    """As a form sends it; blank: the model's own."""
    risk: float | None
    """None: everything is decided."""
    chosen: bool


def asked() -> float | None:
    """Return the risk that is chosen in the form of the current request; None: the model's own.

    Raises InvalidRequestError if that is none, or the model has no thresholds.
    """
    given = request.form.get("risk", "")
    if not given:
        return None
    try:
        risk = float(given)
    except ValueError:
        risk = 0.0
    if not 0 < risk < 1:
        detail = "The risk is a share between 0 and 1, as 0.02 for 2 %."
        raise invalid([FieldError(pointer="#/risk", code="wrong-value", detail=detail)])
    threshold(classifier().manifest, risk)
    return risk


def choices(chosen: float | None = None) -> list[Choice]:
    """Return the risks to choose from, lowest first; none while no model is ready."""
    try:
        manifest = classifier().manifest
    except NotReadyError:
        return []
    if manifest.risk_control is None:
        return []
    own = effective_risk(manifest, None)
    others = _offered(manifest) | ({chosen} if chosen else set())
    found = [Choice(f"{risk:g}", risk, risk == chosen) for risk in sorted(others - {own})]
    mine = Choice("", own, chosen in (None, own))
    # What decides everything is the highest of all.
    return sorted([mine, *found], key=lambda each: 1.0 if each.risk is None else each.risk)


def _offered(manifest: Manifest) -> set[float]:
    """Return the risks that some texts can be decided at.

    Of risks whose thresholds are the same for texts of every length, the lowest.
    """
    lowest: dict[tuple[float | None, ...], float] = {}
    for risk in sorted({each.risk for group in manifest.groups for each in group.thresholds}):
        thresholds = decision_thresholds(manifest, risk)
        if any(each is not None for each in thresholds):
            lowest.setdefault(thresholds, risk)
    return set(lowest.values())
