"""Score the texts of a request. All interfaces and pages use these functions."""

from __future__ import annotations

from collections.abc import Sequence

from flask import g

from reelsense.bundle import Manifest
from reelsense.errors import InputError, TextError
from reelsense.inference.calibration import decision_thresholds
from reelsense.prediction import Explanation, Prediction
from reelsense.server.middleware.metrics import metrics
from reelsense.server.middleware.problems import FieldError, InvalidRequestError, invalid
from reelsense.server.middleware.request_context import call_context
from reelsense.server.middleware.wire_models import TextErrorSchema
from reelsense.server.model_holder import classifier
from reelsense.server.state import get_state


def threshold(manifest: Manifest, risk: float | None, pointer: str = "#/risk") -> float | None:
    """Return the decision threshold for the longest texts; that of shorter texts may differ.

    Args:
        manifest: That of the model.
        risk: Target error rate, above 0 and below 1. None: the default of the model.
        pointer: The field of the request that contains `risk`.

    Returns:
        The threshold, 0 to 1. None: no threshold meets the target error rate.

    Raises:
        InvalidRequestError: The model has no thresholds.

    """
    try:
        return decision_thresholds(manifest, risk)[-1]
    except InputError as error:
        field = FieldError(pointer=pointer, code="no-thresholds", detail=str(error))
        raise InvalidRequestError([field]) from error


def effective_risk(manifest: Manifest, risk: float | None) -> float | None:
    """Return the requested `risk`, or the default of the model. None: there is none."""
    if risk is not None:
        return risk
    return manifest.risk_control.default_risk if manifest.risk_control else None


def answer_each(
    texts: Sequence[str], risk: float | None = None
) -> list[Prediction | TextErrorSchema]:
    """Return a prediction for each text, or the reason why it could not be scored.

    Args:
        texts: The texts, in the order of the request.
        risk: Target error rate. None: the default of the model.

    Raises:
        InputError: The model has no thresholds for `risk`.
        NotReadyError: The model is not loaded.
        DeadlineError: The deadline of the request has passed.
        AbandonedError: The client has disconnected.

    """
    settings = get_state().settings
    if settings.log_texts:
        g.texts = list(texts)
    limit = settings.max_characters
    too_long = TextErrorSchema(code="too-long", detail=f"is longer than {limit:,} characters")
    answers: list[Prediction | TextErrorSchema] = [too_long for _ in texts]
    positions = [n for n, text in enumerate(texts) if len(text) <= limit]
    results = classifier().predict_each(
        [texts[n] for n in positions], risk=risk, context=call_context()
    )
    metrics().record_predictions(results, call_context())
    for n, result in zip(positions, results, strict=True):
        if isinstance(result, Prediction):
            answers[n] = result
        else:
            answers[n] = TextErrorSchema(code=result.code, detail=result.reason)
    return answers


def answer_all(
    texts: Sequence[str], pointers: Sequence[str], risk: float | None = None
) -> list[Prediction]:
    """Return a prediction for each text; reject the request if any cannot be scored.

    Args:
        texts: The texts, in the order of the request.
        pointers: The field of the request that contains each text.
        risk: Target error rate. None: the default of the model.

    Raises:
        InvalidRequestError: Texts cannot be scored; lists each of them.
        ReelsenseError: Those of `answer_each`.

    """
    answers = answer_each(texts, risk)
    errors = [
        FieldError(pointer=pointer, code=answer.code, detail=answer.detail)
        for pointer, answer in zip(pointers, answers, strict=True)
        if isinstance(answer, TextErrorSchema)
    ]
    if errors:
        raise invalid(errors)
    return [answer for answer in answers if isinstance(answer, Prediction)]


def explain_one(text: str, pointer: str, risk: float | None, budget: int) -> Explanation:
    """Return an explanation of the prediction for `text`.

    Args:
        text: The text.
        pointer: The field of the request that contains the text.
        risk: Target error rate. None: the default of the model.
        budget: Maximum number of forward passes, beside those for the text itself.

    Raises:
        InvalidRequestError: The text cannot be scored.
        ReelsenseError: Those of `answer_each`.

    """
    if get_state().settings.log_texts:
        g.texts = [text]
    try:
        explanation = classifier().explain(text, risk=risk, budget=budget, context=call_context())
    except TextError as error:
        raise invalid(
            [FieldError(pointer=pointer, code="unreadable", detail=error.reason)]
        ) from error
    metrics().record_predictions([explanation.prediction], call_context())
    return explanation
