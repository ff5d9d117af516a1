import threading
import time

import pytest

from reelsense.bundle import Bundle
from reelsense.server import create_app
from tests import tiny
from tests.server.conftest import wait_until_ready


def test_not_ready_until_the_model_has_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = threading.Event()

    def slow(bundle: Bundle, *, remembered: int) -> object:
        assert loaded.wait(10)
        return tiny.classifier()

    monkeypatch.setattr("reelsense.server.served.Classifier", slow)
    client = create_app(model=tiny.bundle()).test_client()
    assert client.get("/healthz").get_json() == {"status": "ok"}
    for answer in (client.get("/readyz"), client.post("/v1/predict", json={"text": "good"})):
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"
        assert "being loaded" in answer.get_data(as_text=True)
    loaded.set()
    wait_until_ready(client)
    assert client.get("/readyz").get_json()["model"]["name"] == "tiny"
    assert client.post("/v1/predict", json={"text": "good"}).status_code == 200


def test_a_model_that_cannot_be_loaded_is_told(caplog: pytest.LogCaptureFixture) -> None:
    client = create_app(model=tiny.bundle(network=b"no network")).test_client()
    deadline = time.monotonic() + 10
    while "could not be loaded" not in client.get("/readyz").get_data(as_text=True):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    assert "the network cannot be read" in caplog.text
