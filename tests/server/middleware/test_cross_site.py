from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import ValidationError
from werkzeug.test import TestResponse

from reelsense import server
from reelsense.server.settings import Settings
from tests.server.secured import (
    ALL_ADDRESSES,
    GOOD,
    KEYS,
    SHOP,
    bearer,
    problem_code,
    ready_app,
    sign_in,
)


@pytest.fixture
def app() -> Flask:
    return ready_app(keys=KEYS)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


OTHER_SITES: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    {"Origin": "https://elsewhere.example"},
    {"Origin": "http://localhost:8080"},
    {"Origin": "http://localhost.elsewhere.example"},
    {"Origin": "null"},
    {"Origin": "http://[::1"},
    {},
]
SAME_SITE = [
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://localhost"},
]


@pytest.mark.parametrize("headers", OTHER_SITES, ids=str)
def test_cross_site_request_with_cookie_is_rejected(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    assert client.post("/sign-in", data={"key": SHOP}, headers=headers).status_code == 403
    sign_in(client, SHOP)
    for path in ("/v1/predict", "/models/default", "/", "/invocations", "/sign-out"):
        answer = client.post(path, json=GOOD, headers=headers)
        assert answer.status_code == 403
        assert problem_code(answer) == "forbidden"
        detail = answer.get_json()["detail"]
        assert headers.get("Origin", "") in detail
        assert "--cors-origins" in detail
        assert "Authorization: Bearer KEY" in detail
    assert client.get("/").status_code == 200
    # Browsers never add this header by themselves.
    sent = headers | bearer(SHOP)
    assert client.post("/v1/predict", json=GOOD, headers=sent).status_code == 200


@pytest.mark.parametrize("headers", SAME_SITE, ids=str)
def test_same_origin_request_with_cookie_is_accepted(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    assert client.post("/sign-in", data={"key": SHOP}, headers=headers).status_code == 302
    assert client.post("/v1/predict", json=GOOD, headers=headers).status_code == 200
    assert client.post("/sign-out", headers=headers).status_code == 302


def test_forwarded_host_is_trusted_behind_proxy_only() -> None:
    headers = {"X-Forwarded-Host": "reviews.example", "Origin": "https://reviews.example"}
    for proxies, status in ((0, 403), (1, 302)):
        client = ready_app(keys=KEYS, trusted_proxies=proxies).test_client()
        assert client.post("/sign-in", data={"key": SHOP}, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *[(host, 200) for host in ("localhost:5000", "127.0.0.1", "[::1]:5000", "me.localhost")],
        *[(host, 403) for host in ("evil.example", "evil.example.:5000", "127.0.0.1.evil.example")],
        ("box:5000", 200),
    ],
)
def test_dns_rebinding_is_rejected(host: str, status: int) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    client = ready_app().test_client()
    assert client.post("/v1/predict", json=GOOD, headers=headers).status_code == status
    assert client.get("/metrics", headers=headers).status_code == status
    assert client.get("/healthz", headers=headers).status_code == 200
    meant: list[dict[str, Any]] = [{"insecure_public": True}, {"host": ALL_ADDRESSES}]
    for settings in meant:
        client = ready_app(**settings).test_client()
        assert client.post("/v1/predict", json=GOOD, headers=headers).status_code == 200


def test_every_response_has_security_headers(
    client: FlaskClient, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("secret inside")

    monkeypatch.setitem(app.view_functions, "open_inference.server", broken)
    statuses = set()
    for method, path in (
        ("GET", "/"),
        ("GET", "/sign-in"),
        ("GET", "/docs"),
        ("GET", "/docs/errors"),
        ("GET", "/docs/swagger-ui/css/swagger-ui.css"),
        ("GET", "/static/review.js"),
        ("GET", "/openapi.json"),
        ("GET", "/healthz"),
        ("GET", "/v1/info"),
        ("POST", "/v1/predict"),
        ("GET", "/v2"),
        ("GET", "/metrics"),
        ("GET", "/nothing"),
        ("DELETE", "/v1/info"),
        ("OPTIONS", "/v1/info"),
    ):
        with client.open(path, method=method, headers=bearer(SHOP)) as answer:
            statuses.add(answer.status_code)
            policy = dict(
                part.split(maxsplit=1)
                for part in answer.headers["Content-Security-Policy"].split(";")
            )
            assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
            assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            kept = "static" in path or "swagger-ui" in path
            assert (answer.headers.get("Cache-Control") == "no-store") == (not kept)
    assert statuses == {200, 403, 404, 405, 415, 500}
    assert client.get("/v1/info").headers["Content-Security-Policy"]  # 401


class Inline(HTMLParser):
    """Finds inline scripts, styles and other content that the security policy forbids."""

    def __init__(self) -> None:
        super().__init__()
        self.violations: list[str] = []
        self._script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self._script = tag == "script"
        if tag in ("style", "base", "iframe", "object", "embed"):
            self.violations.append(tag)
        if self._script and "src" not in known:
            self.violations.append("script without src")
        for name, value in attrs:
            if name.startswith("on") or name in ("style", "srcdoc"):
                self.violations.append(f"{tag} {name}")
            if (value or "").strip().lower().startswith("javascript:"):
                self.violations.append(f"{tag} {name}={value}")

    def handle_endtag(self, tag: str) -> None:
        self._script = False  # what follows is text of the page

    def handle_data(self, data: str) -> None:
        if self._script and data.strip():
            self.violations.append(f"script: {data}")


def inline(page: str) -> list[str]:
    parser = Inline()
    parser.feed(page)
    return parser.violations


def test_templates_have_no_inline_script_or_style() -> None:
    assert len(inline('<p onclick="x"></p><script>x</script><style></style>')) == 4
    templates = sorted((Path(server.__file__).parent / "templates").iterdir())
    assert len(templates) > 3
    for template in templates:
        assert inline(template.read_text()) == [], template.name


def test_pages_have_no_inline_script_or_style(client: FlaskClient) -> None:
    for path in ("/", "/docs", "/docs/errors", "/sign-in"):
        assert inline(client.get(path, headers=bearer(SHOP)).text) == []
    assert inline(sign_in(client, "<script>").text) == []


FROM_A = {"Origin": "https://a.example"}
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type",
}


TEI = ("/predict", "/invocations", "/classify", "/")


def cross_origin(answer: TestResponse) -> dict[str, str]:
    return {name: value for name, value in answer.headers if name.startswith("Access-Control-")}


def test_cors_is_disabled_by_default(client: FlaskClient) -> None:
    for path in ("/v1/predict", "/v2/models/default/infer", "/models/default", *TEI):
        assert cross_origin(client.options(path, headers=FROM_A | PREFLIGHT)) == {}
        assert cross_origin(client.post(path, headers=FROM_A | bearer(SHOP))) == {}


@pytest.mark.parametrize("settings", [{}, {"keys": KEYS}], ids=["open", "keys"])
@pytest.mark.parametrize(
    "origins",
    ["https://a.example", "https://b.example https://a.example", "http://x,https://a.example"],
)
def test_cors_allows_configured_origins(settings: dict[str, str], origins: str) -> None:
    client = ready_app(cors_origins=origins, **settings).test_client()
    for path in (*("/v1/predict", "/v2/models/default/infer", "/models/default"), *TEI[:2]):
        answer = client.options(path, headers=FROM_A | PREFLIGHT)
        assert answer.status_code == 200
        headers = cross_origin(answer)
        assert headers["Access-Control-Allow-Origin"] == "https://a.example"
        assert "POST" in headers["Access-Control-Allow-Methods"]
        assert headers["Access-Control-Allow-Headers"] == "authorization, content-type"
        assert "Access-Control-Allow-Credentials" not in headers
    for more in (bearer(SHOP), {}):  # the page can read problem responses, too
        answer = client.post("/v1/predict", json=GOOD, headers=FROM_A | more)
        headers = cross_origin(answer)
        assert headers["Access-Control-Allow-Origin"] == "https://a.example"
        assert "Retry-After" in headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Credentials" not in headers


@pytest.mark.parametrize(
    "origin",
    [
        "https://b.example",
        "http://a.example",
        "https://a.example:8080",
        "https://a.example.elsewhere.example",
        "https://aXexample",
        "https://elsewhere.example/https://a.example",
        "null",
    ],
)
def test_cors_rejects_other_origins(origin: str) -> None:
    client = ready_app(cors_origins="https://a.example").test_client()
    headers = {"Origin": origin}
    assert cross_origin(client.options("/v1/predict", headers=headers | PREFLIGHT)) == {}
    assert cross_origin(client.post("/v1/predict", json=GOOD, headers=headers)) == {}


@pytest.mark.parametrize("origin", ["https://*.a.example", "https://(a|b)", "https://a.example$"])
def test_cors_origin_pattern_is_rejected(origin: str) -> None:
    with pytest.raises(ValidationError, match=r"for example https://a\.example"):
        Settings(cors_origins=origin)


def test_cors_origin_with_ipv6_address_is_literal() -> None:
    client = ready_app(cors_origins="http://[::1]:3000").test_client()
    for origin, known in (("http://[::1]:3000", True), ("http://1:3000", False)):
        answer = client.post("/v1/predict", json=GOOD, headers={"Origin": origin})
        assert ("Access-Control-Allow-Origin" in answer.headers) == known


def test_cors_excludes_pages_and_metrics() -> None:
    client = ready_app(cors_origins="https://a.example", keys=KEYS).test_client()
    for path in ("/", "/sign-in", "/metrics", "/admin/reload", "/healthz", "/openapi.json"):
        assert cross_origin(client.options(path, headers=FROM_A | PREFLIGHT)) == {}
        assert cross_origin(client.get(path, headers=FROM_A)) == {}


def test_cors_includes_root_of_v2() -> None:
    client = ready_app(cors_origins="https://a.example").test_client()
    assert cross_origin(client.get("/v2", headers=FROM_A)) != {}


@pytest.mark.parametrize("origins", ["", "https://b.example"])
def test_cross_origin_error_without_keys_names_origin_and_setting(origins: str) -> None:
    client = ready_app(cors_origins=origins).test_client()
    for path in ("/v1/predict", "/predict", "/", "/answer"):
        answer = client.post(path, json=GOOD, headers=FROM_A)
        assert (answer.status_code, problem_code(answer)) == (403, "forbidden")
        detail = answer.get_json()["detail"]
        assert "from https://a.example rejected" in detail
        assert "--cors-origins" in detail
    long = client.post("/v1/predict", json=GOOD, headers={"Origin": "https://a" + "a" * 9000})
    assert len(long.get_json()["detail"]) < 500
