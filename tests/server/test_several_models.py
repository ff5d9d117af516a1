"""A server with two models: requests select one by its name."""

import subprocess
import sys
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from reelsense import Classifier
from reelsense.bundle import write_bundle
from reelsense.errors import BundleError, SettingsError
from reelsense.server.app import create_app
from reelsense.server.model_source import (
    FixedSource,
    FolderSource,
    as_setting,
    folder_sources,
    model_folders,
)
from reelsense.server.settings import Settings
from tests import any_labels, tiny, tiny_network
from tests.processes import ask, server
from tests.server.conftest import ChangingSource, Make, wait_until_ready
from tests.server.middleware.test_metrics import read_samples
from tests.waiting import wait_until


def sources() -> dict[str, FixedSource]:
    tickets = Classifier(any_labels.bundle())
    return {"films": FixedSource(tiny.classifier()), "tickets": FixedSource(tickets)}


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    client = create_app(Settings(max_jobs=0), sources()).test_client()
    wait_until_ready(client)
    return client


def test_models_are_listed_with_the_default_first(client: FlaskClient) -> None:
    films, tickets = client.get("/v1/models").get_json()["data"]
    assert (films["id"], films["name"], films["labels"]) == (
        "films",
        "tiny",
        ["negative", "positive"],
    )
    assert (tickets["id"], tickets["labels"]) == ("tickets", ["billing", "bug", "praise"])
    assert films["object"] == "model"
    assert films["created"] > 1_700_000_000


@pytest.mark.parametrize(("model", "label"), [(None, "positive"), ("films", "positive")])
def test_predict_uses_the_default_model(client: FlaskClient, model: str | None, label: str) -> None:
    answer = client.post("/v1/predict", json={"text": "great crash", "model": model})
    assert answer.get_json()["model"]["name"] == "tiny"
    assert answer.get_json()["predictions"][0]["label"] == label


def test_predict_and_explain_use_the_model_of_the_request(client: FlaskClient) -> None:
    body = {"text": "a crash and an error", "model": "tickets"}
    answer = client.post("/v1/predict", json=body).get_json()
    assert (answer["model"]["name"], answer["predictions"][0]["label"]) == ("tickets", "bug")
    explained = client.post("/v1/explain", json=body).get_json()
    assert (explained["model"]["name"], explained["prediction"]["label"]) == ("tickets", "bug")
    # The next request gets the default model again.
    assert (
        client.post("/v1/predict", json={"text": "a crash"}).get_json()["model"]["name"] == "tiny"
    )


def test_feedback_has_the_labels_of_its_model(make: Make) -> None:
    client = make(sources(), start=False, keep_predictions="all").test_client()
    body = {"text": "a crash and an error", "model": "tickets"}
    answer = client.post("/v1/predict", json=body).get_json()
    feedback = {"prediction_id": answer["predictions"][0]["prediction_id"], "label": "praise"}
    assert client.post("/v1/feedback", json=feedback).status_code == 422
    stored = client.post("/v1/feedback", json=feedback | {"model": "tickets"}).get_json()
    assert (stored["label"], stored["predicted"]["label"]) == ("praise", "bug")


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/explain", "/v1/feedback"])
def test_unknown_model_is_rejected(client: FlaskClient, path: str) -> None:
    label = {"label": "positive"} if path == "/v1/feedback" else {}
    answer = client.post(path, json={"text": "good", "model": "songs"} | label)
    assert (answer.status_code, answer.get_json()["code"]) == (404, "not-found")


def test_other_interfaces_select_models_by_name(client: FlaskClient) -> None:
    scores = client.post("/models/tickets", json={"inputs": "crash error"}).get_json()
    assert scores[0][0]["label"] == "bug"
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["crash error"]}
    inferred = client.post("/v2/models/tickets/infer", json={"inputs": [tensor]}).get_json()
    assert (inferred["model_name"], inferred["outputs"][1]["data"]) == ("tickets", ["bug"])
    outputs = client.get("/v2/models/tickets").get_json()["outputs"]
    assert outputs[3]["shape"] == [-1, 3]
    assert client.get("/v2/models/films/ready").get_json() == {"ready": True, "name": "films"}
    for model, name in (("tickets", "tickets"), ("films", "tiny"), ("gpt", "tiny")):
        body = {"model": model, "input": "great error"}
        assert client.post("/v1/classify", json=body).get_json()["model"] == name


