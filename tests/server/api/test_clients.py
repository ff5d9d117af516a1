"""Client libraries of other servers work unchanged."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest
import requests
import tritonclient.http as triton
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from tritonclient.utils import InferenceServerException
from werkzeug.serving import make_server

from reelsense.server.app import create_app
from reelsense.server.settings import Settings
from tests import tiny
from tests.server.conftest import wait_until_ready

# The probabilities of a text with one positive word.
POSITIVE: Any = pytest.approx(0.8808, abs=1e-4)
NEGATIVE: Any = pytest.approx(0.1192, abs=1e-4)

Function = Literal["softmax", "sigmoid", "none"]


def post(url: str, body: Any) -> requests.Response:
    return requests.post(url, json=body, timeout=10)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    app = create_app(Settings(max_texts=4), tiny.classifier())
    wait_until_ready(app.test_client())
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_hugging_face(address: str) -> None:
    client = InferenceClient(model=f"{address}/models/default")
    labels = client.text_classification("a good film")
    assert [(label.label, label.score) for label in labels] == [
        ("positive", POSITIVE),
        ("negative", NEGATIVE),
    ]
    assert [label.label for label in client.text_classification("bad", top_k=1)] == ["negative"]
    functions: tuple[Function, ...] = ("softmax", "none", "sigmoid")
    scores = [
        client.text_classification("good", function_to_apply=function)[0].score
        for function in functions
    ]
    assert scores == pytest.approx([0.8808, 1, 0.7311], abs=1e-4)
    with pytest.raises(HfHubHTTPError, match="should not be blank"):
        client.text_classification(" ")


def test_hugging_face_batches(address: str) -> None:
    url = f"{address}/models/default"
    body = {"inputs": ["good", "bad"], "options": {"wait_for_model": True}}
    results = post(url, body).json()
    assert [labels[0]["label"] for labels in results] == ["positive", "negative"]
    response = post(url, {"inputs": ["good", 3], "parameters": {"top_k": 0}})
    assert [error["pointer"] for error in response.json()["errors"]] == [
        "#/inputs/1",
        "#/parameters/top_k",
    ]


EMBEDDINGS_ROUTES = ("/predict", "/", "/invocations")


@pytest.mark.parametrize("path", EMBEDDINGS_ROUTES)
def test_text_embeddings_inference(address: str, path: str) -> None:
    def predict(**body: object) -> requests.Response:
        return post(f"{address}{path}", body)

    one = [{"label": "positive", "score": POSITIVE}, {"label": "negative", "score": NEGATIVE}]
    assert predict(inputs="a good film").json() == one
    assert predict(inputs=["a good film"]).json() == one
    assert predict(inputs="a good film", truncate=True, truncation_direction="Left").json() == one
    batch = predict(inputs=[["a good film"], ["a bad film"]]).json()
    assert batch[0] == one
    assert [label["label"] for label in batch[1]] == ["negative", "positive"]
    flat = predict(inputs=["a good film", "a bad film", "a good film"]).json()
    assert flat == [*batch, one]
    raw = predict(inputs="a good film", raw_scores=True).json()
    assert [label["score"] for label in raw] == pytest.approx([1, -1])


@pytest.mark.parametrize(
    ("inputs", "pointer", "code"),
    [
        (["good", "bad"], "#/inputs", "pair"),
        ([["good"], ["good", "bad"]], "#/inputs/1", "pair"),
        ([["good"], [" "]], "#/inputs/1/0", "blank"),
        ([["good"], ["\u200b"]], "#/inputs/1/0", "unreadable"),
        ([["good"], "bad"], "#/inputs/1", "wrong-type"),
        (["good", "bad", " "], "#/inputs/2", "blank"),
        (["good", "bad", "\u200b"], "#/inputs/2", "unreadable"),
        (["good", "bad", ["good"]], "#/inputs/2", "wrong-type"),
        (["good"] * 5, "#/inputs", "too-many"),
        ([["good"]] * 5, "#/inputs", "too-many"),
        ([], "#/inputs", "wrong-value"),
        (7, "#/inputs", "wrong-type"),
        (None, "#/inputs", "wrong-type"),
    ],
)
def test_text_embeddings_inference_errors(
    address: str, inputs: object, pointer: str, code: str
) -> None:
    for path in EMBEDDINGS_ROUTES:
        answer = post(f"{address}{path}", {"inputs": inputs})
        assert answer.status_code == 422
        body = answer.json()
        assert [(error["pointer"], error["code"]) for error in body["errors"]] == [(pointer, code)]
        assert body["error"] == body["detail"]
        assert body["error_type"] == "validation"


@pytest.mark.parametrize("path", ["/v1/classify", "/classify"])
def test_vllm_classify(address: str, path: str) -> None:
    """With requests, as in vLLM's example client."""

    def classify(**body: object) -> requests.Response:
        return post(f"{address}{path}", body)

    answer = classify(model="x", input=["a good film", "bad"], priority=3).json()
    assert re.fullmatch(r"classify-\w+", answer.pop("id"))
    assert time.time() - 60 < answer.pop("created") < time.time() + 1
    data = answer.pop("data")
    assert answer == {
        "object": "list",
        "model": "tiny",
        "usage": {"prompt_tokens": 4, "total_tokens": 4, "completion_tokens": 0},
    }
    assert data == [
        {"index": 0, "label": "positive", "probs": [NEGATIVE, POSITIVE], "num_classes": 2},
        {"index": 1, "label": "negative", "probs": [POSITIVE, NEGATIVE], "num_classes": 2},
    ]
    assert classify(input="a good film").json()["data"] == data[:1]
    [logits] = classify(input="a good film", use_activation=False).json()["data"]
    assert logits["probs"] == pytest.approx([-1, 1])


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({}, "#/input", "missing"),
        ({"input": []}, "#/input", "wrong-value"),
        ({"input": [1, 2]}, "#/input/0", "wrong-type"),
        ({"input": [[1, 2]]}, "#/input/0", "wrong-type"),
        ({"input": ["good", " "]}, "#/input/1", "blank"),
        ({"input": "\u200b"}, "#/input", "unreadable"),
        ({"input": ["good"] * 5}, "#/input", "too-many"),
        ({"input": "good", "model": 3}, "#/model", "wrong-type"),
    ],
)
def test_vllm_classify_errors(address: str, body: object, pointer: str, code: str) -> None:
    answer = post(f"{address}/v1/classify", body)
    assert answer.status_code == 422
    found = [(error["pointer"], error["code"]) for error in answer.json()["errors"]]
    assert found[0] == (pointer, code)


