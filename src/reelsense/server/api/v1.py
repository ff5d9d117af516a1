"""Routes of /v1: predict, explain and info."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from reelsense import __version__
from reelsense.bulk.rows import as_dict
from reelsense.bundle import Manifest
from reelsense.errors import NotReadyError, TextError
from reelsense.prediction import Prediction
from reelsense.server.api.openapi import json_response, json_responses
from reelsense.server.api.schemas import (
    ExplainRequest,
    ExplainResponse,
    FailedPrediction,
    InfoResponse,
    Limits,
    ModelInfo,
    ModelSchema,
    ModelsResponse,
    PredictionSchema,
    PredictRequest,
    PredictResponse,
    ServedModel,
)
from reelsense.server.middleware.load_shedding import limit_concurrency
from reelsense.server.middleware.problems import TextErrorSchema
from reelsense.server.model_holder import classifier, select_model
from reelsense.server.scoring import (
    answer_all,
    answer_each,
    effective_risk,
    explain_one,
    prediction_ids,
    require_aspects,
    threshold,
)
from reelsense.server.state import get_state

blueprint = APIBlueprint("api", __name__, url_prefix="/v1", abp_tags=[Tag(name="reelsense")])


@blueprint.post(
    "/predict",
    operation_id="predict",
    responses=json_responses(PredictResponse, 400, 404, 413, 415, 422, 503, 504),
)
@limit_concurrency
def predict(body: PredictRequest) -> Response:
    """Classify one text or several.

    Texts of any length are read completely. Predictions are in the order of the texts and
    independent of each other.
    """
    threshold(select_model(body.model).manifest, body.risk)  # rejects an unsupported risk
    answers: Sequence[Prediction | TextError]
    if "texts" not in body.model_fields_set:
        answers = answer_all([body.text], ["#/text"], body.risk)
    elif body.strict:
        pointers = [f"#/texts/{n}" for n in range(len(body.texts))]
        answers = answer_all(body.texts, pointers, body.risk)
    else:
        answers = answer_each(body.texts, body.risk)
    return json_response(predict_response(answers, body.risk))


def predict_response(
    answers: Sequence[Prediction | TextError], risk: float | None
) -> PredictResponse:
    """Return the body of the response with `answers` of the model of the current request."""
    manifest = classifier().manifest
    return PredictResponse(
        model=ModelSchema.model_validate(manifest),
        risk=effective_risk(manifest, risk),
        threshold=threshold(manifest, risk),
        **_warning(manifest, risk),
        predictions=[
            _prediction_schema(answer, prediction_ids().get(n))
            if isinstance(answer, Prediction)
            else FailedPrediction(error=TextErrorSchema(code=answer.code, detail=answer.reason))
            for n, answer in enumerate(answers)
        ],
    )


@blueprint.post(
    "/explain",
    operation_id="explain",
    responses=json_responses(ExplainResponse, 400, 404, 413, 415, 422, 503, 504),
)
@limit_concurrency
def explain(body: ExplainRequest) -> Response:
    """Return the sentences and words that determine a prediction.

    Each weight is measured by removing the part and scoring the rest. The counterfactual is the
    smallest set of parts found whose removal changes the label. Takes about 20 times as long as
    the prediction alone. With `aspects`, the response also has the clauses that judge an aspect of
    the film.
    """
    manifest = select_model(body.model).manifest
    threshold(manifest, body.risk)  # rejects a risk that the model does not support
    if body.aspects:
        require_aspects(manifest)
    explanation = explain_one(body.text, "#/text", body.risk, body.budget, aspects=body.aspects)
    fields = as_dict(body.text, explanation) | {
        "model": manifest,
        "risk": effective_risk(manifest, body.risk),
        "prediction": _prediction_schema(explanation.prediction),
    }
    if explanation.counterfactual:
        prediction = _prediction_schema(explanation.counterfactual.prediction)
        fields["counterfactual"]["prediction"] = prediction
    return json_response(ExplainResponse.model_validate(fields))


def _warning(manifest: Manifest, risk: float | None) -> dict[str, str]:
    """Return the optional field `warning` of a response."""
    warning = manifest.abstention(risk)
    return {"warning": warning} if warning else {}


def _prediction_schema(
    prediction: Prediction, prediction_id: str | None = None
) -> PredictionSchema:
    names = ["verdict", "label", "score", "threshold", "tokens"]
    if prediction.stars is not None:
        names.append("stars")
    if set(prediction.probabilities) == {"positive", "negative"}:
        names += ["positive", "negative"]
    else:
        names.append("probabilities")
    fields: dict[str, Any] = {name: getattr(prediction, name) for name in names}
    if prediction_id is not None:
        fields["prediction_id"] = prediction_id
    return PredictionSchema.model_validate(fields)


@blueprint.get("/models", operation_id="models", responses=json_responses(ModelsResponse))
def models() -> Response:
    """List the models of the server. Those without a version are not loaded yet."""
    data = []
    for name, holder in get_state().models.holders.items():
        served: dict[str, Any] = {"id": name, "created": int(holder.loaded_at)}
        served |= {"object": "model", "owned_by": "reelsense"}
        with suppress(NotReadyError):
            manifest = holder.classifier().manifest
            served |= {"name": manifest.name, "version": manifest.version}
            served["labels"] = list(manifest.labels)
        data.append(ServedModel(**served))
    return json_response(ModelsResponse(object="list", data=data))


@blueprint.get("/info", operation_id="info", responses=json_responses(InfoResponse, 503))
def info() -> Response:
    """Describe the model and the limits of the server."""
    manifest = classifier().manifest
    model = {
        "name": manifest.name,
        "version": manifest.version,
        "labels": manifest.labels,
        "window": manifest.window,
        "stars": bool(manifest.ratings),
        "risk": effective_risk(manifest, None),
        "thresholds": manifest.groups[-1].thresholds,
        "length_groups": manifest.groups,
        **_warning(manifest, None),
    }
    return json_response(
        InfoResponse(
            reelsense=__version__,
            model=ModelInfo.model_validate(model),
            limits=Limits.model_validate(get_state().settings),
        )
    )
