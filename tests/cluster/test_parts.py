"""The parts of cluster serving, without a cluster."""

from __future__ import annotations

import asyncio
import gzip
import json
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ray")
pytest.importorskip("a2wsgi")

from numpy.typing import NDArray
from ray.exceptions import RayActorError, TaskCancelledError

from reelsense.cluster import ingress, replica
from reelsense.cluster.ingress import Ingress
from reelsense.cluster.replica import ModelFacts, ModelReplica, RemoteClassifier, ReplicaReply
from reelsense.errors import AbandonedError, DeadlineError, InputError, OverloadedError, TextError
from reelsense.inference.call_context import CallContext
from reelsense.inference.classifier import Classifier
from reelsense.prediction import Prediction
from reelsense.server.settings import Settings
from tests import tiny


def network(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    return tiny.count_moods(ids, mask)


class Handle:
    """A handle of a deployment with one replica in this process. Replies are pickled."""

    def __init__(self, model: ModelReplica, deaths: int = 0) -> None:
        self.model, self.deaths, self.cancelled = model, deaths, 0
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def __getattr__(self, name: str) -> Remote:
        return Remote(self, name)


class Remote:
    def __init__(self, handle: Handle, name: str) -> None:
        self.handle, self.name = handle, name

    def remote(self, *arguments: Any) -> Response:
        return Response(self.handle, getattr(self.handle.model, self.name)(*arguments))


class Response:
    def __init__(self, handle: Handle, call: Any) -> None:
        self.handle = handle
        self.future = asyncio.run_coroutine_threadsafe(call, handle.loop)

    def result(self, timeout_s: float | None) -> Any:
        if self.handle.deaths:
            self.handle.deaths -= 1
            raise RayActorError
        return pickle.loads(pickle.dumps(self.future.result(timeout_s)))  # noqa: S301

    def cancel(self) -> None:
        self.handle.cancelled += 1
        self.future.cancel()


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> ModelReplica:
    monkeypatch.setattr("ray.get", lambda bundle: bundle)

    def build(bundle: Any, **more: Any) -> Classifier:
        return Classifier(bundle, network=network, **more)

    monkeypatch.setattr(replica, "Classifier", build)
    return ModelReplica(tiny.bundle(), threads=1, cache_size=10, max_concurrent_requests=4)  # type: ignore[arg-type]


@pytest.fixture
def grouped(model: ModelReplica) -> ModelReplica:
    bundle = tiny.grouped_bundle()
    return ModelReplica(bundle, threads=1, cache_size=10, max_concurrent_requests=4)  # type: ignore[arg-type]


def remote(model: ModelReplica, **more: Any) -> tuple[RemoteClassifier, Handle]:
    handle = Handle(model, 0)
    batches: list[tuple[int, int]] = more.setdefault("batches", [])
    classifier = RemoteClassifier(handle, lambda *batch: batches.append(batch))  # type: ignore[arg-type]
    handle.deaths = more.get("deaths", 0)
    return classifier, handle


def test_replica_uses_threshold_for_text_length(grouped: ModelReplica) -> None:
    classifier, _ = remote(grouped)
    local = tiny.grouped_classifier()
    texts = ["good film", "the good film was great"]
    predictions = classifier.predict_each(texts, risk=0.1)
    assert predictions == local.predict(texts, risk=0.1)
    assert [
        prediction.threshold for prediction in predictions if not isinstance(prediction, TextError)
    ] == [0.7, 0.0]
    assert classifier.manifest.groups == local.manifest.groups


def test_remote_classifier_equals_local_one(model: ModelReplica) -> None:
    batches: list[tuple[int, int]] = []
    classifier, _ = remote(model, batches=batches)
    local = tiny.classifier()
    texts = ["a good film", "\0", "bad " * 60]
    context = CallContext()
    answers = classifier.predict_each(texts, context=context)
    assert [answers[0], answers[2]] == [local.predict(texts[:1])[0], local.predict(texts[2:])[0]]
    error = answers[1]
    assert isinstance(error, TextError)
    assert (error.position, error.code) == (1, "unreadable")
    assert sum(windows for windows, _ in batches) >= 5
    assert context.network > 0
    assert context.queue > 0
    assert (context.cache_hits, context.computed) == (0, 3)
    assert classifier.explain("a good film") == local.explain("a good film")
    with_aspects = classifier.explain("A good plot.", aspects=True)
    assert with_aspects == local.explain("A good plot.", aspects=True)
    assert np.array_equal(classifier.predict_proba(texts[:1]), local.predict_proba(texts[:1]))
    assert (classifier.manifest, classifier.card, classifier.labels) == (
        local.manifest,
        local.card,
        local.labels,
    )


def test_remote_errors_keep_type_and_values(model: ModelReplica) -> None:
    classifier, _ = remote(model)
    with pytest.raises(InputError):
        classifier.predict_each(["good"], risk=0.1)
    with pytest.raises(TextError) as error:
        classifier.explain(" ")
    assert (error.value.position, error.value.code) == (0, "blank")
    with pytest.raises(TextError) as error:
        classifier.predict_proba(["good", " "])
    assert (error.value.position, error.value.code) == (1, "blank")
    overloaded = pickle.loads(pickle.dumps(OverloadedError("full", 3)))  # noqa: S301
    assert (str(overloaded), overloaded.retry_after) == ("full", 3)


def slowly(model: ModelReplica, seconds: float) -> list[CallContext]:
    """Let each call of the replica take `seconds`; return the contexts of the calls."""
    contexts: list[CallContext] = []

    class Slow:
        manifest, card, evaluation, size = tiny.bundle().manifest, "", None, 0
        profile = None

        def predict_each(
            self, texts: object, risk: object, context: CallContext
        ) -> list[Prediction]:
            contexts.append(context)
            last = time.monotonic() + seconds
            while time.monotonic() < last:
                context.check()
                time.sleep(0.01)
            return []

    model._classifier = Slow()  # type: ignore[assignment]
    return contexts


def test_deadline_error_names_limit_of_client(model: ModelReplica) -> None:
    slowly(model, 5)
    classifier, _ = remote(model)
    for limit in (0.05, 0.3):
        with pytest.raises(DeadlineError, match=f"{limit} seconds"):
            classifier.predict_each(["good"], context=CallContext(limit))


def test_abandoned_call_is_cancelled_in_replica(model: ModelReplica) -> None:
    contexts = slowly(model, 5)
    classifier, handle = remote(model)
    with pytest.raises(AbandonedError):
        classifier.predict_each(["good"], context=CallContext(is_cancelled=lambda: bool(contexts)))
    assert handle.cancelled == 1
    last = time.monotonic() + 2
    while contexts[0].error() is None:
        assert time.monotonic() < last
        time.sleep(0.01)


def test_cancellation_by_serve_is_abandoned_error(
    model: ModelReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier, _ = remote(model)

    def cancelled(*_: object, **__: object) -> None:
        raise TaskCancelledError

    monkeypatch.setattr(Response, "result", cancelled)
    with pytest.raises(AbandonedError):
        classifier.predict_each(["good"])


def test_call_is_repeated_when_replica_dies(model: ModelReplica) -> None:
    classifier, _ = remote(model, deaths=2)
    context = CallContext(10)
    assert len(classifier.predict_each(["good"], context=context)) == 1
    assert context.queue > 2 * replica._RETRY_DELAY
    classifier, _ = remote(model, deaths=1000)
    with pytest.raises(DeadlineError):
        classifier.predict_each(["good"], context=CallContext(0.3))
    classifier, _ = remote(model, deaths=1)
    with pytest.raises(AbandonedError):
        classifier.predict_each(["good"], context=CallContext(background=True))


def test_replies_and_facts_can_be_pickled(model: ModelReplica) -> None:
    reply = model._run("predict_each", {"texts": ["good"], "risk": None}, CallContext())
    assert isinstance(pickle.loads(pickle.dumps(reply)), ReplicaReply)  # noqa: S301
    assert isinstance(asyncio.run(model.facts()), ModelFacts)


class LocalModelSource:
    """A model source with a classifier in this process."""

    def poll(self) -> object:
        return 1

    def load(self, _on_batch: object) -> Classifier:
        return tiny.classifier()


@pytest.fixture
def asgi(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ingress]:
    monkeypatch.setattr(ingress, "ServeModelSource", LocalModelSource)
    monkeypatch.setattr("logging.config.dictConfig", lambda _: None)
    monkeypatch.setattr("logging.setLogRecordFactory", lambda _: None)
    app = Ingress(
        Settings(read_timeout=0.3, max_body=100, max_upload=100, max_concurrent_requests=2), []
    )
    yield app
    app._app.extensions["reelsense"].models.close()


Chunks = list[bytes | None]
"""Chunks of a body; None: a pause of two seconds."""


def ask(app: Ingress, chunks: Chunks, *headers: tuple[bytes, bytes], query: bytes = b"") -> Any:
    """Return the status, the headers and the body of a response."""
    messages: list[Any] = []

    async def receive() -> dict[str, Any]:
        chunk = chunks.pop(0) if chunks else None
        if chunk is None:
            await asyncio.sleep(2)
        return {"type": "http.request", "body": chunk or b"", "more_body": bool(chunks)}

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {
        "type": "http",
        "method": "GET" if query else "POST",
        "path": "/predict" if query else "/v1/predict",
        "query_string": query,
        "http_version": "1.1",
        "headers": [(b"content-type", b"application/json"), *headers],
    }
    asyncio.run(app(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in messages)
    return messages[0]["status"], messages[0]["headers"], json.loads(body)


def test_body_in_chunks_is_joined(asgi: Ingress) -> None:
    status, _, body = ask(asgi, [b'{"te', b'xt": "good"}'])
    assert status == 200
    assert body["predictions"][0]["label"] == "positive"


def test_too_large_body_is_not_read_to_its_end(asgi: Ingress) -> None:
    chunks: Chunks = [b" " * 60, b" " * 60, b" " * 60, None]
    status, _, body = ask(asgi, chunks)
    assert (status, body["code"]) == (413, "body-too-large")
    assert len(chunks) == 2
    chunks = [b" " * 200]
    assert ask(asgi, chunks, (b"content-length", b"200"))[0] == 413
    assert len(chunks) == 1


def test_compressed_body_is_decompressed_up_to_limit(asgi: Ingress) -> None:
    gzipped = (b"content-encoding", b"gzip")
    assert ask(asgi, [gzip.compress(b'{"text": "good"}')], gzipped)[0] == 200
    status, _, body = ask(asgi, [gzip.compress(b" " * 10_000)], gzipped)
    assert (status, body["code"]) == (413, "body-too-large")
    status, headers, body = ask(asgi, [b"{}"], (b"content-encoding", b"br"))
    assert (status, body["code"]) == (415, "unsupported-media-type")
    assert (b"accept-encoding", b"gzip, deflate") in headers


def test_slow_body_gets_408(asgi: Ingress) -> None:
    status, headers, body = ask(asgi, [b"{", None])
    assert (status, body["code"]) == (408, "request-timeout")
    assert (b"content-type", b"application/problem+json") in headers


def test_request_id_of_client_is_not_repeated(asgi: Ingress) -> None:
    def ids(client_id: bytes) -> list[bytes]:
        headers = ask(asgi, [b"{}"], (b"x-request-id", client_id))[1]
        return [value for name, value in headers if name == b"x-request-id"]

    assert ids(b"known") == []  # Serve's proxy adds it
    assert len(ids(b"not a valid id")) == 1


def test_query_may_contain_any_bytes(asgi: Ingress) -> None:
    assert ask(asgi, [b""], query=b"sentence=good\xff%20film")[0] == 200


def test_disconnected_client_abandons_work(asgi: Ingress, monkeypatch: pytest.MonkeyPatch) -> None:
    started = threading.Event()
    errors: list[BaseException] = []

    def wait(
        _self: object, texts: object, *, risk: object, context: CallContext
    ) -> list[Prediction]:
        started.set()
        for _ in range(500):
            time.sleep(0.01)
            if error := context.error():
                errors.append(error)
                raise error
        return []

    monkeypatch.setattr(Classifier, "predict_each", wait)

    async def disconnect() -> None:
        scope = {"type": "http", "method": "POST", "path": "/v1/predict", "query_string": b""}
        scope |= {"http_version": "1.1", "headers": [(b"content-type", b"application/json")]}
        receive: Callable[[], Any] = lambda: asyncio.sleep(0, {"body": b'{"text": "good"}'})  # noqa: E731
        send: Callable[[Any], Any] = lambda _: asyncio.sleep(0)  # noqa: E731
        task = asyncio.create_task(asgi(scope, receive, send))
        await asyncio.to_thread(started.wait, 5)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(disconnect())
    assert [type(error) for error in errors] == [AbandonedError]
