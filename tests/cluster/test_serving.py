"""Serving with Ray Serve on this machine, with a tiny network."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")
pytest.importorskip("a2wsgi")
pytest.importorskip("onnx")

import ray
import requests
from ray import serve

from reelsense.bundle import NETWORK
from reelsense.cluster import serving
from reelsense.cluster.ingress import MODELS
from reelsense.cluster.machines import connected
from reelsense.cluster.serving import Plan, ServeDeployment
from reelsense.errors import SettingsError
from reelsense.server.settings import Settings
from tests import tiny, tiny_network
from tests.server.api.test_compat import (  # noqa: F401
    test_original_api_accepts_invalid_utf8,
    test_original_api_requires_sentence,
    test_original_api_response,
)

# The tests of the plain server also run against this one.
from tests.server.api.test_v1 import (  # noqa: F401
    test_http_errors,
    test_invalid_query_is_same_for_get_and_head,
    test_predict_accepts_max_texts,
    test_predict_keeps_order_of_texts,
    test_predict_one_text,
    test_predict_rejects_invalid_bodies,
    test_predict_survives_any_text,
    test_status_without_problem_type,
    test_unusual_texts_get_200_or_422,
)

pytestmark = pytest.mark.slow


class Response:
    """A response over HTTP, with the attributes of those of Flask's test client."""

    def __init__(self, response: requests.Response) -> None:
        self.status_code, self.headers = response.status_code, response.headers
        self.data, self.text = response.content, response.text
        self.content_type = response.headers.get("Content-Type", "")
        self.is_json = self.content_type == "application/json"

    def get_json(self) -> Any:
        return json.loads(self.data)


class Client:
    """Flask's test client, over HTTP."""

    def __init__(self, address: str) -> None:
        self.address = address

    def open(self, method: str, path: str, **more: Any) -> Response:
        query, kind = more.pop("query_string", None), more.pop("content_type", None)
        headers = more.pop("headers", {}) | ({"Content-Type": kind} if kind else {})
        url = self.address + path
        return Response(
            requests.request(
                method,
                url,
                params=query,
                headers=headers,
                allow_redirects=False,
                timeout=60,
                **more,
            )
        )

    def get(self, path: str, **more: Any) -> Response:
        return self.open("GET", path, **more)

    def head(self, path: str, **more: Any) -> Response:
        return self.open("HEAD", path, **more)

    def post(self, path: str, **more: Any) -> Response:
        return self.open("POST", path, **more)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeDeployment]:
    folder = tmp_path_factory.mktemp("cluster")
    tiny_network.write(folder / "bundle", "tiny")
    settings = Settings(
        model=str(folder / "bundle"),
        port=0,
        cache_size=0,
        deadline=20,
        read_timeout=2,
        database=f"sqlite:///{folder / 'jobs.db'}",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            serving,
            "AUTOSCALING",
            {
                "target_ongoing_requests": 2,
                "upscale_delay_s": 0.5,
                "downscale_delay_s": 2,
                "look_back_period_s": 2,
                "metrics_interval_s": 0.5,
            },
        )
        patch.setenv("FORWARDED_ALLOW_IPS", "")
        with connected(None, namespace="reelsense"):
            plan = Plan(replicas=(1, 2), cores=1)
            deployment = ServeDeployment(settings, plan, [], threading.Event())
            deployment.start(tiny.bundle(network=tiny_network.network()))
            yield deployment
            deployment.close()


@pytest.fixture(scope="module")
def client(deployed: ServeDeployment) -> Client:
    client = Client(f"http://127.0.0.1:{deployed.port}")
    until(lambda: client.get("/readyz").status_code == 200)
    return client


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    last = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < last
        time.sleep(0.1)


@contextmanager
def asking(client: Client, callers: int, body: object) -> Iterator[list[Response]]:
    """Send requests from `callers` threads; the list grows with the responses."""
    responses: list[Response] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            responses.append(client.post("/v1/predict", json=body))

    with ThreadPoolExecutor(callers) as pool:
        futures = [pool.submit(ask) for _ in range(callers)]
        try:
            yield responses
        finally:
            ended.set()
    for future in futures:
        future.result()


