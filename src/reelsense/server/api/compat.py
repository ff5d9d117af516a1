"""Routes for clients of Hugging Face, text-embeddings-inference and the original Flask API.

Unknown fields of requests are ignored, because these clients send them to every server.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

import numpy as np
from flask import Response
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Discriminator, Field, RootModel
from pydantic import Tag as UnionTag
from werkzeug.exceptions import NotFound

from reelsense.prediction import Prediction
from reelsense.server.api.constraints import (
    WHOLE,
    FlatBatch,
    SingleText,
    Text,
    TextBatch,
    TextList,
    is_batch,
)
from reelsense.server.api.openapi import json_response, json_responses
from reelsense.server.api.schemas import ModelPath, RequestModel
from reelsense.server.middleware.field_errors import (
    A_BATCH,
    A_FLAT_BATCH,
    A_LIST,
    A_TEXT,
    ResponseModel,
)
from reelsense.server.middleware.load_shedding import limit_concurrency
from reelsense.server.model_holder import classifier, select_model
from reelsense.server.scoring import answer_all

blueprint = APIBlueprint("compat", __name__)

_View = TypeVar("_View", bound=Callable[..., Response])

_HUGGING_FACE = Tag(name="Hugging Face", description="For huggingface_hub.InferenceClient.")
_TEI = Tag(
    name="text-embeddings-inference",
    description="For clients of its routes /predict, / and /invocations.",
)
_ORIGINAL_API = Tag(
    name="original Flask API",
    description="For clients of VikasSingh-DS/Movies-Reviews-Bert-Sentiment-Flask-API.",
)


class LabelScore(ResponseModel):
    """A label and its score."""

    label: str
    score: float


class BatchLabelScores(RootModel[list[list[LabelScore]]]):
    """The labels of each text, highest score first."""


class TextOrBatchLabelScores(RootModel[list[LabelScore] | list[list[LabelScore]]]):
    """The labels of a text, or of each text of a batch, highest score first."""


def _input_tag(value: object) -> str:
    if not isinstance(value, list):
        return A_TEXT
    if is_batch(value):
        return A_BATCH
    return A_FLAT_BATCH if len(value) > 2 else A_LIST


class InferenceParameters(RequestModel):
    """How scores are computed and how many are returned."""

    model_config = ConfigDict(extra="ignore")

    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = None
    top_k: Annotated[int, Field(ge=1), WHOLE] | None = None


class InferenceRequest(RequestModel):
    """Request for text classification, as sent by Hugging Face clients."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"inputs": "A joy to watch."}]}
    )

    inputs: Annotated[
        Annotated[Text, UnionTag(A_TEXT)] | TextList,
        Discriminator(lambda value: A_LIST if isinstance(value, list) else A_TEXT),
    ]
    parameters: InferenceParameters | None = None


