"""The nginx example of docs/operations.md, with a real nginx in front of the real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from reelsense.server.middleware import keys
from tests.processes import server
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3]
NGINX = shutil.which("nginx") or ""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not NGINX, reason="nginx is not installed"),
]


@dataclass(frozen=True)
class Proxied:
    """A server behind nginx."""

    address: str  # of nginx
    key: str

    def ask(self, path: str, body: bytes | None = None, kind: str = "text/csv") -> Any:
        """Send a request with the key; return the JSON of the response."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": kind}
        request = urllib.request.Request(self.address + path, body, headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            return json.loads(response.read())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def configuration(upstream: str, port: int, folder: Path) -> str:
    """Return the documented example without TLS, on a free port, with its files in `folder`."""
    page = (ROOT / "docs/operations.md").read_text()
    (example,) = re.findall(r"^```\n(server \{.*?)^```$", page, re.MULTILINE | re.DOTALL)
    example = re.sub(r"^ *ssl_.*\n", "", example, flags=re.MULTILINE)
    for documented, tested in {
        "listen 443 ssl;": f"listen 127.0.0.1:{port};",
        "listen 80;": f"listen 127.0.0.1:{free_port()};",
        "http://127.0.0.1:5000;": f"{upstream};",
        "reviews.example": "localhost",
    }.items():
        assert documented in example
        example = example.replace(documented, tested)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "\n".join(f"{kind}_temp_path {folder / kind};" for kind in kinds)
    user = "" if os.getuid() else "user root root; "  # otherwise its workers cannot open `folder`
    return (
        f"{user}daemon off; pid {folder}/pid; error_log stderr;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{paths}\n{example}\n}}\n"
    )


@contextmanager
def proxied(folder: Path) -> Iterator[Proxied]:
    keys_file = folder / "keys"
    secret, key = keys.make("shop")
    keys.add(keys_file, key)
    port = free_port()
    with server("--trusted-proxies", "1", "--keys-file", str(keys_file)) as (upstream, _):
        file = folder / "nginx.conf"
        file.write_text(configuration(upstream, port, folder))
        command = [NGINX, "-p", str(folder), "-e", "stderr", "-c", str(file)]
        nginx = subprocess.Popen(command)  # noqa: S603
        try:
            wait_until(lambda: listens(port))
            yield Proxied(f"http://127.0.0.1:{port}", secret)
        finally:
            nginx.terminate()
            nginx.wait(20)


def listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def test_documented_nginx_passes_what_the_server_accepts(tmp_path: Path) -> None:
    with proxied(tmp_path) as proxy:
        text = "A fine film, " + "x" * 199_000  # a word that is one token, and quickly scored
        answer = proxy.ask("/predict?" + urlencode({"sentence": text}))
        assert answer["response"]["sentence"] == text
        body = json.dumps({"text": "A fine film."}).encode() + b" " * 2_000_000
        answer = proxy.ask("/v1/predict", body, "application/json")
        assert answer["predictions"][0]["label"] == "positive"
        rows = b"text\n" + b"A fine film, one more time, and not a line too long.\n" * 70_000
        job = proxy.ask("/v1/jobs?name=reviews.csv", rows)
        assert job["name"] == "reviews.csv"
