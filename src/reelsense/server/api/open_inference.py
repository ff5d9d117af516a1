"""The Open Inference Protocol, version 2, for models with one input.

Does not support Triton's binary extension.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from flask import Response, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import ConfigDict, Discriminator, Field, model_validator
from pydantic_core import PydanticCustomError
from werkzeug.exceptions import UnsupportedMediaType

from reelsense import __version__
from reelsense.prediction import Prediction
from reelsense.server.api.constraints import WHOLE, AnyText, TextBatch, TextList, is_batch
from reelsense.server.api.openapi import json_response, json_responses
from reelsense.server.api.schemas import ModelPath, RequestModel
from reelsense.server.middleware.field_errors import A_BATCH, A_LIST, ResponseModel, optional
from reelsense.server.middleware.load_shedding import limit_concurrency
from reelsense.server.model_holder import classifier, select_model
from reelsense.server.scoring import answer_all

# https://github.com/kserve/open-inference-protocol
blueprint = APIBlueprint(
    "open_inference",
    __name__,
    url_prefix="/v2",
    abp_tags=[Tag(name="Open Inference Protocol v2", description="For KServe, Triton, MLServer.")],
)

OutputName = Literal["verdict", "label", "score", "probabilities"]


class ProtocolModel(RequestModel):
    """Base class of the request types of the protocol. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore")

    parameters: dict[str, Any] = optional("Ignored.")


class InferInput(ProtocolModel):
    """An input tensor: the texts."""

    name: str
    # Bounded, because the elements are multiplied.
    shape: Annotated[list[Annotated[int, Field(ge=0, lt=2**63), WHOLE]], Field(max_length=8)]
    datatype: Literal["BYTES"]
    data: Annotated[
        TextList | TextBatch,
        Discriminator(lambda value: A_BATCH if is_batch(value) else A_LIST),
    ] = Field(description='["...", "..."], or [["..."], ["..."]].')

    @model_validator(mode="after")
    def _check_shape(self) -> InferInput:
        if math.prod(self.shape) != len(self.data):
            raise PydanticCustomError(
                "wrong-shape",
                "shape should match data: {shape} texts are declared, {length} were sent",
                {"shape": math.prod(self.shape), "length": len(self.data)},
            )
        return self

    @property
    def texts(self) -> list[str]:
        """The texts as a flat list."""
        return [entry if isinstance(entry, str) else entry[0] for entry in self.data]

    @property
    def pointers(self) -> list[str]:
        """The JSON pointer to each text in the request."""
        suffix = "" if isinstance(self.data[0], str) else "/0"
        return [f"#/inputs/0/data/{n}{suffix}" for n in range(len(self.data))]


class InferRequestedOutput(ProtocolModel):
    """An output to return."""

    name: OutputName


_EXAMPLE: dict[str, Any] = {
    "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["A joy."]}]
}


