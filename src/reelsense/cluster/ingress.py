"""The server's application within Ray Serve: from ASGI to WSGI, and to the replicas of the model.

What the plain server's own loop of connections does for it is done here as far as it can be: a
request is read whole before a thread takes it, and a client that goes is noticed.
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
from reelsense.server.middleware.api_keys import Key
from reelsense.server.middleware.logging import log_settings
from reelsense.server.settings import Settings
from reelsense.server.state import state_of

_log = logging.getLogger(__name__)

MODELS = "reelsense-model-"
"""What the applications are called that hold a model; a number follows, and the highest serves."""

_TO_SAY_NO = 16
"""Threads beside those of the requests in hand."""

_CHUNK = 64 * 1024

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Applications:
    """The source of the model: whichever of the applications is the newest that runs."""

    def __init__(self) -> None:
        self._seen: str | None = None

    def poll(self) -> object:
        """Return its name; the last one that was known where Serve does not answer."""
        try:
            self._seen = newest(running=True) or self._seen
        except Exception as error:  # noqa: BLE001  # Ray's errors are many, and the next look is soon
            _log.debug("Serve does not say what runs: %s", error)
        return self._seen

    def load(self, on_batch: OnBatch) -> RemoteClassifier:
        """Return what asks its replicas. Raises NotReadyError if there is none."""
        if self._seen is None and self.poll() is None:
            raise NotReadyError("no replica of the model runs yet")
        return RemoteClassifier(serve.get_app_handle(str(self._seen)), on_batch)


def newest(*, running: bool = False) -> str | None:
    """Return the name of the newest application with a model, of those that are `running`."""
    numbers = [
        int(name.removeprefix(MODELS))
        for name, each in serve.status().applications.items()
        if name.startswith(MODELS) and (each.status == "RUNNING" or not running)
    ]
    return f"{MODELS}{max(numbers)}" if numbers else None


class Ingress:
    """An ASGI application around the Flask one."""

    def __init__(self, settings: Settings, keys: Sequence[Key]) -> None:
        logging.config.dictConfig(log_settings(settings))
        logging.setLogRecordFactory(logging.LogRecord)  # Ray's adds its own time to every line
        self._settings = settings
        self._app = create_app(settings, Applications(), keys)
        self._wsgi = WSGIMiddleware(
            _Told(self._app), workers=settings.max_concurrent_requests + _TO_SAY_NO
        )
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or begin and end with the replica."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        jobs, served = state_of(self._app).jobs_worker, state_of(self._app).model_holder
        await receive()
        jobs.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        served.draining = True
        await asyncio.to_thread(jobs.close)
        await asyncio.to_thread(served.close)
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        gone = threading.Event()

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                _say_id_once(scope, message)
            if not gone.is_set():
                await send(message)

        with tempfile.SpooledTemporaryFile(self._settings.max_body) as body:
            try:
                async with asyncio.timeout(self._settings.read_timeout):
                    await self._take_in(scope, receive, body)
            except TimeoutError:
                await self._refuse(HTTPStatus.REQUEST_TIMEOUT, send)
                return

            async def receive_again() -> Message:
                chunk = body.read(_CHUNK)
                return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

            # WSGI cannot take bytes there that no client should send.
            query = quote(scope["query_string"], safe="".join(map(chr, range(0x21, 0x7F))))
            given = {**scope, "query_string": query.encode(), "reelsense.gone": gone.is_set}
            task = asyncio.create_task(self._wsgi(given, receive_again, send_on))  # type: ignore[arg-type]
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            try:
                # Its thread cannot be stopped: what it says to the end, nobody hears.
                await asyncio.shield(task)
            except asyncio.CancelledError:
                gone.set()
                await asyncio.wait([task])
                raise

    async def _take_in(self, scope: Message, receive: Receive, body: IO[bytes]) -> None:
        """Read the body, or as much as shows that it is too large: no thread waits for it."""
        most = max(self._settings.max_body, self._settings.max_upload)
        announced = dict(scope["headers"]).get(b"content-length", b"")
        left = 0 if announced.isdigit() and int(announced) > most else most + 1
        while left > 0:
            message = await receive()
            chunk = message.get("body", b"")[:left]
            body.write(chunk)
            left -= len(chunk)
            if not message.get("more_body"):
                break
        body.seek(0)

    async def _refuse(self, status: HTTPStatus, send: Send) -> None:
        headers, document = problems.malformed_request_response(self._app, status)
        raw = [(name.lower().encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": status.value, "headers": raw})
        await send({"type": "http.response.body", "body": document})


class _Told:
    """The Flask application, told that bodies end, and whether clients wait."""

    def __init__(self, app: Callable[[Any, Any], Iterable[bytes]]) -> None:
        self._app = app

    def __call__(self, environ: Any, start: Any) -> Iterable[bytes]:
        environ["wsgi.input_terminated"] = True
        environ["waitress.client_disconnected"] = environ["asgi.scope"]["reelsense.gone"]
        return self._app(environ, start)


def _say_id_once(scope: Message, start: Message) -> None:
    """Take X-Request-ID out of an answer that has the one of its request: Serve adds that again."""
    name = b"x-request-id"
    asked = dict(scope["headers"]).get(name)
    start["headers"] = [each for each in start["headers"] if tuple(each) != (name, asked)]
