"""Requests that arrive through a reverse proxy with a path prefix."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from reelsense.server.app import create_app
from reelsense.server.settings import Settings
from tests import tiny
from tests.server.conftest import wait_until_ready
from tests.server.secured import KEYS, SHOP, ready_app, sign_in

PREFIX = "/shop/reviews"


@pytest.fixture(scope="module", params=["root_path", "header", "both"])
def prefixed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> FlaskClient:
    """A client that sends paths without the prefix, as a proxy that removes it."""
    database = tmp_path_factory.mktemp("jobs") / "jobs.db"
    settings: dict[str, Any] = {"database": f"sqlite:///{database}"}
    if request.param != "header":
        settings["root_path"] = PREFIX
    if request.param != "root_path":
        settings |= {"trusted_proxies": 1, "insecure_public": True}
    client = ready_app(**settings).test_client()
    if request.param != "root_path":
        client.environ_base["HTTP_X_FORWARDED_PREFIX"] = PREFIX
    return client


def links(page: str) -> list[str]:
    return re.findall(r'(?:href|src|action|data-(?:answer|from|preview|send|why))="(/[^"]*)"', page)


@pytest.mark.parametrize("page", ["/", "/jobs", "/model", "/docs", "/docs/errors", "/nowhere"])
def test_links_have_prefix(prefixed: FlaskClient, page: str) -> None:
    answer = prefixed.get(page, headers={"Accept": "text/html"})
    found = links(answer.text)
    assert len(found) > 3
    assert [link for link in found if not link.startswith(f"{PREFIX}/")] == []


def test_prefix_in_path_is_removed(prefixed: FlaskClient) -> None:
    body = {"text": "good"}
    assert prefixed.post(f"{PREFIX}/v1/predict", json=body).status_code == 200
    assert prefixed.post("/v1/predict", json=body).status_code == 200
    assert prefixed.get(f"{PREFIX}/").status_code == 200
    assert prefixed.get(f"{PREFIX}x/").status_code == 404


def test_openapi_document_names_prefix(prefixed: FlaskClient) -> None:
    assert prefixed.get("/openapi.json").get_json()["servers"] == [{"url": PREFIX}]


def test_problem_type_has_prefix(prefixed: FlaskClient) -> None:
    problem = prefixed.post("/v1/predict", json={"text": ""}).get_json()
    assert problem["type"] == f"{PREFIX}/docs/errors#invalid-request"


def test_location_of_job_has_prefix(prefixed: FlaskClient) -> None:
    answer = prefixed.post("/v1/jobs?name=a.csv", data=b"text\ngood\n", content_type="text/csv")
    assert answer.headers["Location"].startswith(f"{PREFIX}/v1/jobs/")


def test_sign_in_leads_back_below_prefix() -> None:
    client = ready_app(keys=KEYS, root_path=PREFIX).test_client()
    answer = client.get("/jobs?a=b", headers={"Accept": "text/html"})
    assert answer.location == f"{PREFIX}/sign-in?next=/shop/reviews/jobs?a%3Db"
    answer = sign_in(client, SHOP)
    assert answer.location == f"{PREFIX}/"
    assert f"Path={PREFIX}" in answer.headers["Set-Cookie"]


def test_header_of_untrusted_proxy_is_ignored() -> None:
    client = ready_app().test_client()
    answer = client.get("/", headers={"X-Forwarded-Prefix": PREFIX})
    assert PREFIX not in answer.text


@pytest.fixture(scope="module")
def behind_proxy() -> FlaskClient:
    app = create_app(Settings(trusted_proxies=1, insecure_public=True), tiny.classifier())
    client = app.test_client()
    wait_until_ready(client)
    return client


@given(prefix=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20))
def test_forwarded_prefix_never_leads_to_another_host(
    behind_proxy: FlaskClient, prefix: str
) -> None:
    page = behind_proxy.get("/", headers={"X-Forwarded-Prefix": prefix}).text
    assert [
        link for link in links(page) if not re.fullmatch(r"/([\w.~?=-][\w.~?=/-]*)?", link)
    ] == []


@pytest.mark.parametrize("path", ["reviews", "//reviews", "/a b", "https://a.example/", "/a//b"])
def test_invalid_root_path_is_rejected(path: str) -> None:
    with pytest.raises(ValidationError):
        Settings(root_path=path)


def test_root_path_may_end_with_slash() -> None:
    assert Settings(root_path="/reviews/").root_path == "/reviews"
    assert Settings(root_path="/").root_path == ""