class EmbeddingsPredictRequest(RequestModel):
    """Request for sequence classification, as sent by text-embeddings-inference clients."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"inputs": [["A joy."], ["A bore."]]}]}
    )

    inputs: Annotated[
        Annotated[Text, UnionTag(A_TEXT)]
        | Annotated[SingleText, UnionTag(A_LIST)]
        | FlatBatch
        | TextBatch,
        Discriminator(_input_tag),
    ] = Field(
        description='A text, a list of one text, or a batch: [["..."], ["..."]], or at least three '
        'texts as ["...", "...", "..."]. Two texts in a list are a pair, which this model rejects.'
    )
    raw_scores: bool = Field(default=False, description="Return logits instead of probabilities.")
    truncate: bool | None = Field(
        default=None, description="Ignored: texts of any length are read completely."
    )


@blueprint.post(
    "/models/<name>",
    tags=[_HUGGING_FACE],
    operation_id="hugging_face",
    responses=json_responses(BatchLabelScores, 400, 404, 413, 415, 422, 503, 504),
)
@limit_concurrency
def hugging_face(path: ModelPath, body: InferenceRequest) -> Response:
    """Classify texts, compatible with Hugging Face text classification."""
    select_model(path.name)
    parameters = body.parameters or InferenceParameters()
    scores = [
        _label_scores(prediction, parameters.function_to_apply)[: parameters.top_k]
        for prediction in answer_one_or_all(body.inputs, "#/inputs")
    ]
    return json_response(BatchLabelScores(scores))


def answer_one_or_all(texts: str | list[str], pointer: str) -> list[Prediction]:
    """Return the predictions for the field at `pointer`, which has a text or a list of texts."""
    if isinstance(texts, str):
        return answer_all([texts], [pointer])
    return answer_all(texts, [f"{pointer}/{n}" for n in range(len(texts))])


def _embeddings_route(rule: str, name: str) -> Callable[[_View], _View]:
    """Register a view for the POST requests to `rule`."""
    return blueprint.post(
        rule,
        tags=[_TEI],
        endpoint=name,
        operation_id=name,
        responses=json_responses(TextOrBatchLabelScores, 400, 413, 415, 422, 503, 504),
    )


@_embeddings_route("/invocations", "text_embeddings_inference_invocations")
@_embeddings_route("/", "text_embeddings_inference_root")
@_embeddings_route("/predict", "text_embeddings_inference")
@limit_concurrency
def text_embeddings_inference(body: EmbeddingsPredictRequest) -> Response:
    """Classify texts, compatible with /predict of text-embeddings-inference."""
    if isinstance(body.inputs, str):
        texts, pointers = [body.inputs], ["#/inputs"]
    else:
        nested = is_batch(body.inputs)
        texts = [entry if isinstance(entry, str) else entry[0] for entry in body.inputs]
        pointers = [f"#/inputs/{n}{'/0' * nested}" for n in range(len(texts))]
    function = "none" if body.raw_scores else "softmax"
    scores = [_label_scores(prediction, function) for prediction in answer_all(texts, pointers)]
    is_single = _input_tag(body.inputs) in (A_TEXT, A_LIST)
    return json_response(TextOrBatchLabelScores(scores[0] if is_single else scores))


def _label_scores(prediction: Prediction, function: str | None) -> list[LabelScore]:
    """Return the labels with their scores, highest first."""
    labels = zip(prediction.probabilities, scores_of(prediction, function), strict=True)
    return sorted(
        (LabelScore(label=label, score=score) for label, score in labels),
        key=lambda label_score: -label_score.score,
    )


def scores_of(prediction: Prediction, function: str | None) -> list[float]:
    """Return the scores in the order of the labels.

    The logits are calibrated and centred, so that their softmax is the probabilities.
    """
    scores = np.array(list(prediction.probabilities.values()))
    if function in ("none", "sigmoid"):
        scores = np.log(np.maximum(scores, np.finfo(np.float64).tiny))
        scores -= scores.mean()
    if function == "sigmoid":
        scores = 1 / (1 + np.exp(-scores))
    values: list[float] = scores.tolist()
    return values


class SentenceQuery(BaseModel):
    """Query of the original Flask API."""

    sentence: Text


class SentenceScores(ResponseModel):
    """Scores of a sentence. All values are strings."""

    positive: str
    negative: str
    sentence: str
    time_taken: str = Field(description="In seconds.")


class SentenceResponse(ResponseModel):
    """Response of the original Flask API."""

    response: SentenceScores


@blueprint.get(
    "/predict",
    tags=[_ORIGINAL_API],
    operation_id="original_api",
    responses=json_responses(SentenceResponse, 400, 404, 422, 503, 504),
)
@limit_concurrency
def original_api(query: SentenceQuery) -> Response:
    """Classify a sentence, compatible with the original Flask API: all values are strings."""
    started = time.perf_counter()
    labels = classifier().labels
    if set(labels) != {"positive", "negative"}:
        raise NotFound(
            f"this route needs a model with the labels positive and negative, not "
            f"{', '.join(labels)}: use POST /v1/predict"
        )
    prediction = answer_all([query.sentence], ["?sentence"])[0]
    scores = SentenceScores(
        positive=str(prediction.positive),
        negative=str(prediction.negative),
        sentence=query.sentence,
        time_taken=str(time.perf_counter() - started),
    )
    return json_response(SentenceResponse(response=scores))
