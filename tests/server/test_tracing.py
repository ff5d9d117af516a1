import logging
import re
import threading

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from numpy.typing import NDArray

from reelsense.inference.classifier import Classifier
from reelsense.server import create_app
from reelsense.server.config import Settings
from reelsense.server.tracing import log_settings
from tests import tiny
from tests.server.conftest import wait_until_ready


def test_a_request_id_is_taken_or_made(client: FlaskClient) -> None:
    given = {"X-Request-ID": "shop-7:check/42"}
    for path in ("/healthz", "/nothing", "/static/page.css"):
        with client.get(path, headers=given) as answer:
            assert answer.headers["X-Request-ID"] == "shop-7:check/42"
    problem = client.post("/v1/predict", json={}, headers=given).get_json()
    assert problem["request_id"] == "shop-7:check/42"
    made = {client.get("/healthz").headers["X-Request-ID"] for _ in range(5)}
    assert len(made) == 5
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in made)


@pytest.mark.parametrize("forged", ["", "a" * 129, "two words", "é", 'x"y', "[INFO]"])
def test_an_id_that_could_forge_a_log_line_is_not_taken(client: FlaskClient, forged: str) -> None:
    made = client.get("/healthz", headers={"X-Request-ID": forged}).headers["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{32}", made)


def test_the_time_of_an_answer_is_told_by_phase(client: FlaskClient) -> None:
    for path, body in (
        ("/v1/predict", {"text": "good"}),
        ("/predict", {"inputs": "good"}),
        ("/models/default", {"inputs": "good"}),
    ):
        timing = client.post(path, json=body).headers["Server-Timing"]
        found = re.fullmatch(
            r"queue;dur=([\d.]+), tokenize;dur=([\d.]+), network;dur=([\d.]+)", timing
        )
        assert found
        assert float(found[3]) > 0
    assert "Server-Timing" not in client.get("/healthz").headers


def test_every_log_line_has_the_id_and_none_has_the_text(
    client: FlaskClient, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = log_settings("info")
    handler = logging.StreamHandler()
    handler.addFilter(settings["filters"]["request_id"]["()"]())
    handler.setFormatter(logging.Formatter(settings["formatters"]["line"]["format"]))
    root = logging.getLogger()
    caplog.set_level("INFO")
    root.addHandler(handler)
    try:
        headers = {"X-Request-ID": "id-1"}
        client.get("/predict?sentence=secret", headers=headers)
        client.post("/v1/predict", json={"text": "secret"}, headers=headers)
        client.get("/no%0Athing", headers=headers)
        client.get("/healthz", headers=headers)
    finally:
        root.removeHandler(handler)
    lines = capfd.readouterr().err.splitlines()
    assert [line.split("] ")[1].rsplit(" ", 2)[0] for line in lines] == [
        "GET /predict 200",
        "POST /v1/predict 200",
        "GET /no%0Athing 404",
    ]
    assert all("[id-1]" in line and "secret" not in line for line in lines)


def stuck() -> tuple[Flask, threading.Event]:
    """An application whose network waits for the event, but for the first texts."""
    go_on = threading.Event()
    calls: list[int] = []

    def network(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        calls.append(len(ids))
        assert len(calls) == 1 or go_on.wait(20)
        return tiny.count_moods(ids, mask)

    app = create_app(Settings(deadline=0.2), Classifier(tiny.bundle(), network=network))
    return app, go_on


def test_a_request_is_given_up_at_its_deadline() -> None:
    app, go_on = stuck()
    client = app.test_client()
    wait_until_ready(client)
    answer = client.post("/v1/predict", json={"text": "good"})
    assert answer.status_code == 504
    assert answer.get_json()["code"] == "deadline-exceeded"
    assert "0.2 seconds" in answer.get_json()["detail"]
    go_on.set()
    assert client.post("/v1/predict", json={"text": "good"}).status_code == 200