@pytest.mark.parametrize("path", ["/models/songs", "/v2/models/songs/infer"])
def test_unknown_model_in_the_path_is_not_found(client: FlaskClient, path: str) -> None:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["crash"]}
    answer = client.post(path, json={"inputs": [tensor] if "v2" in path else "crash"})
    assert (answer.status_code, answer.get_json()["code"]) == (404, "not-found")


def test_metrics_name_the_model(client: FlaskClient) -> None:
    before = read_samples(client)("predictions_total", model="tickets")
    client.post("/v1/predict", json={"text": "crash", "model": "tickets"})
    samples = read_samples(client)
    assert samples("predictions_total", model="tickets") == before + 1
    assert samples.labels("model_info", "model") == {"films", "tickets"}
    assert samples("workers", state="ready") == 1


def test_models_are_replaced_individually() -> None:
    first, second = ChangingSource(tiny.classifier()), ChangingSource(tiny.classifier())
    app = create_app(Settings(max_jobs=0), {"a": first, "b": second})
    client = app.test_client()
    wait_until_ready(client)
    models = app.extensions["reelsense"].models.holders
    unchanged = models["a"].classifier()
    second.classifier = tiny.cautious_classifier()
    wait_until(lambda: models["b"].classifier() is second.classifier)
    assert models["a"].classifier() is unchanged


def test_server_is_ready_once_all_models_are_loaded() -> None:
    class BrokenSource(ChangingSource):
        def load(self, on_batch: object) -> Classifier:
            raise BundleError("damaged")

    good, broken = FixedSource(tiny.classifier()), BrokenSource(tiny.classifier())
    app = create_app(Settings(max_jobs=0), {"good": good, "broken": broken})
    models = app.extensions["reelsense"].models.holders
    for holder in models.values():
        holder._load_attempted.wait(10)
    client = app.test_client()
    assert client.get("/readyz").status_code == 503
    assert client.post("/v1/predict", json={"text": "good"}).status_code == 200
    answer = client.post("/v1/predict", json={"text": "good", "model": "broken"})
    assert answer.status_code == 503
    listed = client.get("/v1/models").get_json()["data"]
    assert ["version" in model for model in listed] == [True, False]


def test_model_setting_names_one_model_or_several(tmp_path: Path) -> None:
    for name in ("a", "b=c"):
        tiny_network.write(tmp_path / name, name)
    a = tmp_path / "a"
    assert model_folders(Settings(model=str(a))) == {"default": a}
    assert model_folders(Settings(model=f"films={a}")) == {"films": a}
    several = model_folders(Settings(model=f"x={a}, y={tmp_path}/b=c"))
    assert several == {"x": a, "y": tmp_path / "b=c"}
    assert model_folders(Settings(model=as_setting(several))) == several
    # A folder whose path contains the character is not a name.
    assert model_folders(Settings(model=f"{tmp_path}/b=c")) == {"default": tmp_path / "b=c"}
    with pytest.raises(SettingsError):
        model_folders(Settings(model=f"x={a},x={a}"))


def test_models_of_a_process_share_cores_and_cache(tmp_path: Path) -> None:
    for name in ("a", "b"):
        tiny_network.write(tmp_path / name, name)
    sources = folder_sources(Settings(model=f"a={tmp_path}/a,b={tmp_path}/b", cache_size=10))
    a, b = sources.values()
    assert isinstance(a, FolderSource)
    assert isinstance(b, FolderSource)
    assert a._cores is b._cores is not None
    assert a._settings.cache_size == 5


@pytest.mark.slow
def test_serve_offers_several_models(tmp_path: Path) -> None:
    write_bundle(tmp_path / "tickets", any_labels.bundle())
    tiny_network.write(tmp_path / "films", "films")
    arguments = [f"--model=films={tmp_path / 'films'}", f"--model=tickets={tmp_path / 'tickets'}"]
    with server(*arguments, "--workers=2") as (address, _):
        body = {"text": "a crash", "model": "tickets"}
        answer = ask(f"{address}/v1/predict", body)
        assert answer.body["predictions"][0]["label"] == "bug"
        listed = ask(f"{address}/v1/models").body["data"]
        assert [model["id"] for model in listed] == ["films", "tickets"]


def test_several_models_without_names_are_a_usage_error() -> None:
    command = [sys.executable, "-m", "reelsense", "serve", "--model=a", "--model=b"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert result.returncode == 2
    assert "NAME=MODEL" in result.stderr
