"""A server that answers every POST with a label after a delay."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from load import Endpoint
from rivals.server import Request


@dataclass
class Echo:
    port: int = 0
    seconds: float = 0.0  # until an answer
    closes: bool = False  # closes the connection after each answer without announcing it
    fails: bool = False
    connections: int = 0
    texts: list[str] = field(default_factory=list)

    def endpoint(self) -> Endpoint:
        return Endpoint(
            self.port,
            request=lambda n: Request("/predict", json.dumps({"text": str(n)}).encode()),
            label=lambda body: str(json.loads(body)["label"]),
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def echo(*, seconds: float = 0.0, closes: bool = False, fails: bool = False) -> Iterator[Echo]:
    """Run the server while the block runs."""
    state = Echo(seconds=seconds, closes=closes, fails=fails)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            state.connections += 1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.texts.append(json.loads(body)["text"])
            time.sleep(state.seconds)
            answer = b'{"label": "positive"}'
            self.send_response(500 if state.fails else 200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
            self.close_connection = state.closes

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    state.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
