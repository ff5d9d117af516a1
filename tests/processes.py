"""The real server in a separate process."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any


def ask(url: str, body: object = None) -> Answer:
    """GET `url`, or POST `body` as JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return Answer(answer.status, json.loads(answer.read()))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, json.loads(error.read()))


@contextmanager
def server(
    *options: str, ready: bool = True, python: Sequence[str] = ("-m", "reelsense")
) -> Iterator[tuple[str, int]]:
    """Run `reelsense serve` on a free port; yields its address and process id.

    Its jobs are in a separate database, unless `options` set one. `python` are the options of
    Python that run the command.
    """
    with tempfile.TemporaryDirectory() as state:
        environment = {**os.environ, "PYTHONWARNINGS": "error", "XDG_STATE_HOME": state}
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, *python, "serve", "--port", "0", *options],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        with _ended(process):
            yield _address(process, ready=ready), process.pid
    assert process.returncode == 0


@contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


def _address(process: subprocess.Popen[str], *, ready: bool) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    address = re.search(r"http://\S+", line)
    assert address, line
    deadline = time.monotonic() + 30
    while ready and ask(f"{address[0]}/readyz").status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return address[0]
