"""Listening on Unix domain sockets and IPv6 addresses, with the real server."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from reelsense.errors import ReelsenseError
from reelsense.server.process.address import bind_address, check_free, client_address
from reelsense.server.settings import Settings
from tests.processes import ask, server
from tests.server.listening import rest_of
from tests.waiting import wait_until


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise


def request(path: Path, url: str, body: object = None) -> tuple[int, Any]:
    """GET `url` of the server on the socket `path`, or POST `body`; return status and response."""
    data = None if body is None else json.dumps(body)
    headers = {"Content-Type": "application/json"}
    with closing(_UnixConnection(path)) as connection:
        connection.request("GET" if body is None else "POST", url, data, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def is_ready(path: Path) -> bool:
    with suppress(OSError):
        return request(path, "/readyz")[0] == 200
    return False


@contextmanager
def on_socket(path: Path, *options: str, umask: int = 0o022) -> Iterator[subprocess.Popen[str]]:
    """Run a server on a Unix domain socket until the block ends."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "reelsense", "serve", "--host", f"unix:{path}", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        umask=umask,
        env={**os.environ, "PYTHONWARNINGS": "error", "XDG_STATE_HOME": str(path.parent)},
    )
    try:
        wait_until(lambda: is_ready(path), 30)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


@pytest.mark.parametrize(
    ("workers", "umask", "mode"),
    [("2", 0o177, 0o600), pytest.param("1", 0o022, 0o755, marks=pytest.mark.slow)],
)
def test_unix_socket_is_created_and_removed(
    tmp_path: Path, workers: str, umask: int, mode: int
) -> None:
    path = tmp_path / "a socket"
    with on_socket(path, "--workers", workers, umask=umask) as process:
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert process.stdout is not None
        assert f"curl --unix-socket '{path}' http://localhost/ (" in process.stdout.readline()
        for _ in range(4):
            status, body = request(path, "/v1/predict", {"text": "A joy."})
            assert (status, body["predictions"][0]["label"]) == (200, "positive")
        with socket.socket(socket.AF_UNIX) as connection:  # without the header Host
            connection.connect(str(path))
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert rest_of(connection).startswith(b"HTTP/1.0 200")
        with pytest.raises(ReelsenseError, match="another server") as error:
            check_free(Settings(host=f"unix:{path}"))
        assert error.value.code == "cannot-listen"
        assert is_ready(path)
    assert process.returncode == 0
    assert not path.exists()


@pytest.mark.slow
def test_socket_of_killed_server_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with on_socket(path) as process:
        process.kill()
        process.wait()
        assert path.is_socket()
        wait_until(lambda: not is_ready(path), 10)  # the worker ends, too
    with on_socket(path):
        assert request(path, "/healthz")[0] == 200


@pytest.mark.slow
def test_missing_socket_file_does_not_prevent_shutdown(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with on_socket(path) as process:
        path.unlink()
    assert process.returncode == 0


@pytest.mark.slow
def test_clients_of_unix_socket_share_rate_limit(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with on_socket(path, "--rate-limit", "2/day"):
        assert [request(path, "/v1/info")[0] for _ in range(3)] == [200, 200, 429]


def test_unusable_socket_path_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("content")
    for path in (file, tmp_path / "missing" / "socket", tmp_path / ("x" * 200)):
        with pytest.raises(ReelsenseError, match="cannot listen on") as error:
            check_free(Settings(host=f"unix:{path}"))
        assert error.value.code == "cannot-listen"
    assert file.read_text() == "content"


def test_check_leaves_no_socket_file(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    check_free(Settings(host=f"unix:{path}"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
@pytest.mark.parametrize("host", ["[::1]", pytest.param("::1", marks=pytest.mark.slow)])
def test_ipv6_address_may_have_brackets(host: str) -> None:
    with server("--host", host) as (address, _):
        assert re.fullmatch(r"http://\[::1\]:\d+", address)
        assert ask(f"{address}/healthz").status == 200


@pytest.mark.parametrize(
    ("host", "bind", "shown"),
    [
        ("127.0.0.1", "127.0.0.1:5000", "http://127.0.0.1:7"),
        ("[fe80::1%eth0]", "[fe80::1%eth0]:5000", "http://[fe80::1%eth0]:7"),
        (
            "unix:///run/x",
            "unix:/run/x",
            "unix:/run/x: curl --unix-socket /run/x http://localhost/",
        ),
        ("unix:x", "unix:x", "unix:x: curl --unix-socket x http://localhost/"),
    ],
)
def test_forms_of_address(host: str, bind: str, shown: str) -> None:
    settings = Settings(host=host)
    assert bind_address(settings) == bind
    assert client_address(settings, 7) == shown
