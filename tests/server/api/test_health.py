import logging
import threading
import time

import pytest
from flask import Flask
from flask.testing import FlaskClient

from reelsense.bundle import Bundle
from reelsense.inference.classifier import Classifier
from reelsense.server.app import create_app
from reelsense.server.settings import Settings
from tests import tiny
from tests.server.conftest import BundleSource, wait_until_ready
from tests.waiting import wait_until


def test_ready_after_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = threading.Event()

    def slow(bundle: Bundle, *_: object) -> Classifier:
        assert loaded.wait(10)
        return tiny.classifier()

    monkeypatch.setattr("tests.server.conftest.create_classifier", slow)
    client = create_app(Settings(deadline=0.1), BundleSource(tiny.bundle())).test_client()
    assert client.get("/healthz").get_json() == {"status": "ok"}
    for answer in (
        client.get("/readyz"),
        client.get("/startedz"),
        client.post("/v1/predict", json={"text": "good"}),
    ):
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"
        assert "being loaded" in answer.get_data(as_text=True)
    loaded.set()
    wait_until_ready(client)
    assert client.get("/readyz").get_json()["model"]["name"] == "tiny"
    assert client.get("/startedz").status_code == 200
    assert client.post("/v1/predict", json={"text": "good"}).status_code == 200


def test_requests_wait_for_loading_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(bundle: Bundle, *_: object) -> Classifier:
        time.sleep(0.3)
        return tiny.classifier()

    monkeypatch.setattr("tests.server.conftest.create_classifier", slow)
    client = create_app(model=BundleSource(tiny.bundle())).test_client()
    assert client.post("/v1/predict", json={"text": "good"}).status_code == 200


def test_draining_server_is_alive_but_not_ready(app: Flask, client: FlaskClient) -> None:
    app.extensions["reelsense"].models.draining = True
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "shutting down" in answer.get_json()["detail"]
    assert client.get("/healthz").status_code == 200
    assert client.get("/startedz").status_code == 200
    assert client.post("/v1/predict", json={"text": "good"}).status_code == 200


def test_readyz_reports_load_error(caplog: pytest.LogCaptureFixture) -> None:
    client = create_app(model=BundleSource(tiny.bundle(network=b"no network"))).test_client()
    deadline = time.monotonic() + 10
    while "could not be loaded" not in client.get("/readyz").get_data(as_text=True):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    assert "the network cannot be read" in caplog.text


def test_log_reports_every_loaded_model(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    wait_until_ready(create_app(model=tiny.classifier()).test_client())
    wait_until(lambda: "serving tiny 0, loaded in" in caplog.text)
