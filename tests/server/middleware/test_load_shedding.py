import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from reelsense.errors import OverloadedError
from reelsense.server.app import create_app
from reelsense.server.middleware.load_shedding import LoadShedder
from reelsense.server.settings import Settings
from tests import tiny
from tests.server.conftest import gated, wait_until_ready
from tests.waiting import wait_until


def test_number_of_requests_is_limited() -> None:
    load_shedder = LoadShedder(2, 1000)
    load_shedder.enter(1)
    load_shedder.enter(1)
    with pytest.raises(OverloadedError, match="server is at capacity"):
        load_shedder.enter(0)
    load_shedder.leave(1, 0.1)
    load_shedder.enter(1)
    assert (load_shedder.requests, load_shedder.bytes) == (2, 2)


def test_total_size_of_bodies_is_limited() -> None:
    load_shedder = LoadShedder(10, 100)
    load_shedder.enter(60)
    with pytest.raises(OverloadedError):
        load_shedder.enter(41)
    load_shedder.enter(40)
    with pytest.raises(OverloadedError):
        load_shedder.enter(1)
    load_shedder.enter(0)
    assert (load_shedder.requests, load_shedder.bytes) == (3, 100)


def test_oversized_request_is_accepted_alone() -> None:
    load_shedder = LoadShedder(10, 100)
    load_shedder.enter(101)
    with pytest.raises(OverloadedError):
        load_shedder.enter(0)
    load_shedder.leave(101, 0.1)
    load_shedder.enter(1)
    with pytest.raises(OverloadedError):
        load_shedder.enter(101)
    load_shedder.leave(1, 0.1)
    load_shedder.enter(101)


def retry_after(load_shedder: LoadShedder) -> int:
    with pytest.raises(OverloadedError) as error:
        load_shedder.enter(0)
    return error.value.retry_after


def full(duration: float) -> LoadShedder:
    """Return a full load shedder whose last request took `duration` seconds."""
    load_shedder = LoadShedder(1, 100)
    load_shedder.enter(0)
    load_shedder.leave(0, duration)
    load_shedder.enter(0)
    return load_shedder


def test_retry_after_is_duration_of_last_request() -> None:
    load_shedder = LoadShedder(1, 100)
    load_shedder.enter(0)
    assert retry_after(load_shedder) == 1
    for duration, expected in ((0.01, 1), (1, 1), (1.01, 2), (29.5, 30), (0.2, 1)):
        assert retry_after(full(duration)) == expected


Enter = st.tuples(st.just("enter"), st.integers(0, 150))
Leave = st.tuples(st.just("leave"), st.integers(0, 10))


@given(st.integers(1, 5), st.lists(Enter | Leave, max_size=60))
def test_limits_hold_for_any_sequence(max_requests: int, actions: list[tuple[str, int]]) -> None:
    changes = []
    load_shedder = LoadShedder(max_requests, 100, lambda *counts: changes.append(counts))
    inside: list[int] = []
    for action, number in actions:
        if action == "leave":
            if inside:
                load_shedder.leave(inside.pop(number % len(inside)), 0.1)
        else:
            fits = not inside or (len(inside) < max_requests and sum(inside) + number <= 100)
            try:
                load_shedder.enter(number)
            except OverloadedError:
                assert not fits
            else:
                assert fits
                inside.append(number)
        assert (load_shedder.requests, load_shedder.bytes) == (len(inside), sum(inside))
        assert 0 <= load_shedder.requests <= max_requests
        assert 0 <= load_shedder.bytes <= 100 or load_shedder.requests == 1
        assert changes[-1:] in ([], [(load_shedder.requests, load_shedder.bytes)])
    for size in inside:
        load_shedder.leave(size, 0.1)
    assert (load_shedder.requests, load_shedder.bytes) == (0, 0)


