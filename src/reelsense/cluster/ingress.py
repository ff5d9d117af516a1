"""The server's application inside Ray Serve: adapts ASGI to the WSGI application.

Like the connection layer of the plain server, it reads a request completely before the request
occupies a thread, and notices disconnected clients.
"""

from __future__ import annotations

import asyncio
import logging
import logging.config
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from http import HTTPStatus
from typing import IO, Any
from urllib.parse import quote

from a2wsgi import WSGIMiddleware
from ray import serve

from reelsense.cluster.replica import RemoteClassifier
from reelsense.errors import NotReadyError
from reelsense.inference.batching import OnBatch
from reelsense.server.app import create_app
from reelsense.server.middleware import problems
from reelsense.server.middleware.keys import Key
from reelsense.server.middleware.logging import log_settings
from reelsense.server.settings import Settings
from reelsense.server.state import state_of

_log = logging.getLogger(__name__)

MODELS = "reelsense-model-"  # prefix of model applications; the one with the highest number serves

# Beyond the concurrency limit, to reject requests and to answer health checks.
_SPARE_THREADS = 16

_CHUNK = 64 * 1024

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ServeModelSource:
    """A model source: the newest model application that runs on Ray Serve."""

    def __init__(self) -> None:
        self._last_name: str | None = None

    def poll(self) -> object:
        """Return the name of the application, or the last known one while Serve is unreachable."""
        try:
            self._last_name = _newest_model() or self._last_name
        except Exception as error:  # noqa: BLE001  # Ray raises many types; the next poll is soon
            _log.debug("cannot get the status of Ray Serve: %s", error)
        return self._last_name

    def load(self, on_batch: OnBatch) -> RemoteClassifier:
        """Return a classifier that calls the replicas. Raises NotReadyError if none runs yet."""
        if self._last_name is None and self.poll() is None:
            raise NotReadyError("no replica of the model runs yet")
        return RemoteClassifier(serve.get_app_handle(str(self._last_name)), on_batch)


def _newest_model() -> str | None:
    """Return the name of the newest model application that is running, if any."""
    numbers = [
        int(name.removeprefix(MODELS))
        for name, application in serve.status().applications.items()
        if name.startswith(MODELS) and application.status == "RUNNING"
    ]
    return f"{MODELS}{max(numbers)}" if numbers else None


class Ingress:
    """An ASGI application around the Flask application."""

    def __init__(self, settings: Settings, keys: Sequence[Key]) -> None:
        logging.config.dictConfig(log_settings(settings))
        # Ray replaces the factory by one that adds its own timestamp to every line.
        logging.setLogRecordFactory(logging.LogRecord)
        self._settings = settings
        self._app = create_app(settings, ServeModelSource(), keys)
        # The replicas of a model end soon after it has been replaced.
        state_of(self._app).jobs_worker.keeps_replaced_models = False
        self._wsgi = WSGIMiddleware(
            _WsgiEnvironment(self._app), workers=settings.max_concurrent_requests + _SPARE_THREADS
        )
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle a request, or the start and the end of the process."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._respond(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        state = state_of(self._app)
        jobs, models = state.jobs_worker, state.models
        await receive()
        jobs.start()
        state.feedback_writer.start()
        if state.authenticator.keys:
            state.ended_sessions.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        models.draining = True
        await asyncio.to_thread(state.feedback_writer.close)
        await asyncio.to_thread(jobs.close)
        await asyncio.to_thread(models.close)
        await send({"type": "lifespan.shutdown.complete"})

    async def _respond(self, scope: Message, receive: Receive, send: Send) -> None:
        disconnected = threading.Event()

        async def send_if_connected(message: Message) -> None:
            if message["type"] == "http.response.start":
                _remove_repeated_request_id(scope, message)
            if not disconnected.is_set():
                await send(message)

        with tempfile.SpooledTemporaryFile(self._settings.max_body) as body:
            try:
                async with asyncio.timeout(self._settings.read_timeout):
                    await self._read_body(scope, receive, body)
            except TimeoutError:
                await self._reject(HTTPStatus.REQUEST_TIMEOUT, send)
                return

            async def receive_stored() -> Message:
                chunk = body.read(_CHUNK)
                return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

            # A query string may contain bytes that WSGI cannot represent.
            query = quote(scope["query_string"], safe="".join(map(chr, range(0x21, 0x7F))))
            wsgi_scope = {
                **scope,
                "query_string": query.encode(),
                "reelsense.disconnected": disconnected.is_set,
            }
            task = asyncio.create_task(
                self._wsgi(wsgi_scope, receive_stored, send_if_connected)  # type: ignore[arg-type]
            )
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            try:
                # The thread cannot be stopped: it runs to its end, and its response is dropped.
                await asyncio.shield(task)
            except asyncio.CancelledError:
                disconnected.set()
                await asyncio.wait([task])
                raise

    async def _read_body(self, scope: Message, receive: Receive, body: IO[bytes]) -> None:
        """Read the request body into `body`, up to the limit.

        The application rejects a body that is too large by its Content-Length or its first bytes.
        """
        limit = max(self._settings.max_body, self._settings.max_upload)
        announced = dict(scope["headers"]).get(b"content-length", b"")
        left = 0 if announced.isdigit() and int(announced) > limit else limit + 1
        while left > 0:
            message = await receive()
            chunk = message.get("body", b"")[:left]
            body.write(chunk)
            left -= len(chunk)
            if not message.get("more_body"):
                break
        body.seek(0)

    async def _reject(self, status: HTTPStatus, send: Send) -> None:
        headers, document = problems.malformed_request_response(self._app, status)
        raw = [(name.lower().encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": status.value, "headers": raw})
        await send({"type": "http.response.body", "body": document})


class _WsgiEnvironment:
    """Adds to the WSGI environment what the connection layer of the plain server sets."""

    def __init__(self, app: Callable[[Any, Any], Iterable[bytes]]) -> None:
        self._app = app

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        environ["wsgi.input_terminated"] = True
        environ["waitress.client_disconnected"] = environ["asgi.scope"]["reelsense.disconnected"]
        return self._app(environ, start_response)


def _remove_repeated_request_id(scope: Message, start: Message) -> None:
    """Remove X-Request-ID from a response that repeats the client's: Serve's proxy adds it too."""
    name = b"x-request-id"
    client_id = dict(scope["headers"]).get(name)
    start["headers"] = [header for header in start["headers"] if tuple(header) != (name, client_id)]
