"""The one way from the texts of a request to answers, whichever interface they came by."""

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
from reelsense.server.middleware.wire_models import TextFault
from reelsense.server.model_holder import classifier, get_model_holder


def threshold(manifest: Manifest, risk: float | None, pointer: str = "#/risk") -> float | None:
    """Return the decision threshold of the longest texts at a `risk`, which stands at `pointer`.

    The threshold of shorter texts may be another: `Prediction.threshold`. Raises
    InvalidRequestError if the model has no thresholds.
    """
    try:
        return decision_thresholds(manifest, risk)[-1]
    except InputError as error:
        fault = FieldError(pointer=pointer, code="no-thresholds", detail=str(error))
        raise InvalidRequestError([fault]) from error


def kept_risk(manifest: Manifest, asked: float | None) -> float | None:
    """Return the risk that is kept to: the one `asked` for, or the model's own, if any."""
    if asked is not None:
        return asked
    return manifest.risk_control.default_risk if manifest.risk_control else None


def answer_each(texts: Sequence[str], risk: float | None = None) -> list[Prediction | TextFault]:
    """Return an answer for each of `texts`, or why there is none.

    Raises InputError if the model has no thresholds for a `risk`, NotReadyError, DeadlineError,
    AbandonedError.
    """
    settings = get_model_holder().settings
    if settings.log_texts:
        g.texts = list(texts)
    most = settings.max_characters
    answers: list[Prediction | TextFault] = [
        TextFault(code="too-long", detail=f"is longer than {most:,} characters") for _ in texts
    ]
    short = [n for n, text in enumerate(texts) if len(text) <= most]
    found = classifier().predict_each([texts[n] for n in short], risk=risk, context=call_context())
    metrics().record_predictions(found, call_context())
    for n, answer in zip(short, found, strict=True):
        answers[n] = (
            answer
            if isinstance(answer, Prediction)
            else TextFault(code="unreadable" if texts[n].strip() else "blank", detail=answer.reason)
        )
    return answers


def answer_all(
    texts: Sequence[str], pointers: Sequence[str], risk: float | None = None
) -> list[Prediction]:
    """Return a prediction for each of `texts`, which stand at `pointers` in the request.

    Raises as `answer_each`, and InvalidRequestError naming each text that cannot be scored.
    """
    answers = answer_each(texts, risk)
    faults = [
        FieldError(pointer=pointer, code=answer.code, detail=answer.detail)
        for pointer, answer in zip(pointers, answers, strict=True)
        if isinstance(answer, TextFault)
    ]
    if faults:
        raise invalid(faults)
    return [answer for answer in answers if isinstance(answer, Prediction)]


def explain_one(text: str, pointer: str, risk: float | None, budget: int) -> Explanation:
    """Return what carries the answer for `text`, which stands at `pointer` in the request.

    Raises as `answer_all`.
    """
    if get_model_holder().settings.log_texts:
        g.texts = [text]
    try:
        found = classifier().explain(text, risk=risk, budget=budget, context=call_context())
    except TextError as error:
        raise invalid(
            [FieldError(pointer=pointer, code="unreadable", detail=error.reason)]
        ) from error
    metrics().record_predictions([found.prediction], call_context())
    return found