def replicas() -> list[str]:
    """Return the names of the actors of the replicas."""
    actors = ray.util.list_named_actors(all_namespaces=True)
    return [actor["name"] for actor in actors if MODELS in actor["name"]]


def test_page_and_its_files_are_served(client: Client) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert "text/html" in page.content_type
    for asset in re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text):
        assert client.get(asset).status_code == 200
    result = client.post("/review", data={"text": "a good film"})
    assert "positive" in result.text.lower()
    assert client.get("/model").status_code == 200
    assert client.post("/explanation", data={"text": "a good film"}).status_code == 200


def test_request_id_of_client_is_returned(client: Client) -> None:
    answer = client.get("/v1/nothing", headers={"X-Request-ID": "a-name.of-mine"})
    assert answer.headers["X-Request-ID"] == "a-name.of-mine"
    assert answer.get_json()["request_id"] == "a-name.of-mine"
    unnamed = client.get("/v1/nothing")
    assert unnamed.headers["X-Request-ID"] == unnamed.get_json()["request_id"]


def test_chunked_body_is_accepted(client: Client) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"text": '
        yield b'"good"}'

    headers = {"Content-Type": "application/json"}
    assert client.post("/v1/predict", data=chunks(), headers=headers).status_code == 200
    large = (b" " * 100_000 for _ in range(30))
    assert client.post("/v1/predict", data=large, headers=headers).status_code == 413


def test_missing_body_gets_408(client: Client) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"text": '
        time.sleep(3)
        yield b'"good"}'

    headers = {"Content-Type": "application/json"}
    answer = client.post("/v1/predict", data=chunks(), headers=headers)
    assert answer.status_code == 408
    assert answer.content_type == "application/problem+json"


def test_disconnected_client_is_noticed(client: Client) -> None:
    def count(name: str) -> float:
        match = re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
        return float(match[1]) if match else 0

    body = json.dumps({"texts": ["a good film " * 16_000] * 10}).encode()
    head = f"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n"

    def noticed() -> bool:
        # a fast machine may have answered before the client hangs up, so there are several
        with socket.create_connection(("127.0.0.1", int(client.address.rsplit(":")[-1]))) as sent:
            sent.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
            time.sleep(0.1)
        time.sleep(0.5)
        return count("reelsense_abandoned_total") >= 1

    until(noticed)
    until(lambda: count("reelsense_requests_in_flight") == 0)


def test_job_is_completed(client: Client) -> None:
    rows = "good film\nbad film\n" * 500
    job = client.post("/v1/jobs?name=films.txt", data=rows.encode()).get_json()
    path = f"/v1/jobs/{job['id']}"
    until(lambda: client.get(path).get_json()["state"] == "done")
    results = client.get(f"{path}/result").text.splitlines()
    assert len(results) == 1001
    assert "positive" in results[1]
    assert "negative" in results[2]


def test_metrics_count_requests(client: Client) -> None:
    client.post("/v1/predict", json={"text": "good"})
    until(lambda: "reelsense_batch_windows_count{" in client.get("/metrics").text)
    counted = client.get("/metrics").text
    assert re.search(r"reelsense_tokens_total.* [1-9]", counted)
    assert re.search(r"reelsense_cache_misses_total [1-9]", counted)


def test_dead_replica_fails_no_request(deployed: ServeDeployment, client: Client) -> None:
    with asking(client, 8, {"texts": ["a good film " * 200] * 20}) as responses:
        until(lambda: len(responses) > 20)
        for name in replicas():
            ray.kill(ray.get_actor(name, namespace="serve"))
        killed = len(responses)
        until(lambda: len(responses) > killed + 50)
    assert {response.status_code for response in responses} == {200}


def test_replicas_scale_with_load(deployed: ServeDeployment, client: Client) -> None:
    name = f"{MODELS}{deployed._number}"
    until(lambda: serving._running(name) == 1)
    with asking(client, 16, {"texts": ["a good film " * 500] * 50}) as responses:
        until(lambda: serving._running(name) == 2)
    until(lambda: serving._running(name) == 1)
    assert {response.status_code for response in responses} <= {200, 429}


