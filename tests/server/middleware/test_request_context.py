import io
import json
import logging.config
import re
from collections.abc import Callable, Iterator

import pytest
from flask import Response
from flask.testing import FlaskClient
from structlog.contextvars import clear_contextvars

from reelsense.server.app import create_app
from reelsense.server.middleware import keys
from reelsense.server.middleware.logging import log_settings
from reelsense.server.settings import Settings
from tests import tiny
from tests.server.conftest import gated, wait_until_ready
from tests.server.listening import connect, listening, rest_of


def test_request_id_is_accepted_or_created(client: FlaskClient) -> None:
    given = {"X-Request-ID": "shop-7:check/42"}
    for path in ("/healthz", "/nothing", "/static/page.css"):
        with client.get(path, headers=given) as answer:
            assert answer.headers["X-Request-ID"] == "shop-7:check/42"
    problem = client.post("/v1/predict", json={}, headers=given).get_json()
    assert problem["request_id"] == "shop-7:check/42"
    made = {client.get("/healthz").headers["X-Request-ID"] for _ in range(5)}
    assert len(made) == 5
    assert all(re.fullmatch(r"[0-9a-f]{32}", request_id) for request_id in made)


@pytest.mark.parametrize("forged", ["", "a" * 129, "two words", "é", 'x"y', "[INFO]"])
def test_request_id_that_could_forge_log_line_is_replaced(client: FlaskClient, forged: str) -> None:
    made = client.get("/healthz", headers={"X-Request-ID": forged}).headers["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{32}", made)


def test_server_timing_lists_phases(client: FlaskClient) -> None:
    for path, body in (
        ("/v1/predict", {"text": "good"}),
        ("/predict", {"inputs": "good"}),
        ("/models/default", {"inputs": "good"}),
    ):
        timing = client.post(path, json=body).headers["Server-Timing"]
        phases = re.fullmatch(
            r"queue;dur=([\d.]+), tokenize;dur=([\d.]+), network;dur=([\d.]+)", timing
        )
        assert phases
        assert float(phases[3]) > 0
    assert "Server-Timing" not in client.get("/healthz").headers


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """Returns the lines of the log in the format json."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    logging.config.dictConfig(log_settings(Settings(log_format="json")))
    try:
        yield lambda: written.getvalue().splitlines()
    finally:
        root.handlers = before[0]
        root.setLevel(before[1])


def test_log_line_has_timings_but_no_text(
    client: FlaskClient, log: Callable[[], list[str]]
) -> None:
    headers = {"X-Request-ID": "id-1"}
    client.get("/predict?sentence=secret", headers=headers)
    client.post("/v1/predict", json={"text": "secret"}, headers=headers)
    client.get("/no%0Athing", headers=headers)
    client.get("/healthz", headers=headers)
    lines = log()
    assert "secret" not in "".join(lines)
    entries = [json.loads(line) for line in lines]
    assert [line["event"] for line in entries] == [
        "GET /predict 200",
        "POST /v1/predict 200",
        "GET /no%0Athing 404",
    ]
    assert all(line["request_id"] == "id-1" and line["level"] == "info" for line in entries)
    assert all(line["ms"] > 0 for line in entries)
    facts = {"queue_ms", "tokenize_ms", "network_ms"}
    assert [facts <= set(line) for line in entries] == [True, True, False]
    assert [line.get("model") for line in entries] == ["0", "0", None]


def test_log_of_interrupted_response_cuts_job_id(
    log: Callable[[], list[str]],
) -> None:
    app = create_app(model=tiny.classifier())

    def broken(**_: str) -> Response:
        return Response(str(1 / 0) for _ in "x")

    app.view_functions["jobs.result"] = broken
    with listening(app) as (port, _), connect(port) as connection:
        connection.sendall(
            b"GET /v1/jobs/0123456789abcdefABCDEF/result HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        rest_of(connection)
    text = "\n".join(log())
    assert "Exception while serving /v1/jobs/012345.../result" in text
    assert "0123456" not in text


def test_log_line_shortens_long_path(client: FlaskClient, log: Callable[[], list[str]]) -> None:
    client.get("/" + "é" * 100_000)
    (line,) = log()
    assert json.loads(line)["event"].endswith("%C3%A9... 404")
    assert len(line) < 2000


def test_log_texts_setting_adds_texts(log: Callable[[], list[str]]) -> None:
    client = create_app(Settings(log_texts=True), tiny.classifier()).test_client()
    wait_until_ready(client)
    client.post("/v1/predict", json={"texts": ["good", "bad"]})
    assert json.loads(log()[-1])["texts"] == ["good", "bad"]


def test_log_has_key_name_and_traceback(
    log: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, key = keys.make("shop")
    settings = Settings.model_validate({"keys": key.line()})
    client = create_app(settings, tiny.classifier()).test_client()
    wait_until_ready(client)
    monkeypatch.setattr("reelsense.server.api.v1.answer_all", lambda *_: 1 / 0)
    headers = {"Authorization": f"Bearer {secret}", "X-Request-ID": "id-1"}
    assert client.post("/v1/predict", json={"text": "good"}, headers=headers).status_code == 500
    fault, line = (json.loads(entry) for entry in log()[-2:])
    assert (fault["level"], fault["request_id"]) == ("error", "id-1")
    assert fault["exception"].startswith("Traceback")
    assert fault["exception"].endswith("ZeroDivisionError: division by zero")
    assert (line["event"], line["key"]) == ("POST /v1/predict 500", "shop")
    assert line["level"] == "warning"
    assert secret not in "".join(log())
    assert "address" not in line
    assert client.get("/v1/info").status_code == 401
    line = json.loads(log()[-1])
    assert (line["level"], line["address"]) == ("info", "127.0.0.1")


def test_console_log_format() -> None:
    settings = log_settings(Settings(log_format="console"))
    formatter = settings["formatters"]["line"]
    made = formatter["()"](
        processors=formatter["processors"], foreign_pre_chain=formatter["foreign_pre_chain"]
    )
    record = logging.LogRecord("x", logging.INFO, "", 0, "GET %s 200", ("/v1/info",), None)
    record.ms = 1.5
    record._ray_timestamp_ns = 1  # Ray adds it to every record of its processes
    clear_contextvars()
    line = made.format(record)
    assert re.match(r"\d\d:\d\d:\d\d \[info +\] GET /v1/info 200 +ms=1.5$", line)


def test_request_ends_at_deadline() -> None:
    app, gate = gated(deadline=0.2)
    client = app.test_client()
    answer = client.post("/v1/predict", json={"text": "good"})
    assert answer.status_code == 504
    assert answer.get_json()["code"] == "deadline-exceeded"
    assert "0.2 seconds" in answer.get_json()["detail"]
    gate.open.set()
    assert client.post("/v1/predict", json={"text": "good"}).status_code == 200
