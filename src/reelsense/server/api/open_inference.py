"""The Open Inference Protocol, version 2, over REST: KServe's, Triton's and MLServer's clients.

https://github.com/kserve/open-inference-protocol: one model, default, with one input of texts. The
binary extension of Triton is not spoken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from flask import Response, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import ConfigDict, Discriminator, Field, model_validator
from pydantic import Tag as Choice
from pydantic_core import PydanticCustomError
from werkzeug.exceptions import UnsupportedMediaType

from reelsense import __version__
from reelsense.bundle import Manifest
from reelsense.prediction import Prediction
from reelsense.server.api.openapi import answers, json_of
from reelsense.server.api.schemas import WHOLE, AnyText, MaxLength, RequestModel, Text
from reelsense.server.middleware.load_shedding import limit_concurrency
from reelsense.server.middleware.wire_models import A_BATCH, A_LIST, ResponseModel, optional
from reelsense.server.model_holder import classifier
from reelsense.server.scoring import answer_all

NAME = "default"
"""What the one model is called."""

blueprint = APIBlueprint(
    "open_inference",
    __name__,
    url_prefix="/v2",
    abp_tags=[Tag(name="Open Inference Protocol v2", description="For KServe, Triton, MLServer.")],
)

_Output = Literal["verdict", "label", "score", "probabilities"]
_EachOnce = Field(max_length=len(get_args(_Output)))


class _Lenient(RequestModel):
    model_config = ConfigDict(extra="ignore")

    parameters: dict[str, Any] = optional("Let pass unread.")


class InferInput(_Lenient):
    """The texts."""

    name: str
    # Bounded, because its product is taken.
    shape: Annotated[list[Annotated[int, Field(ge=0, lt=2**63), WHOLE]], Field(max_length=8)]
    datatype: Literal["BYTES"]
    data: Annotated[
        Annotated[list[Text], Field(min_length=1), MaxLength("max_texts"), Choice(A_LIST)]
        | Annotated[
            list[Annotated[list[Text], Field(min_length=1, max_length=1)]],
            Field(min_length=1),
            MaxLength("max_texts"),
            Choice(A_BATCH),
        ],
        Discriminator(
            lambda value: (
                A_BATCH
                if isinstance(value, list) and value and isinstance(value[0], list)
                else A_LIST
            )
        ),
    ] = Field(description='["...", "..."], or [["..."], ["..."]].')

    @model_validator(mode="after")
    def _shape_fits(self) -> InferInput:
        if math.prod(self.shape) != len(self.data):
            raise PydanticCustomError(
                "wrong-shape",
                "shape says {shape} texts, but data has {found}",
                {"shape": math.prod(self.shape), "found": len(self.data)},
            )
        return self

    @property
    def texts(self) -> list[str]:
        """The texts, one after the other."""
        return [each if isinstance(each, str) else each[0] for each in self.data]

    @property
    def pointers(self) -> list[str]:
        """Where they are in the request."""
        place = "#/inputs/0/data/{}" if isinstance(self.data[0], str) else "#/inputs/0/data/{}/0"
        return [place.format(n) for n in range(len(self.data))]


class InferRequestedOutput(_Lenient):
    """An output that is wanted."""

    name: _Output


class InferRequest(_Lenient):
    """Texts to judge."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "inputs": [
                        {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["A joy."]}
                    ]
                }
            ]
        }
    )

    id: AnyText = optional("Given back.")
    inputs: Annotated[list[InferInput], Field(min_length=1, max_length=1)]
    outputs: Annotated[list[InferRequestedOutput], _EachOnce] = optional("By default all.")


class Tensor(ResponseModel):
    """An input or output of the model."""

    name: str
    datatype: str
    shape: list[int]


class InferOutput(Tensor):
    """An output, flat: row by row."""

    data: list[str] | list[float]


class InferResponse(ResponseModel):
    """What was found."""

    model_name: str
    model_version: str
    id: str = optional("That of the request.")
    outputs: list[InferOutput]