def test_changed_bundle_replaces_model_without_failures(
    deployed: ServeDeployment, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_AFTER_DEADLINE", -19.0)  # the old one is deleted soon
    folder = Path(str(deployed._settings.model))
    before = f"{MODELS}{deployed._number}"
    with asking(client, 4, {"text": "a good film"}) as responses:
        until(lambda: len(responses) > 20)
        new = tiny_network.write(folder, "tiny", weight=3).version
        deployed.poll()
        until(lambda: client.get("/readyz").get_json()["model"]["version"] == new, 10)
        time.sleep(1.5)
        deployed.poll()
        until(lambda: before not in serve.status().applications)
    assert {response.status_code for response in responses} == {200}
    bodies = [response.get_json() for response in responses]
    scores = {
        (body["model"]["version"], round(body["predictions"][0]["score"], 3)) for body in bodies
    }
    assert scores == {("0", 0.881), (new, 0.998)}


def test_unusable_bundle_is_rejected(
    deployed: ServeDeployment, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(str(deployed._settings.model))
    before = client.get("/readyz").get_json()
    (folder / NETWORK).write_bytes(b"damaged")
    deployed.poll()
    assert "was changed after the bundle was written" in caplog.text
    invalid = tiny_network.write(folder, "tiny", weight=float("nan")).version
    deployed.poll()
    assert "self-test of the model" in caplog.text
    tiny_network.write(folder, "tiny", labels=("bad", "good"))
    deployed.poll()
    assert "has the labels bad, good, expected negative, positive" in caplog.text
    time.sleep(1.5)
    assert client.get("/readyz").get_json() == before
    assert before["model"]["version"] != invalid
    assert client.post("/v1/predict", json={"text": "good"}).status_code == 200


class Broken:
    def __init__(self, *_: object) -> None:
        raise RuntimeError("no memory here")


def test_failed_deployment_keeps_current_model(
    deployed: ServeDeployment,
    client: Client,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving, "ModelReplica", Broken)
    before = client.get("/readyz").get_json()
    tiny_network.write(Path(str(deployed._settings.model)), "tiny", weight=5)
    number = deployed._number
    deployed.poll()
    assert "does not start" in caplog.text
    assert "no memory here" in caplog.text
    assert deployed._number == number
    assert f"{MODELS}{number + 1}" not in serve.status().applications
    assert client.get("/readyz").get_json() == before
    assert client.post("/v1/predict", json={"text": "good"}).status_code == 200


def test_second_serve_on_cluster_is_rejected(deployed: ServeDeployment) -> None:
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-m", "reelsense", "serve", "--port", "0"]
    result = subprocess.run(  # noqa: S603
        [*command, "--cluster", "ray", "--address", address],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 1
    assert "reelsense: Ray Serve is already running on this cluster" in result.stderr


def test_too_many_cores_are_rejected(deployed: ServeDeployment) -> None:
    with pytest.raises(SettingsError) as error:
        ServeDeployment(deployed._settings, Plan(cores=1000), [], threading.Event())
    assert error.value.code == "too-many-cores"


def test_command_finishes_requests_on_sigterm(tmp_path: Path) -> None:
    tiny_network.write(tmp_path / "bundle", "tiny")
    command = [sys.executable, "-m", "reelsense", "serve", "--port", "0", "--cluster", "ray"]
    process = subprocess.Popen(  # noqa: S603
        [*command, "--model", str(tmp_path / "bundle")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        announced = re.search(r"reelsense serves tiny \w+ on (http://\S+) ", line)
        assert announced, line
        client = Client(announced[1])
        until(lambda: client.get("/readyz").status_code == 200)
        text = "a good film " * 16_000
        with ThreadPoolExecutor() as pool:
            future = pool.submit(client.post, "/v1/predict", json={"texts": [text] * 5})
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            assert future.result().status_code == 200
        assert process.wait(60) == 0
    finally:
        process.kill()
        out, errors = process.communicate()
    assert '"event": "POST /v1/predict 200"' in errors
    assert "Traceback" not in errors
    assert out == ""