class InferRequest(ProtocolModel):
    """Texts to classify."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: AnyText = optional("Returned in the response.")
    inputs: Annotated[list[InferInput], Field(min_length=1, max_length=1)]
    outputs: Annotated[list[InferRequestedOutput], Field(max_length=len(get_args(OutputName)))] = (
        optional("The outputs to return. Default: all.")
    )


class Tensor(ResponseModel):
    """Name, type and shape of an input or output."""

    name: str
    datatype: str
    shape: list[int]


class InferOutput(Tensor):
    """An output tensor, flattened in row-major order."""

    data: list[str] | list[float]


class InferResponse(ResponseModel):
    """The requested outputs."""

    model_name: str
    model_version: str
    id: str = optional("The id of the request.")
    outputs: list[InferOutput]


class ModelMetadata(ResponseModel):
    """Inputs and outputs of the model. In shapes, -1 is any number."""

    name: str
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]


class ServerMetadata(ResponseModel):
    """Name and version of the server."""

    name: str
    version: str
    extensions: list[str]


class LiveResponse(ResponseModel):
    """Liveness."""

    live: bool


class ServerReadyResponse(ResponseModel):
    """Readiness of the server."""

    ready: bool


class ModelReadyResponse(ServerReadyResponse):
    """Readiness of the model."""

    name: str


@blueprint.get("", operation_id="v2_server", responses=json_responses(ServerMetadata))
def server() -> Response:
    """Return name and version of the server."""
    return json_response(ServerMetadata(name="reelsense", version=__version__, extensions=[]))


@blueprint.get(
    "/health/live", operation_id="v2_live", responses=json_responses(LiveResponse, keys=False)
)
def live() -> Response:
    """Liveness: 200 while the process runs."""
    return json_response(LiveResponse(live=True))


@blueprint.get(
    "/health/ready",
    operation_id="v2_ready",
    responses=json_responses(ServerReadyResponse, 503, keys=False),
)
def ready() -> Response:
    """Readiness of the server: 200 once the model is loaded, 503 before."""
    return json_response(ServerReadyResponse(ready=bool(classifier())))


@blueprint.get(
    "/models/<name>/ready",
    operation_id="v2_model_ready",
    responses=json_responses(ModelReadyResponse, 404, 503),
)
def model_ready(path: ModelPath) -> Response:
    """Readiness of the model: 200 once it is loaded, 503 before."""
    return json_response(ModelReadyResponse(name=path.name, ready=bool(select_model(path.name))))


@blueprint.get(
    "/models/<name>", operation_id="v2_model", responses=json_responses(ModelMetadata, 404, 503)
)
def model(path: ModelPath) -> Response:
    """Describe the inputs and outputs of the model."""
    outputs = _outputs([], select_model(path.name).labels)
    return json_response(
        ModelMetadata(
            name=path.name,
            platform="openvino",
            inputs=[Tensor(name="text", datatype="BYTES", shape=[-1])],
            outputs=[
                Tensor(name=output.name, datatype=output.datatype, shape=[-1, *output.shape[1:]])
                for output in outputs
            ],
        )
    )


@blueprint.post(
    "/models/<name>/infer",
    operation_id="v2_infer",
    responses=json_responses(InferResponse, 400, 404, 413, 415, 422, 503, 504),
)
@limit_concurrency
def infer(path: ModelPath, body: InferRequest) -> Response:
    """Classify texts. The columns of probabilities are in the order of the labels of the model."""
    manifest = select_model(path.name).manifest
    predictions = answer_all(body.inputs[0].texts, body.inputs[0].pointers)
    outputs = {output.name: output for output in _outputs(predictions, manifest.labels)}
    # A repeated name is returned once.
    names = dict.fromkeys(output.name for output in body.outputs) if body.outputs else outputs
    return json_response(
        InferResponse(
            model_name=path.name,
            model_version=manifest.version,
            **({"id": body.id} if "id" in body.model_fields_set else {}),
            outputs=[outputs[name] for name in names],
        )
    )


def _outputs(predictions: Sequence[Prediction], labels: Sequence[str]) -> list[InferOutput]:
    probabilities = [prediction.probabilities for prediction in predictions]
    tensors: list[tuple[OutputName, str, list[int], list[Any]]] = [
        ("verdict", "BYTES", [], [prediction.verdict for prediction in predictions]),
        ("label", "BYTES", [], [prediction.label for prediction in predictions]),
        ("score", "FP64", [], [prediction.score for prediction in predictions]),
        (
            "probabilities",
            "FP64",
            [len(labels)],
            [row[label] for row in probabilities for label in labels],
        ),
    ]
    return [
        InferOutput(name=name, datatype=datatype, shape=[len(predictions), *columns], data=data)
        for name, datatype, columns, data in tensors
    ]


@blueprint.before_request
def _reject_binary_tensors() -> None:
    if request.method == "POST" and "Inference-Header-Content-Length" in request.headers:
        raise UnsupportedMediaType(
            "binary tensors are not supported: send the texts as JSON (tritonclient: "
            "set_data_from_numpy(..., binary_data=False))"
        )