def test_limits_hold_across_threads() -> None:
    seen: list[tuple[int, int]] = []
    load_shedder = LoadShedder(3, 20, lambda *counts: seen.append(counts))

    def come_and_go() -> None:
        for _ in range(200):
            try:
                load_shedder.enter(10)
            except OverloadedError:
                continue
            load_shedder.leave(10, 0)

    threads = [threading.Thread(target=come_and_go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {requests for requests, _ in seen} <= {0, 1, 2}
    assert all(size == 10 * requests for requests, size in seen)
    assert (load_shedder.requests, load_shedder.bytes) == (0, 0)


def infer(*texts: str) -> dict[str, object]:
    tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}
    return {"inputs": [tensor]}


FORM = object()  # instead of a JSON body: the form of the page

REQUESTS: list[tuple[str, str, object]] = [
    ("POST", "/v1/predict", {"text": "good"}),
    ("POST", "/v1/predict", {"texts": ["good", "bad"]}),
    ("POST", "/v1/explain", {"text": "good"}),
    ("POST", "/models/default", {"inputs": "good"}),
    ("POST", "/models/default", {"inputs": ["good", "bad"]}),
    ("POST", "/predict", {"inputs": "good"}),
    ("POST", "/predict", {"inputs": [["good"], ["bad"]]}),
    ("POST", "/v2/models/default/infer", infer("good")),
    ("POST", "/v2/models/default/infer", infer("good", "bad")),
    ("GET", "/predict?sentence=good", None),
    ("POST", "/", {"inputs": "good"}),
    ("POST", "/invocations", {"inputs": "good"}),
    ("POST", "/classify", {"input": "good"}),
    ("POST", "/v1/classify", {"input": ["good", "bad"]}),
    ("POST", "/review", FORM),
    ("POST", "/answer", FORM),
    ("POST", "/explanation", FORM),
]


def ask(client: FlaskClient, method: str, path: str, body: object) -> TestResponse:
    more: dict[str, Any] = {} if body is None else {"json": body}
    if body is FORM:
        more = {"data": {"text": "good"}}
    return client.open(path, method=method, **more)


def test_list_of_scoring_routes_is_complete(app: Flask) -> None:
    limited = {
        name for name, view in app.view_functions.items() if hasattr(view, "limit_concurrency")
    }
    addresses = app.url_map.bind("")
    assert limited == {
        addresses.match(path.split("?")[0], method)[0] for method, path, _ in REQUESTS
    }
    for rule in app.url_map.iter_rules():
        if "POST" in (rule.methods or ()):
            others = {"pages.signed_in", "pages.sign_out", "admin.reload", "job_pages.sent"}
            others |= {"jobs.create", "jobs.preview", "jobs.cancel"}
            others |= {"job_pages.cancel", "job_pages.remove"}
            others |= {"feedback.create", "feedback_page.give", "feedback_page.undo"}
            others |= {"queue_page.decide", "queue_page.undo"}
            assert rule.endpoint in limited | others


class Stuck:
    """An application with requests that wait for its network."""

    def __init__(self, **settings: Any) -> None:
        self.app, self.gate = gated(**{"deadline": 20} | settings)
        self.load_shedder: LoadShedder = self.app.extensions["reelsense"].load_shedder
        self.statuses: list[int] = []
        self._threads: list[threading.Thread] = []

    @contextmanager
    def waiting(self, *bodies: object) -> Iterator[FlaskClient]:
        """POST `bodies`, which wait during the block and are answered at its end."""
        self.gate.open.clear()
        try:
            for body in bodies:
                self._threads.append(threading.Thread(target=self._ask, args=(body,)))
                self._threads[-1].start()
            wait_until(lambda: self.load_shedder.requests == len(bodies))
            yield self.app.test_client()
        finally:
            self.gate.open.set()
            for thread in self._threads:
                thread.join(20)

    def _ask(self, body: object) -> None:
        answer = self.app.test_client().post("/v1/predict", json=body)
        self.statuses.append(answer.status_code)


@pytest.fixture
def cleaned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collects the texts that were cleaned."""
    texts: list[str] = []

    def clean(text: str) -> str:
        texts.append(text)
        return text

    monkeypatch.setattr("reelsense.text.clean.clean", clean)
    return texts


def test_shed_requests_are_not_read_and_other_routes_work(cleaned: list[str]) -> None:
    stuck = Stuck(max_concurrent_requests=2)
    with stuck.waiting({"text": "good film"}, {"texts": ["bad film", "good film"]}) as client:
        wait_until(lambda: len(cleaned) >= 3)
        cleaned.clear()
        for request in REQUESTS * 2:
            answer = ask(client, *request)
            assert answer.status_code == 429
            assert answer.get_json()["code"] == "overloaded"
            assert int(answer.headers["Retry-After"]) >= 1
        assert cleaned == []
        for path in ("/healthz", "/readyz", "/v1/info", "/v2/models/default", "/", "/metrics"):
            assert client.get(path).status_code == 200
        assert (stuck.load_shedder.requests, stuck.statuses) == (2, [])
    assert stuck.statuses == [200, 200]
    for request in REQUESTS:
        assert ask(client, *request).status_code == 200
    assert (stuck.load_shedder.requests, stuck.load_shedder.bytes) == (0, 0)


def test_bodies_count_by_size() -> None:
    stuck = Stuck(max_concurrent_bytes=100)
    long = {"text": "good " * 15}
    with stuck.waiting(long) as client:
        assert client.post("/v1/predict", json=long).status_code == 429
        assert client.get(f"/predict?sentence={'good+' * 15}").status_code == 429
        assert stuck.load_shedder.bytes == len(b'{"text": ""}') + 75
    with stuck.waiting({"text": "good " * 100}):  # larger than the limit, but alone
        pass
    assert stuck.statuses == [200, 200]
    assert (stuck.load_shedder.requests, stuck.load_shedder.bytes) == (0, 0)


def test_retry_after_header_is_duration_of_last_request() -> None:
    stuck = Stuck(max_concurrent_requests=1)
    stuck.load_shedder.enter(0)
    stuck.load_shedder.leave(0, 6.5)
    with stuck.waiting({"text": "good"}) as client:
        answer = client.post("/v1/predict", json={"text": "good"})
        assert answer.headers["Retry-After"] == str(math.ceil(6.5))
    assert client.post("/v1/predict", json={"text": "good"}).status_code == 200


def test_cors_preflight_is_not_shed() -> None:
    app = create_app(
        Settings(cors_origins="https://a.example", max_concurrent_requests=1), tiny.classifier()
    )
    wait_until_ready(app.test_client())
    app.extensions["reelsense"].load_shedder.enter(0)
    headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    assert app.test_client().options("/v1/predict", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b'{"text": "good"}', "application/json", 200),
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[]", "application/json", 422),
        (b'{"text": 7}', "application/json", 422),
        (b'{"text": " "}', "application/json", 422),
        (b'{"text": "\\u0000"}', "application/json", 422),
        (b'{"text": "good", "risk": 0.5}', "application/json", 422),
        (b'{"text": "good"}', "text/plain", 415),
        (b'{"text": "' + b"a" * 2**21 + b'"}', "application/json", 413),
    ],
)
def test_every_outcome_releases_request(
    app: Flask, body: bytes, content_type: str, status: int
) -> None:
    wait_until_ready(app.test_client())
    answer = app.test_client().post("/v1/predict", data=body, content_type=content_type)
    assert answer.status_code == status
    assert counts(app) == (0, 0)


def counts(app: Flask) -> tuple[int, int]:
    load_shedder: LoadShedder = app.extensions["reelsense"].load_shedder
    return load_shedder.requests, load_shedder.bytes


def test_internal_error_releases_request(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError

    for method in ("predict_each", "explain"):
        monkeypatch.setattr(f"reelsense.inference.classifier.Classifier.{method}", broken)
    wait_until_ready(app.test_client())
    for request in REQUESTS:
        assert ask(app.test_client(), *request).status_code == 500
    assert counts(app) == (0, 0)


def test_deadline_releases_request() -> None:
    stuck = Stuck(deadline=0.1)
    with stuck.waiting() as client:
        for request in REQUESTS:
            assert ask(client, *request).status_code == 504
        assert counts(stuck.app) == (0, 0)


def test_missing_model_releases_request(tmp_path: Path) -> None:
    app = create_app(Settings(model=str(tmp_path)))
    for request in REQUESTS:
        answer = ask(app.test_client(), *request)
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"
    app.extensions["reelsense"].models.close()
    assert counts(app) == (0, 0)
