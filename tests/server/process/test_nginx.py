"""The nginx example of docs/operations.md, with a real nginx in front of the real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.expected_conditions import (
    element_to_be_clickable,
    url_contains,
    url_to_be,
)
from selenium.webdriver.support.ui import WebDriverWait

from reelsense.server.middleware import keys
from tests.processes import server
from tests.server.chromium import chromium, needs_chromium, shown
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


def configuration(upstream: str, port: int, folder: Path, changes: Mapping[str, str]) -> str:
    """Return the documented example without TLS, on a free port, with its files in `folder`."""
    page = (ROOT / "docs/operations.md").read_text()
    (example,) = re.findall(r"^```\n(server \{.*?)^```$", page, re.MULTILINE | re.DOTALL)
    example = re.sub(r"^ *ssl_.*\n", "", example, flags=re.MULTILINE)
    for documented, tested in {
        "listen 443 ssl;": f"listen 127.0.0.1:{port};",
        "listen 80;": f"listen 127.0.0.1:{free_port()};",
        "http://127.0.0.1:5000;": f"{upstream};",
        "reviews.example": "localhost",
        **changes,
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
def proxied(
    folder: Path, *options: str, changes: Mapping[str, str] = MappingProxyType({}), slash: str = ""
) -> Iterator[Proxied]:
    """Run a server with `options` behind nginx; `changes` replace parts of the example."""
    keys_file = folder / "keys"
    secret, key = keys.make("shop")
    keys.add(keys_file, key)
    port = free_port()
    with server("--trusted-proxies", "1", "--keys-file", str(keys_file), *options) as (upstream, _):
        file = folder / "nginx.conf"
        file.write_text(configuration(upstream + slash, port, folder, changes))
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


LOCATION = {"location / {": "location /reviews/ {"}


@needs_chromium
@pytest.mark.parametrize(
    ("options", "changes", "slash"),
    [
        (["--root-path", "/reviews"], {}, ""),  # nginx passes on the path as it is
        ([], {'X-Forwarded-Prefix ""': "X-Forwarded-Prefix /reviews"}, "/"),  # removes the prefix
    ],
    ids=["root-path", "header"],
)
def test_pages_work_below_path(
    tmp_path: Path, options: list[str], changes: dict[str, str], slash: str
) -> None:
    reviews = tmp_path / "reviews.csv"
    reviews.write_text("text\nA fine film.\nA dull film.\n")
    changes = {**LOCATION, **changes}
    with (
        proxied(tmp_path, *options, changes=changes, slash=slash) as proxy,
        chromium(tmp_path / "profile") as browser,
    ):
        start = f"{proxy.address}/reviews/"
        browser.get(start)  # leads to the sign-in, and back
        browser.find_element(By.NAME, "key").send_keys(proxy.key, Keys.ENTER)
        WebDriverWait(browser, 20).until(url_to_be(start))

        browser.find_element(By.ID, "text").send_keys("A fine film.")
        browser.find_element(By.ID, "analyse").click()
        assert "positive" in shown(browser, "answer")
        assert shown(browser, "why")

        browser.get(f"{start}jobs")
        browser.find_element(By.ID, "file").send_keys(str(reviews))
        WebDriverWait(browser, 20).until(element_to_be_clickable((By.ID, "send"))).click()
        WebDriverWait(browser, 60).until(url_contains("/reviews/jobs/"))
        WebDriverWait(browser, 60).until(
            lambda page: "2 of 2" in page.page_source or "done" in shown(page, "state")
        )
        job = browser.current_url
        for page in (start, f"{start}jobs", job, f"{start}model", f"{start}docs/errors"):
            browser.get(page)
            for link in links(browser):
                assert link.startswith(start)
                assert browser.execute_async_script(STATUS, link) == 200, link

        browser.get(f"{start}docs")
        WebDriverWait(browser, 20).until(lambda page: "/v1/predict" in page.page_source)
        assert "/reviews" in browser.find_element(By.CSS_SELECTOR, ".servers").text
        faults = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
        assert faults == []


# Status of a GET request for a link.
STATUS = "const done = arguments[1]; fetch(arguments[0]).then((answer) => done(answer.status))"


def links(page: webdriver.Chrome) -> list[str]:
    """Return the URLs on this server of everything that the page links to or shows."""
    urls = page.execute_script(
        "return [...document.querySelectorAll('a[href], img, script[src], link')]"
        ".map((node) => node.href ?? node.src).filter((url) => url.startsWith(location.origin))"
    )
    assert len(urls) > 3
    return sorted(set(urls))
