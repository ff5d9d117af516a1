"""The JSON interface, /v1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from reelsense import __version__
from reelsense.bundle import Threshold
from reelsense.prediction import Counterfactual, Part, Prediction
from reelsense.server.api.openapi import answers, json_of
from reelsense.server.api.schemas import (
    CounterfactualSchema,
    ExplainRequest,
    ExplainResponse,
    FailedPrediction,
    InfoResponse,
    LengthGroupSchema,
    Limits,
    ModelInfo,
    ModelSchema,
    PartSchema,
    PredictionSchema,
    PredictRequest,
    PredictResponse,
    ThresholdSchema,
    TokenCountSchema,
)
from reelsense.server.middleware.load_shedding import limit_concurrency
from reelsense.server.middleware.wire_models import TextFault
from reelsense.server.model_holder import classifier, get_model_holder
from reelsense.server.scoring import answer_all, answer_each, explain_one, kept_risk, threshold

blueprint = APIBlueprint("api", __name__, url_prefix="/v1", abp_tags=[Tag(name="reelsense")])


@blueprint.post(
    "/predict",
    operation_id="predict",
    responses=answers(PredictResponse, 400, 413, 415, 422, 503, 504),
)
@limit_concurrency
def predict(body: PredictRequest) -> Response:
    """Judge one text or several.

    Texts of any length are read whole. The answers are in the order of the texts, and none
    depends on the others.
    """
    manifest = classifier().manifest
    least = threshold(manifest, body.risk)
    several = "texts" in body.model_fields_set
    found: list[Prediction | TextFault] = []
    if several and not body.strict:
        found += answer_each(body.texts, body.risk)
    else:
        texts = body.texts if several else [body.text]
        places = [f"#/texts/{n}" for n in range(len(texts))] if several else ["#/text"]
        found += answer_all(texts, places, body.risk)
    return json_of(
        PredictResponse(
            model=ModelSchema(name=manifest.name, version=manifest.version),
            risk=kept_risk(manifest, body.risk),
            threshold=least,
            predictions=[
                FailedPrediction(error=each) if isinstance(each, TextFault) else _prediction(each)
                for each in found
            ],
        )
    )


@blueprint.post(
    "/explain",
    operation_id="explain",
    responses=answers(ExplainResponse, 400, 413, 415, 422, 503, 504),
)
@limit_concurrency
def explain(body: ExplainRequest) -> Response:
    """Say which sentences and words carry the answer for a text.

    Every weight is measured by taking the part out and reading what is left; so is the smallest
    set of sentences found without which the label is another. Takes some 20 times as long as the
    prediction alone.
    """
    manifest = classifier().manifest
    threshold(manifest, body.risk)
    found = explain_one(body.text, "#/text", body.risk, body.budget)
    return json_of(
        ExplainResponse(
            model=ModelSchema(name=manifest.name, version=manifest.version),
            risk=kept_risk(manifest, body.risk),
            prediction=_prediction(found.prediction),
            target_label=found.target_label,
            log_odds=found.log_odds,
            sentences=_parts(body.text, found.sentences),
            words=_parts(body.text, found.words),
            counterfactual=_flip(body.text, found.counterfactual) if found.counterfactual else None,
            forward_passes=found.forward_passes,
            budget=found.budget,
        )
    )


def _flip(text: str, found: Counterfactual) -> CounterfactualSchema:
    return CounterfactualSchema(
        unit=found.unit,
        parts=_parts(text, found.parts),
        prediction=_prediction(found.prediction),
    )


def _parts(text: str, parts: Sequence[Part]) -> list[PartSchema]:
    return [
        PartSchema(
            start=each.start,
            end=each.end,
            text=text[each.start : each.end],
            weight=each.weight,
        )
        for each in parts
    ]


def _prediction(found: Prediction) -> PredictionSchema:
    """Two fields for negative and positive; a model of other labels has a table of them."""
    known: dict[str, Any] = {} if found.stars is None else {"stars": found.stars}
    if set(found.probabilities) == {"positive", "negative"}:
        known |= {"positive": found.positive, "negative": found.negative}
    else:
        known["probabilities"] = found.probabilities
    return PredictionSchema(
        verdict=found.verdict,
        label=found.label,
        score=found.score,
        threshold=found.threshold,
        tokens=TokenCountSchema(total=found.tokens.total, scored=found.tokens.scored),
        **known,
    )


@blueprint.get("/info", operation_id="info", responses=answers(InfoResponse, 503))
def info() -> Response:
    """Say which model answers, and what the server takes."""
    manifest = classifier().manifest
    return json_of(
        InfoResponse(
            reelsense=__version__,
            model=ModelInfo(
                name=manifest.name,
                version=manifest.version,
                labels=list(manifest.labels),
                window=manifest.window,
                stars=bool(manifest.ratings),
                risk=kept_risk(manifest, None),
                thresholds=_thresholds(manifest.groups[-1].thresholds),
                length_groups=[
                    LengthGroupSchema(
                        name=group.name,
                        max_tokens=group.max_tokens,
                        thresholds=_thresholds(group.thresholds),
                    )
                    for group in manifest.groups
                ],
            ),
            limits=Limits.model_validate(get_model_holder().settings, from_attributes=True),
        )
    )


def _thresholds(known: Sequence[Threshold]) -> list[ThresholdSchema]:
    return [ThresholdSchema(risk=each.risk, score=each.score) for each in known]
