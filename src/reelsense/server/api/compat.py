"""Routes that clients of other servers already speak.

Hugging Face's, text-embeddings-inference's and the starting system's. What these clients send
beside is let pass: they send it to all servers.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Annotated, Literal

import numpy as np
from flask import Response
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, RootModel
from pydantic import Tag as Choice
from pydantic_core import PydanticCustomError
from werkzeug.exceptions import NotFound

from reelsense.prediction import Prediction
from reelsense.server.api.openapi import answers, json_of
from reelsense.server.api.schemas import WHOLE, MaxLength, RequestModel, Text
from reelsense.server.middleware.load_shedding import limit_concurrency
from reelsense.server.middleware.wire_models import A_BATCH, A_LIST, A_TEXT, ResponseModel
from reelsense.server.model_holder import classifier
from reelsense.server.scoring import answer_all

blueprint = APIBlueprint("compat", __name__)

_HUGGING_FACE = Tag(name="Hugging Face", description="For huggingface_hub.InferenceClient.")
_TEI = Tag(name="text-embeddings-inference", description="For clients of its /predict.")
_STARTING_SYSTEM = Tag(
    name="starting system",
    description="For clients of VikasSingh-DS/Movies-Reviews-Bert-Sentiment-Flask-API.",
)


class LabelScore(ResponseModel):
    """A label and its score."""

    label: str
    score: float


class LabelScores(RootModel[list[LabelScore]]):
    """The labels of a text, best first."""


class BatchLabelScores(RootModel[list[list[LabelScore]]]):
    """The labels of each text, best first."""


class TextOrBatchLabelScores(RootModel[list[LabelScore] | list[list[LabelScore]]]):
    """The labels of a text, or of each text of a batch, best first."""


def _kind(value: object) -> str:
    if not isinstance(value, list):
        return A_TEXT
    return A_BATCH if value and isinstance(value[0], list) else A_LIST


def _no_pair(value: object) -> object:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(one, str) for one in value):
        raise PydanticCustomError(
            "pair",
            'Input should not be a pair: this model reads one text at a time; a batch is [["..."], '
            '["..."]]',
        )
    return value


_Alone = Annotated[list[Text], Field(min_length=1, max_length=1), BeforeValidator(_no_pair)]


class InferenceParameters(RequestModel):
    """How scores are made of logits, and how many of them are wanted."""

    model_config = ConfigDict(extra="ignore")

    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = None
    top_k: Annotated[int, Field(ge=1), WHOLE] | None = None


class InferenceRequest(RequestModel):
    """Hugging Face's request for text classification."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"inputs": "A joy to watch."}]}
    )

    inputs: Annotated[
        Annotated[Text, Choice(A_TEXT)]
        | Annotated[list[Text], Field(min_length=1), MaxLength("max_texts"), Choice(A_LIST)],
        Discriminator(lambda value: A_LIST if isinstance(value, list) else A_TEXT),
    ]
    parameters: InferenceParameters | None = None


class EmbeddingsPredictRequest(RequestModel):
    """text-embeddings-inference's request for sequence classification."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"inputs": [["A joy."], ["A bore."]]}]}
    )

    inputs: Annotated[
        Annotated[Text, Choice(A_TEXT)]
        | Annotated[_Alone, Choice(A_LIST)]
        | Annotated[list[_Alone], Field(min_length=1), MaxLength("max_texts"), Choice(A_BATCH)],
        Discriminator(_kind),
    ] = Field(description='A text, or a batch: [["..."], ["..."]].')
    raw_scores: bool = Field(default=False, description="Logits in the place of probabilities.")
    truncate: bool | None = Field(
        default=None, description="Makes no difference: texts of any length are read whole."
    )


@blueprint.post(
    "/models/default",
    tags=[_HUGGING_FACE],
    operation_id="hugging_face",
    responses=answers(BatchLabelScores, 400, 413, 415, 422, 503, 504),
)
@limit_concurrency
def hugging_face(body: InferenceRequest) -> Response:
    """Answer as Hugging Face's text classification does."""
    texts = body.inputs if isinstance(body.inputs, list) else [body.inputs]
    places = _places("#/inputs/{}", texts) if isinstance(body.inputs, list) else ["#/inputs"]
    asked = body.parameters or InferenceParameters()
    predictions = answer_all(texts, places)
    scores = (_scores(each, asked.function_to_apply) for each in predictions)
    return json_of(BatchLabelScores([each[: asked.top_k] for each in scores]))


@blueprint.post(
    "/predict",
    tags=[_TEI],
    operation_id="text_embeddings_inference",
    responses=answers(TextOrBatchLabelScores, 400, 413, 415, 422, 503, 504),
)
@limit_concurrency
def text_embeddings_inference(body: EmbeddingsPredictRequest) -> Response:
    """Answer as text-embeddings-inference's /predict does."""
    kind = _kind(body.inputs)
    if kind == A_TEXT:
        texts, places = [str(body.inputs)], ["#/inputs"]
    elif kind == A_LIST:
        texts, places = [str(body.inputs[0])], ["#/inputs/0"]
    else:
        texts = [each[0] for each in body.inputs]
        places = _places("#/inputs/{}/0", texts)
    function = "none" if body.raw_scores else "softmax"
    scores = [_scores(each, function) for each in answer_all(texts, places)]
    return json_of(BatchLabelScores(scores) if kind == A_BATCH else LabelScores(scores[0]))


def _places(pattern: str, texts: Iterable[object]) -> list[str]:
    return [pattern.format(n) for n, _ in enumerate(texts)]


def _scores(prediction: Prediction, function: str | None) -> list[LabelScore]:
    """Return the labels of `prediction` with their scores, best first.

    The logits are those after calibration, less their mean, so that their softmax is the
    probabilities.
    """
    scores = np.array(list(prediction.probabilities.values()))
    if function in ("none", "sigmoid"):
        scores = np.log(np.maximum(scores, np.finfo(np.float64).tiny))
        scores -= scores.mean()
    if function == "sigmoid":
        scores = 1 / (1 + np.exp(-scores))
    found = zip(prediction.probabilities, scores.tolist(), strict=True)
    return sorted(
        (LabelScore(label=label, score=score) for label, score in found),
        key=lambda each: -each.score,
    )


class SentenceQuery(BaseModel):
    """The starting system's query."""

    sentence: Text


class SentenceScores(ResponseModel):
    """Strings, all of them."""

    positive: str
    negative: str
    sentence: str
    time_taken: str = Field(description="In seconds.")


class SentenceResponse(ResponseModel):
    """The starting system's answer."""

    response: SentenceScores


@blueprint.get(
    "/predict",
    tags=[_STARTING_SYSTEM],
    operation_id="starting_system",
    responses=answers(SentenceResponse, 400, 404, 422, 503, 504),
)
@limit_concurrency
def starting_system(query: SentenceQuery) -> Response:
    """Answer as the starting system does: all strings."""
    started = time.perf_counter()
    if set(classifier().labels) != {"positive", "negative"}:
        raise NotFound("this model has other labels than positive and negative: POST /v1/predict")
    prediction = answer_all([query.sentence], ["?sentence"])[0]
    return json_of(
        SentenceResponse(
            response=SentenceScores(
                positive=str(prediction.positive),
                negative=str(prediction.negative),
                sentence=query.sentence,
                time_taken=str(time.perf_counter() - started),
            )
        )
    )
