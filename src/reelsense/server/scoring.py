"""Score the texts of a request. All interfaces and pages use these functions.

In all of them, `risk` is the target error rate; None: the default of the model.
"""

from __future__ import annotations

from collections.abc import Sequence

from flask import g

from reelsense.bundle import Manifest
from reelsense.errors import InputError, TextError
from reelsense.feedback.records import KeptPrediction
from reelsense.inference.aspects import check_aspects
from reelsense.inference.calibration import decision_thresholds
from reelsense.prediction import Explanation, Prediction
from reelsense.server.middleware.field_errors import FieldError, InvalidRequestError, invalid
from reelsense.server.middleware.request_context import call_context
from reelsense.server.model_holder import classifier, model_name
from reelsense.server.state import get_state


def threshold(manifest: Manifest, risk: float | None, pointer: str = "#/risk") -> float | None:
    """Return the decision threshold for the longest texts; that of shorter texts may differ.

    None: no threshold meets the target error rate. Rejects the request if the model has no
    thresholds; `pointer` is the field that contains `risk`.
    """
    try:
        return decision_thresholds(manifest, risk)[-1]
    except InputError as error:
        field = FieldError(pointer=pointer, code="no-thresholds", detail=str(error))
        raise InvalidRequestError([field]) from error


def require_aspects(manifest: Manifest) -> None:
    """Reject the request if the model does not predict the sentiment of aspects."""
    try:
        check_aspects(manifest)
    except InputError as error:
        field = FieldError(pointer="#/aspects", code=error.code, detail=str(error))
        raise InvalidRequestError([field]) from error


def effective_risk(manifest: Manifest, risk: float | None) -> float | None:
    """Return the requested `risk`, or the default of the model. None: it has none."""
    if risk is not None:
        return risk
    return manifest.risk_control.default_risk if manifest.risk_control else None


def answer_each(texts: Sequence[str], risk: float | None = None) -> list[Prediction | TextError]:
    """Return a prediction for each text, or the reason why it could not be scored."""
    answers = _score(texts, risk)
    _keep(texts, answers)
    return answers


def _score(texts: Sequence[str], risk: float | None) -> list[Prediction | TextError]:
    _log_texts(texts)
    limit = get_state().settings.max_characters
    short_enough = [text for text in texts if len(text) <= limit]
    results = classifier().predict_each(short_enough, risk=risk, context=call_context())
    get_state().metrics.record_predictions(model_name(), results, call_context())
    if model_name() == get_state().models.default_name:
        get_state().shadow.offer(short_enough, results)
        get_state().drift.offer(classifier().manifest, short_enough, results)
    remaining = iter(results)
    return [
        next(remaining)
        if len(text) <= limit
        else TextError(n, f"is longer than {limit:,} characters", code="too-long")
        for n, text in enumerate(texts)
    ]


def answer_all(
    texts: Sequence[str], pointers: Sequence[str], risk: float | None = None
) -> list[Prediction]:
    """Return a prediction for each text; reject the request if any text cannot be scored.

    `pointers` are the fields of the request that contain the texts.
    """
    predictions: list[Prediction] = []
    errors: list[FieldError] = []
    for pointer, answer in zip(pointers, _score(texts, risk), strict=True):
        if isinstance(answer, Prediction):
            predictions.append(answer)
        else:
            errors.append(_field_error(pointer, answer))
    if errors:
        raise invalid(errors)
    _keep(texts, predictions)
    return predictions


def _keep(texts: Sequence[str], answers: Sequence[Prediction | TextError]) -> None:
    """Queue the predictions that are to be stored; see `prediction_ids`."""
    policy, manifest = get_state().keep_policy, classifier().manifest
    if policy.keeps_nothing:
        return
    kept = {
        n: KeptPrediction(text, answer, manifest.name, manifest.version, policy.share)
        for n, (text, answer) in enumerate(zip(texts, answers, strict=True))
        if isinstance(answer, Prediction) and policy.keeps(answer)
    }
    if kept and get_state().feedback_writer.keep(list(kept.values())):
        g.prediction_ids = {n: prediction.id for n, prediction in kept.items()}


def prediction_ids() -> dict[int, str]:
    """Return the ids of the predictions of this request that are stored, by number of the text."""
    ids: dict[int, str] = g.get("prediction_ids", {})
    return ids


def explain_one(
    text: str, pointer: str, risk: float | None, budget: int, *, aspects: bool = False
) -> Explanation:
    """Return an explanation of the prediction for `text`; reject the request if it has none.

    `pointer` is the field of the request that contains the text.
    """
    _log_texts([text])
    try:
        explanation = classifier().explain(
            text, risk=risk, budget=budget, aspects=aspects, context=call_context()
        )
    except TextError as error:
        raise invalid([_field_error(pointer, error)]) from error
    get_state().metrics.record_predictions(model_name(), [explanation.prediction], call_context())
    return explanation


def _field_error(pointer: str, error: TextError) -> FieldError:
    return FieldError(pointer=pointer, code=error.code, detail=error.reason)


def _log_texts(texts: Sequence[str]) -> None:
    """Add the texts to the log line of the request, if the settings say so."""
    if get_state().settings.log_texts:
        g.texts = list(texts)