class ModelMetadata(ResponseModel):
    """The model's inputs and outputs; -1 is any number."""

    name: str
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]


class ServerMetadata(ResponseModel):
    """What answers here."""

    name: str
    version: str
    extensions: list[str]


class Live(ResponseModel):
    """The process is alive."""

    live: bool


class Ready(ResponseModel):
    """The model has answered."""

    ready: bool


class ModelReady(Ready):
    """The model has answered."""

    name: str


@blueprint.get("", operation_id="v2_server", responses=answers(ServerMetadata))
def server() -> Response:
    """Say what answers here."""
    return json_of(ServerMetadata(name="reelsense", version=__version__, extensions=[]))


@blueprint.get("/health/live", operation_id="v2_live", responses=answers(Live, keys=False))
def live() -> Response:
    """Answer as long as the process is alive."""
    return json_of(Live(live=True))


@blueprint.get("/health/ready", operation_id="v2_ready", responses=answers(Ready, 503, keys=False))
def ready() -> Response:
    """Answer once the model is ready; 503 until then."""
    return json_of(Ready(ready=bool(classifier())))


@blueprint.get(
    f"/models/{NAME}/ready", operation_id="v2_model_ready", responses=answers(ModelReady, 503)
)
def model_ready() -> Response:
    """Answer once the model is ready; 503 until then."""
    return json_of(ModelReady(name=NAME, ready=bool(classifier())))


@blueprint.get(f"/models/{NAME}", operation_id="v2_model", responses=answers(ModelMetadata, 503))
def model() -> Response:
    """Describe the model's inputs and outputs."""
    labels = len(classifier().labels)
    return json_of(
        ModelMetadata(
            name=NAME,
            platform="openvino",
            inputs=[Tensor(name="text", datatype="BYTES", shape=[-1])],
            outputs=[
                Tensor(name="verdict", datatype="BYTES", shape=[-1]),
                Tensor(name="label", datatype="BYTES", shape=[-1]),
                Tensor(name="score", datatype="FP64", shape=[-1]),
                Tensor(name="probabilities", datatype="FP64", shape=[-1, labels]),
            ],
        )
    )


@blueprint.post(
    f"/models/{NAME}/infer",
    operation_id="v2_infer",
    responses=answers(InferResponse, 400, 413, 415, 422, 503, 504),
)
@limit_concurrency
def infer(body: InferRequest) -> Response:
    """Judge texts. The columns of probabilities are in the order of the model's labels."""
    manifest = classifier().manifest
    predictions = answer_all(body.inputs[0].texts, body.inputs[0].pointers)
    found = {output.name: output for output in _outputs(predictions, manifest)}
    # Each once, however often it is asked for.
    wanted = dict.fromkeys(output.name for output in body.outputs) if body.outputs else found
    return json_of(
        InferResponse(
            model_name=NAME,
            model_version=manifest.version,
            **({"id": body.id} if "id" in body.model_fields_set else {}),
            outputs=[found[name] for name in wanted],
        )
    )


def _outputs(predictions: Sequence[Prediction], manifest: Manifest) -> list[InferOutput]:
    count = len(predictions)
    rows = [[each.probabilities[label] for label in manifest.labels] for each in predictions]
    return [
        InferOutput(
            name="verdict",
            datatype="BYTES",
            shape=[count],
            data=[each.verdict for each in predictions],
        ),
        InferOutput(
            name="label", datatype="BYTES", shape=[count], data=[each.label for each in predictions]
        ),
        InferOutput(
            name="score", datatype="FP64", shape=[count], data=[each.score for each in predictions]
        ),
        InferOutput(
            name="probabilities",
            datatype="FP64",
            shape=[count, len(manifest.labels)],
            data=[share for row in rows for share in row],
        ),
    ]


@blueprint.before_request
def _no_binary() -> None:
    if request.method == "POST" and "Inference-Header-Content-Length" in request.headers:
        raise UnsupportedMediaType(
            "binary tensors are not understood here: send the texts as JSON (tritonclient: "
            "set_data_from_numpy(..., binary_data=False))"
        )