def test_root_is_a_page_for_get_and_json_for_post(address: str) -> None:
    page = requests.get(f"{address}/", timeout=10)
    assert page.headers["Content-Type"].startswith("text/html")
    answer = requests.post(f"{address}/", data={"text": "good"}, timeout=10)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type")


def infer(address: str, texts: list[str], **more: object) -> triton.InferResult:
    tensor = triton.InferInput("text", [len(texts)], "BYTES")
    tensor.set_data_from_numpy(np.array(texts, dtype=np.object_), binary_data=False)
    with triton.InferenceServerClient(address.removeprefix("http://")) as client:
        return client.infer("default", [tensor], **more)


def test_open_inference_protocol(address: str) -> None:
    with triton.InferenceServerClient(address.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("default")
        assert not client.is_model_ready("another")
        assert client.get_server_metadata()["name"] == "reelsense"
        metadata = client.get_model_metadata("default")
    assert metadata["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    result = infer(address, ["a good film", "a bad film"], request_id="42")
    assert result.get_response()["id"] == "42"
    assert result.as_numpy("label").tolist() == ["positive", "negative"]
    assert result.as_numpy("verdict").tolist() == ["positive", "negative"]
    assert result.as_numpy("score").tolist() == [POSITIVE, POSITIVE]
    assert result.as_numpy("probabilities").tolist() == [[NEGATIVE, POSITIVE], [POSITIVE, NEGATIVE]]
    described = [(output["name"], output["datatype"]) for output in metadata["outputs"]]
    outputs = result.get_response()["outputs"]
    assert [(output["name"], output["datatype"]) for output in outputs] == described
    assert [output["shape"] for output in metadata["outputs"]] == [[-1], [-1], [-1], [-1, 2]]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_tritonclient_may_compress_requests(address: str, algorithm: str) -> None:
    result = infer(address, ["a good film", "bad"], request_compression_algorithm=algorithm)
    assert result.as_numpy("label").tolist() == ["positive", "negative"]


def test_open_inference_returns_requested_outputs(address: str) -> None:
    outputs = [triton.InferRequestedOutput("score", binary_data=False)]
    response = infer(address, ["good"], outputs=outputs).get_response()
    assert [output["name"] for output in response["outputs"]] == ["score"]
    with pytest.raises(InferenceServerException, match="outputs/0/name"):
        infer(address, ["good"], outputs=[triton.InferRequestedOutput("mood")])


def test_open_inference_protocol_errors(address: str) -> None:
    with pytest.raises(InferenceServerException, match="inputs/0/data/1: should not be blank"):
        infer(address, ["good", " "])
    with triton.InferenceServerClient(address.removeprefix("http://")) as client:
        tensor = triton.InferInput("text", [1], "BYTES")
        tensor.set_data_from_numpy(np.array(["good"], dtype=np.object_))
        with pytest.raises(InferenceServerException, match="binary_data=False"):
            client.infer("default", [tensor])


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"shape": [3]}, "#/inputs/0"),
        ({"shape": [1e300]}, "#/inputs/0/shape/0"),
        ({"shape": [2**62] * 9}, "#/inputs/0/shape"),
        ({"datatype": "FP32"}, "#/inputs/0/datatype"),
        ({"data": ["good", 1]}, "#/inputs/0/data/1"),
        ({"data": [["good"], ["bad", "bad"]]}, "#/inputs/0/data/1"),
        ({"data": ["good"] * 5}, "#/inputs/0/data"),
        ({"name": None}, "#/inputs/0/name"),
    ],
)
def test_open_inference_reports_invalid_fields(
    address: str, change: dict[str, object], pointer: str
) -> None:
    tensor = {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["good", "bad"]}
    url = f"{address}/v2/models/default/infer"
    assert post(url, {"inputs": [tensor]}).status_code == 200
    rows = tensor | {"shape": [2, 1], "data": [["good"], ["bad"]]}
    assert post(url, {"inputs": [rows]}).status_code == 200
    answer = post(url, {"inputs": [tensor | change]})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_open_inference_returns_repeated_output_once(address: str) -> None:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["good"]}
    url = f"{address}/v2/models/default/infer"
    outputs = [{"name": name} for name in ("score", "label", "score")]
    answer = post(url, {"inputs": [tensor], "outputs": outputs, "id": "half \ud83d"}).json()
    assert [output["name"] for output in answer["outputs"]] == ["score", "label"]
    assert answer["id"] == "half \ufffd"
    answer = post(url, {"inputs": [tensor], "outputs": outputs * 2})
    assert [error["pointer"] for error in answer.json()["errors"]] == ["#/outputs"]


def test_tritonclient_reports_unknown_model(address: str) -> None:
    with triton.InferenceServerClient(address.removeprefix("http://")) as client:
        tensor = triton.InferInput("text", [1], "BYTES")
        tensor.set_data_from_numpy(np.array(["good"], dtype=np.object_), binary_data=False)
        for name, version, message in (("other", "", "no model"), ("default", "1", "/v1/models")):
            with pytest.raises(InferenceServerException, match=message):
                client.infer(name, [tensor], model_version=version)
