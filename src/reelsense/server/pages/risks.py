"""The choice of a target error rate (`risk`) in the forms of the pages."""

from __future__ import annotations

from dataclasses import dataclass

from flask import request

from reelsense.bundle import Manifest
from reelsense.errors import NotReadyError
from reelsense.inference.calibration import decision_thresholds
from reelsense.server.middleware.field_errors import FieldError, invalid
from reelsense.server.model_holder import classifier
from reelsense.server.scoring import effective_risk, threshold


@dataclass(frozen=True, slots=True)
class RiskChoice:
    """An option of the form."""

    value: str  # of the form field; empty for the default of the model
    risk: float | None  # the target error rate; None if the model never abstains
    selected: bool


def selected_risk() -> float | None:
    """Return the risk in the form of the current request; None for the default of the model.

    Raises InvalidRequestError if it is not between 0 and 1, or the model has no thresholds.
    """
    value = request.form.get("risk", "")
    if not value:
        return None
    try:
        risk = float(value)
    except ValueError:
        risk = 0.0
    if not 0 < risk < 1:
        detail = f'invalid risk "{value}": expected a number between 0 and 1, such as 0.02 for 2 %'
        raise invalid([FieldError(pointer="#/risk", code="wrong-value", detail=detail)])
    threshold(classifier().manifest, risk)
    return risk


def risk_choices(selected: float | None = None) -> list[RiskChoice]:
    """Return the options, lowest risk first; `selected` None stands for the default of the model.

    The list is empty while no model is ready, and for models without thresholds.
    """
    try:
        manifest = classifier().manifest
    except NotReadyError:
        return []
    if manifest.risk_control is None:
        return []
    default = effective_risk(manifest, None)
    risks = _distinct_risks(manifest) | ({selected} if selected else set())
    choices = [RiskChoice(f"{risk:g}", risk, risk == selected) for risk in risks - {default}]
    choices.append(RiskChoice("", default, selected in (None, default)))
    # A model that never abstains has the highest error rate of all.
    return sorted(choices, key=lambda choice: 1.0 if choice.risk is None else choice.risk)


def _distinct_risks(manifest: Manifest) -> set[float]:
    """Return the risks that the model can meet for some texts, one for each set of thresholds."""
    lowest: dict[tuple[float | None, ...], float] = {}
    risks = {threshold.risk for group in manifest.groups for threshold in group.thresholds}
    for risk in sorted(risks):
        thresholds = decision_thresholds(manifest, risk)
        if any(threshold is not None for threshold in thresholds):
            lowest.setdefault(thresholds, risk)
    return set(lowest.values())
