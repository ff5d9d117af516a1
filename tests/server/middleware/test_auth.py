import hashlib
import logging
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from pydantic import ValidationError
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response

from reelsense import server
from reelsense.cli import cli
from reelsense.errors import ReelsenseError, SettingsError
from reelsense.server.app import create_app
from reelsense.server.middleware.auth import check_access
from reelsense.server.middleware.keys import Key
from reelsense.server.process.run import run
from reelsense.server.settings import Settings, is_loopback
from reelsense.server.settings_sources import read_settings
from tests import tiny
from tests.server.conftest import wait_until_ready
from tests.waiting import wait_until

SHOP, TILL, OPS = (f"rs_{name * 10}" for name in ("shop", "till", "ops0"))


def line(name: str, secret: str, rate: str | None = None, *, admin: bool = False) -> str:
    return Key(name, hashlib.sha256(secret.encode()).hexdigest(), rate, admin).line()


KEYS = ";".join([line("shop", SHOP), line("till", TILL, "1/day"), line("ops", OPS, admin=True)])
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
GOOD = {"text": "good"}
ALL_ADDRESSES = "0.0.0.0"  # noqa: S104


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def ready_app(**settings: Any) -> Flask:
    app = create_app(Settings(**settings), tiny.classifier())
    wait_until_ready(app.test_client())
    return app


@pytest.fixture
def app() -> Flask:
    return ready_app(keys=KEYS)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def code(answer: Response) -> str:
    """Return the problem code of `answer`, or "" if it is no problem."""
    if answer.content_type != "application/problem+json" or not answer.data:
        return ""
    value: str = answer.get_json()["code"]
    return value


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_loopback_host_needs_no_keys(host: str) -> None:
    assert is_loopback(host)
    check_access(Settings(host=host))


@pytest.mark.parametrize(
    "host", [ALL_ADDRESSES, "::", "", "192.168.0.7", "reviews.example", "localhost.example"]
)
def test_reachable_host_needs_keys_or_insecure_public(host: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"`reelsense key NAME .*--insecure-public"):
        check_access(Settings(host=host))
    check_access(Settings.model_validate({"host": host, "keys": line("shop", SHOP)}))
    file = tmp_path / "the.keys"
    file.write_text(line("shop", SHOP))
    check_access(Settings(host=host, keys_file=str(file)))
    check_access(Settings(host=host, insecure_public=True))


def test_run_rejects_reachable_host_without_keys() -> None:
    with pytest.raises(SettingsError, match=ALL_ADDRESSES) as error:
        run(Settings(host=ALL_ADDRESSES))
    assert error.value.code == "public-without-keys"


def test_start_fails_if_keys_file_is_unusable(tmp_path: Path) -> None:
    file = tmp_path / "the.keys"
    for content, code in (
        (None, "no-keys-file"),
        (b"\xff\xfe", "unreadable-keys"),
        (b"", "no-keys"),
        (b"# shop\n", "no-keys"),
        (b"shop", "malformed-key"),
    ):
        if content is not None:
            file.write_bytes(content)
        for start in (create_app, check_access):
            with pytest.raises(SettingsError) as error:
                start(Settings(keys_file=str(file)))
            assert error.value.code == code
            assert str(file) in str(error.value)


def test_missing_keys_file_error_names_command(tmp_path: Path) -> None:
    file = tmp_path / "the keys"
    with pytest.raises(SettingsError, match="reelsense key NAME") as error:
        run(Settings(keys_file=str(file)))
    assert error.value.code == "no-keys-file"
    with pytest.raises(SettingsError, match=r"[Ii]s a directory") as error:
        run(Settings(keys_file=str(tmp_path)))
    assert error.value.code != "no-keys-file"


def test_unknown_host_is_reported_before_missing_keys() -> None:
    with pytest.raises(ReelsenseError) as error:
        run(Settings(host="nohost.invalid"))
    assert error.value.code == "unknown-host"


def test_keys_setting_without_key_is_rejected() -> None:
    with pytest.raises(SettingsError):
        create_app(Settings.model_validate({"keys": f"# {line('shop', SHOP)}"}), tiny.classifier())


def test_keys_of_file_and_setting_are_combined(tmp_path: Path) -> None:
    file = tmp_path / "the.keys"
    file.write_text(line("shop", SHOP))
    client = ready_app(keys_file=str(file), keys=line("till", TILL)).test_client()
    for secret in (SHOP, TILL):
        assert client.get("/v1/info", headers=bearer(secret)).status_code == 200
    with pytest.raises(SettingsError, match="two keys are named shop"):
        create_app(
            Settings.model_validate({"keys_file": str(file), "keys": line("shop", TILL)}),
            tiny.classifier(),
        )


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({}, None),
        ({"Cookie": "reelsense=forged"}, None),
        (bearer("rs_unknown"), "invalid_token"),
        (bearer(SHOP[:-1]), "invalid_token"),
        (bearer(hashlib.sha256(SHOP.encode()).hexdigest()), "invalid_token"),
        (bearer("a=b"), "invalid_token"),
        (bearer("\xe9"), "invalid_token"),
        ({"Authorization": "Basic c2hvcDpzaG9w"}, None),
        ({"Authorization": SHOP}, None),
    ],
)
def test_request_without_valid_key_gets_401(
    app: Flask, headers: dict[str, str], error: str | None
) -> None:
    client = app.test_client(use_cookies=False)
    for method, path in (("POST", "/v1/predict"), ("GET", "/v1/info"), ("GET", "/metrics")):
        answer = client.open(path, method=method, json=GOOD, headers=headers)
        assert answer.status_code == 401
        assert code(answer) == "unauthorized"
        assert answer.www_authenticate.type == "bearer"
        assert re.search(r'\brealm="[^"]+"', answer.headers["WWW-Authenticate"])
        assert answer.www_authenticate.get("error") == error


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_request_with_key_is_answered(client: FlaskClient, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {SHOP}"}
    assert client.post("/v1/predict", json=GOOD, headers=headers).status_code == 200
    assert client.get("/", headers=headers).status_code == 200


def test_admin_key_is_valid_for_admin_endpoints_only(client: FlaskClient) -> None:
    headers = bearer(OPS)
    assert client.get("/metrics", headers=headers).status_code == 200
    assert client.post("/admin/reload", headers=headers).status_code == 202
    for method, path in (
        ("POST", "/v1/predict"),
        ("GET", "/v1/info"),
        ("GET", "/"),
        ("GET", "/v2"),
    ):
        answer = client.open(path, method=method, json=GOOD, headers=headers)
        assert answer.status_code == 403
        assert code(answer) == "forbidden"


def test_ordinary_key_is_invalid_for_admin_endpoints(client: FlaskClient) -> None:
    for method, path in (("GET", "/metrics"), ("HEAD", "/metrics"), ("POST", "/admin/reload")):
        assert client.open(path, method=method, headers=bearer(SHOP)).status_code == 403


def test_server_without_keys_rejects_reload_only() -> None:
    client = ready_app().test_client()
    assert client.post("/v1/predict", json=GOOD).status_code == 200
    assert client.get("/metrics").status_code == 200
    assert code(client.post("/admin/reload")) == "forbidden"


def test_unmatched_url_needs_no_key(client: FlaskClient) -> None:
    assert client.get("/v1/nothing").status_code == 404
    assert client.get("/v1/predict").status_code == 405


PUBLIC = {
    "health.healthz",
    "health.readyz",
    "health.startedz",
    "open_inference.live",
    "open_inference.ready",
    "pages.docs",
    "pages.errors",
    "pages.openapi",
    "pages.sign_in",
    "pages.sign_out",
    "pages.signed_in",
    "pages.swagger_ui",
    "static",
}
PAGES = {"review_page.index", "model_page.model", "model_page.report", "model_page.card"}
PAGES |= {"job_pages.index", "job_pages.show", "job_pages.row"}
REPORT_PAGES = {"model_page.report", "model_page.plot"}
JOB_ENDPOINTS = {"job_pages.row"} | {
    f"{place}.{name}"
    for place, names in {
        "jobs": ("show", "rows", "result", "cancel", "remove"),
        "job_pages": ("show", "progress", "table", "cancel", "remove"),
    }.items()
    for name in names
}
FILES = {"static": "/static/page.css", "pages.swagger_ui": "/docs/swagger-ui/css/swagger-ui.css"}


def routes(app: Flask) -> list[tuple[str, str, str]]:
    """Return endpoint, method and path of every route."""
    return [
        (rule.endpoint, method, FILES.get(rule.endpoint, rule.rule.replace("<int:n>", "0")))
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"OPTIONS"})
    ]


def test_all_endpoints_but_public_ones_need_a_key() -> None:
    app = create_app(Settings.model_validate({"keys": KEYS}), tiny.classifier())
    app.add_url_rule("/new", "new", lambda: "new")
    client = app.test_client()
    wait_until_ready(client)
    for endpoint, method, path in routes(app):
        with client.open(path, method=method, headers=SAME_ORIGIN) as answer:
            if endpoint in PUBLIC:
                assert answer.status_code < 400 or endpoint == "pages.signed_in", path
                assert code(answer) == "", path
            elif endpoint in PAGES:
                query = "" if path == "/" else f"?{urlencode({'next': path}, safe='/')}"
                assert (answer.status_code, answer.location) == (302, f"/sign-in{query}")
            else:
                assert answer.status_code == 401, path
                assert b"new" not in answer.data
    assert {endpoint for endpoint, _, _ in routes(app)} > PUBLIC


def test_every_route_accepts_its_key(app: Flask, client: FlaskClient) -> None:
    for endpoint, method, path in routes(app):
        secret = OPS if endpoint.startswith("admin.") else SHOP
        with client.open(path, method=method, headers=bearer(secret) | SAME_ORIGIN) as answer:
            assert answer.status_code not in (403, 405), path
            # These tiny models have no report.
            gone = endpoint in REPORT_PAGES | JOB_ENDPOINTS
            assert (answer.status_code == 404) == gone, path
            assert code(answer) != "unauthorized", path


def statuses(client: FlaskClient, times: int, **more: Any) -> list[int]:
    """Send a number of requests, and return their statuses."""
    return [client.get("/v1/info", **more).status_code for _ in range(times)]


def test_rate_limit_applies_per_key() -> None:
    client = ready_app(keys=KEYS, rate_limit="2/day").test_client()
    assert statuses(client, 3, headers=bearer(SHOP)) == [200, 200, 429]
    assert statuses(client, 2, headers=bearer(TILL)) == [200, 429]  # its own
    assert client.get("/metrics", headers=bearer(OPS)).status_code == 200
    assert client.get("/v1/info").status_code == 401


def test_rate_limit_counts_all_interfaces_together() -> None:
    client = ready_app(keys=KEYS, rate_limit="2/day").test_client()
    headers = bearer(SHOP)
    assert client.post("/v1/predict", json=GOOD, headers=headers).status_code == 200
    assert client.get("/predict?sentence=good", headers=headers).status_code == 200
    assert client.post("/models/default", json={"inputs": "a"}, headers=headers).status_code == 429


def test_rate_limited_response_has_code_and_headers() -> None:
    client = ready_app(keys=KEYS).test_client()
    assert statuses(client, 1, headers=bearer(TILL)) == [200]
    answer = client.get("/v1/info", headers=bearer(TILL))
    assert answer.status_code == 429
    assert code(answer) == "rate-limited"
    assert "1 per 1 day" in answer.get_json()["detail"]
    assert 0 < int(answer.headers["Retry-After"]) <= 86401
    assert answer.headers["X-RateLimit-Limit"] == "1"


def test_rate_limit_applies_per_address_without_keys() -> None:
    client = ready_app(host=ALL_ADDRESSES, insecure_public=True, rate_limit="2/day").test_client()
    for address in ("10.0.0.1", "10.0.0.2"):
        from_there = {"REMOTE_ADDR": address}
        assert statuses(client, 3, environ_overrides=from_there) == [200, 200, 429]


@pytest.mark.parametrize(
    ("settings", "limit"),
    [
        ({}, None),
        ({"host": "::1"}, None),
        ({"rate_limit": "7/day"}, "7"),
        ({"host": ALL_ADDRESSES, "insecure_public": True}, "1200"),
        ({"keys": KEYS}, "1200"),
        ({"keys": KEYS, "rate_limit": "7/day"}, "7"),
    ],
)
def test_default_rate_limit(settings: dict[str, Any], limit: str | None) -> None:
    answer = ready_app(**settings).test_client().get("/v1/info", headers=bearer(SHOP))
    assert answer.status_code == 200
    assert answer.headers.get("X-RateLimit-Limit") == limit


def test_public_endpoints_but_sign_in_are_unlimited() -> None:
    app = ready_app(keys=KEYS, rate_limit="2/day")
    client = app.test_client()
    assert statuses(client, 3, headers=bearer(SHOP))[-1] == 429
    for endpoint, method, path in routes(app):
        if endpoint in PUBLIC - {"pages.signed_in"}:
            for _ in range(4):
                with client.open(path, method=method, headers=SAME_ORIGIN) as answer:
                    assert answer.status_code < 400, path
    wrong = [
        client.post("/sign-in", data={"key": "rs_guess"}, headers=SAME_ORIGIN).status_code
        for _ in range(3)
    ]
    assert wrong == [401, 401, 429]


def test_overloaded_response_keeps_its_retry_after() -> None:
    app = ready_app(keys=KEYS, rate_limit="1000/day")
    app.extensions["reelsense"].load_shedder.enter(10**9)
    answer = app.test_client().post("/v1/predict", json=GOOD, headers=bearer(SHOP))
    assert code(answer) == "overloaded"
    assert answer.headers["Retry-After"] == "1"


def test_forwarded_address_is_trusted_behind_proxy_only() -> None:
    there = [{"X-Forwarded-For": address} for address in ("10.0.0.1", "10.0.0.2")]
    open_to_all: dict[str, Any] = {
        "host": ALL_ADDRESSES,
        "insecure_public": True,
        "rate_limit": "1/day",
    }
    client = ready_app(**open_to_all).test_client()
    assert [statuses(client, 1, headers=headers) for headers in there] == [[200], [429]]
    client = ready_app(**open_to_all, trusted_proxies=1).test_client()
    assert [statuses(client, 2, headers=headers) for headers in there] == [[200, 429], [200, 429]]
    # Addresses that the client sends are to the left of the one that the proxy adds.
    for forged in ("6.6.6.6", "7.7.7.7"):
        headers = {"X-Forwarded-For": f"{forged}, 10.0.0.1"}
        assert statuses(client, 1, headers=headers) == [429]


def sign_in(client: FlaskClient, secret: str, **more: Any) -> TestResponse:
    return client.post("/sign-in", data={"key": secret}, headers=SAME_ORIGIN, **more)


def cookie(answer: TestResponse) -> set[str]:
    """Return the attributes of the cookie that `answer` sets, in lower case."""
    value, *attributes = answer.headers["Set-Cookie"].split("; ")
    assert value.startswith("reelsense=")
    return {attribute.lower() for attribute in attributes}


def test_browser_signs_in_and_out(client: FlaskClient) -> None:
    answer = client.get("/")
    assert (answer.status_code, answer.location) == (302, "/sign-in")
    form = client.get("/sign-in")
    assert form.status_code == 200
    assert b"not known" not in form.data
    answer = sign_in(client, f"  {SHOP}\n")
    assert (answer.status_code, answer.location) == (302, "/")
    assert b"Signed in as shop" in client.get("/").data
    assert client.post("/v1/predict", json=GOOD, headers=SAME_ORIGIN).status_code == 200
    answer = client.post("/sign-out", headers=SAME_ORIGIN)
    assert (answer.status_code, answer.location) == (302, "/sign-in")
    assert client.get("/").status_code == 302
    assert client.post("/v1/predict", json=GOOD, headers=SAME_ORIGIN).status_code == 401


@pytest.mark.parametrize("secret", ["", "rs_unknown", SHOP[:-1], "\x00", "shop", OPS])
def test_sign_in_page_reports_wrong_key(client: FlaskClient, secret: str) -> None:
    answer = sign_in(client, secret)
    assert answer.status_code == 401
    assert answer.mimetype == "text/html"
    message = b"This is an admin key" if secret == OPS else b"Unknown key."
    assert message in answer.data
    assert client.get("/").status_code == 302


def test_sign_in_with_wrong_key_ends_session(client: FlaskClient) -> None:
    sign_in(client, SHOP)
    sign_in(client, "rs_unknown")
    assert client.get("/").status_code == 302


@pytest.mark.parametrize(
    ("settings", "more", "secure"),
    [
        ({}, {}, False),
        ({}, {"base_url": "https://localhost"}, True),
        ({}, {"forwarded": "https"}, False),
        ({"trusted_proxies": 1}, {"forwarded": "https"}, True),
        ({"trusted_proxies": 1}, {"forwarded": "http"}, False),
        ({"trusted_proxies": 1}, {"forwarded": "https, http"}, False),
    ],
)
def test_session_cookie_attributes(
    settings: dict[str, Any], more: dict[str, str], secure: bool
) -> None:
    client = ready_app(keys=KEYS, **settings).test_client()
    forwarded = {"X-Forwarded-Proto": more.pop("forwarded")} if "forwarded" in more else {}
    answer = client.post("/sign-in", data={"key": SHOP}, headers=SAME_ORIGIN | forwarded, **more)
    assert answer.status_code == 302
    attributes = cookie(answer)
    assert {"httponly", "samesite=strict", "path=/"} <= attributes
    assert ("secure" in attributes) == secure
    assert not any(name.startswith("domain") for name in attributes)
    digest = hashlib.sha256(SHOP.encode()).hexdigest()
    assert not any(secret in answer.headers["Set-Cookie"] for secret in (SHOP, digest))


def test_session_cookie_is_valid_for_its_secret_only() -> None:
    ours = {"keys": KEYS, "secret": "s" * 16}
    signed = sign_in(ready_app(**ours).test_client(), SHOP).headers["Set-Cookie"].split(";")[0]

    def status(settings: dict[str, str]) -> int:
        client = ready_app(**settings).test_client(use_cookies=False)
        return client.get("/", headers={"Cookie": signed}).status_code

    assert status(ours) == 200
    assert status({"keys": KEYS}) == status(ours | {"secret": "t" * 16}) == 302


def test_removing_key_ends_its_sessions(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "the.keys"
    file.write_text(f"{line('shop', SHOP)}\n{line('till', TILL)}\n")
    app = ready_app(keys_file=str(file))
    authenticator = app.extensions["reelsense"].authenticator
    shop, till = app.test_client(), app.test_client()
    sign_in(shop, SHOP)
    sign_in(till, TILL)
    file.write_text(line("till", TILL))
    assert shop.get("/").status_code == 200
    authenticator.reload()
    assert shop.get("/").status_code == 302
    assert shop.post("/v1/predict", json=GOOD, headers=SAME_ORIGIN).status_code == 401
    assert shop.get("/v1/info", headers=bearer(SHOP)).status_code == 401
    assert till.get("/").status_code == 200
    file.write_text(f"{SHOP}\n")
    authenticator.reload()
    assert till.get("/").status_code == 200
    assert "keys not reloaded" in caplog.text
    assert SHOP not in caplog.text
    file.write_text(line("till", SHOP))
    authenticator.reload()
    assert till.get("/").status_code == 302  # a different key of the same name
    assert till.get("/v1/info", headers=bearer(SHOP)).status_code == 200


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
    for path in ("/v1/predict", "/models/default", "/sign-out"):
        answer = client.post(path, json=GOOD, headers=headers)
        assert answer.status_code == 403
        assert code(answer) == "forbidden"
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


def test_wrong_key_is_rejected_despite_session_cookie(client: FlaskClient) -> None:
    sign_in(client, SHOP)
    assert client.get("/v1/info").status_code == 200
    assert client.get("/v1/info", headers=bearer("rs_unknown")).status_code == 401


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


def cross_origin(answer: TestResponse) -> dict[str, str]:
    return {name: value for name, value in answer.headers if name.startswith("Access-Control-")}


def test_cors_is_disabled_by_default(client: FlaskClient) -> None:
    for path in ("/v1/predict", "/v2/models/default/infer", "/models/default", "/predict"):
        assert cross_origin(client.options(path, headers=FROM_A | PREFLIGHT)) == {}
        assert cross_origin(client.post(path, headers=FROM_A | bearer(SHOP))) == {}


@pytest.mark.parametrize("settings", [{}, {"keys": KEYS}], ids=["open", "keys"])
@pytest.mark.parametrize(
    "origins",
    ["https://a.example", "https://b.example https://a.example", "http://x,https://a.example"],
)
def test_cors_allows_configured_origins(settings: dict[str, str], origins: str) -> None:
    client = ready_app(cors_origins=origins, **settings).test_client()
    for path in ("/v1/predict", "/v2/models/default/infer", "/models/default", "/predict"):
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


def test_internal_error_response_has_no_details(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("secret inside")

    monkeypatch.setitem(app.view_functions, "api.info", broken)
    monkeypatch.setitem(app.view_functions, "pages.docs", broken)
    for path in ("/v1/info", "/docs"):
        answer = client.get(path, headers=bearer(SHOP))
        assert answer.status_code == 500
        assert code(answer) == "internal-error"
        for inside in (b"secret", b"Traceback", b"RuntimeError", b".py", SHOP.encode()):
            assert inside not in answer.data


def test_config_hides_secrets() -> None:
    hidden = "a-secret-that-signs-cookies"
    for arguments, environment in (
        (["--secret", hidden, "--keys", KEYS], {}),
        ([], {"REELSENSE_SECRET": hidden, "REELSENSE_KEYS": KEYS}),
    ):
        shown = CliRunner().invoke(cli, ["config", *arguments], env=environment)
        assert shown.exit_code == 0
        assert "# secret: set, but not shown" in shown.output
        assert "# keys: set, but not shown" in shown.output
        for word in (hidden, *KEYS.replace(";", " ").split()):
            assert len(word) < 20 or word not in shown.output


def test_config_hides_redis_password() -> None:
    shown = CliRunner().invoke(
        cli, ["config", "--rate-limit-storage", "redis://:hunter2@redis:6379"]
    )
    assert shown.exit_code == 0
    assert "hunter2" not in shown.output


def test_malformed_keys_setting_is_not_shown() -> None:
    environment = {"REELSENSE_KEYS": f"shop {SHOP}"}
    settings = read_settings({}, environment).settings
    for start in (create_app, check_access):
        with pytest.raises(SettingsError, match="keys, line 1: ") as error:
            start(settings)
        assert SHOP not in str(error.value)


def test_keys_are_not_logged(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        client.get("/v1/info", headers=bearer(SHOP))
        client.get("/v1/info", headers=bearer("rs_unknown"))
        sign_in(client, SHOP)
        sign_in(client, "rs_unknown")
        client.get("/")
    assert caplog.records
    assert not any(
        secret in str(vars(record)) for record in caplog.records for secret in (SHOP, "rs_unknown")
    )


@contextmanager
def redis_server(folder: Path, port: int) -> Iterator[str]:
    process = subprocess.Popen(  # noqa: S603
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""],  # noqa: S607
        stdout=subprocess.DEVNULL,
    )

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(20)


@pytest.mark.skipif(not shutil.which("redis-server"), reason="needs redis-server")
def test_servers_share_rate_limit_in_redis_and_survive_its_loss(tmp_path: Path) -> None:
    pytest.importorskip("redis")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with redis_server(tmp_path, port) as storage:
        shared = {"keys": KEYS, "rate_limit": "3/day", "rate_limit_storage": storage}
        one, other = (ready_app(**shared).test_client() for _ in range(2))
        headers = bearer(SHOP)
        assert [statuses(client, 1, headers=headers)[0] for client in (one, other) * 2] == [
            200, 200, 200, 429
        ]  # fmt: skip
        assert statuses(other, 2, headers=bearer(TILL)) == [200, 429]
        assert statuses(one, 1, headers=bearer(TILL)) == [429]
    for client in (one, other):  # without Redis, servers count separately
        assert statuses(client, 4, headers=headers) == [200, 200, 200, 429]
    assert statuses(ready_app(**shared).test_client(), 4, headers=headers) == [200, 200, 200, 429]


def test_wrong_keys_are_rate_limited_by_address() -> None:
    client = ready_app(keys=KEYS, rate_limit="2/day").test_client()
    statuses = [client.get("/v1/info", headers=bearer("rs_wrong")).status_code for _ in range(3)]
    assert statuses == [401, 401, 429]
    assert client.get("/v1/info", headers=bearer(SHOP)).status_code == 200
    assert client.get("/healthz").status_code == 200


def test_rate_limit_treats_ipv6_network_as_one_address() -> None:
    client = ready_app(rate_limit="1/day").test_client()

    def status(address: str) -> int:
        environ = {"REMOTE_ADDR": address}
        return client.get("/v1/info", environ_base=environ).status_code

    assert status("2001:db8:1:2::1") == 200
    assert status("2001:db8:1:2:ffff::9") == 429
    assert status("2001:db8:1:3::1") == 200
    assert status("::ffff:192.0.2.1") == status("::ffff:192.0.2.2") == 200


def test_proxy_makes_server_reachable() -> None:
    with pytest.raises(SettingsError, match="behind a proxy"):
        check_access(Settings(trusted_proxies=1))
    check_access(Settings(trusted_proxies=1, insecure_public=True))


def test_unusable_rate_limit_storage_is_rejected() -> None:
    for storage in ("nonsense://x", "redis://h:99999"):
        with pytest.raises(SettingsError, match=r"^--rate-limit-storage: "):
            check_access(Settings(rate_limit="2/day", rate_limit_storage=storage))
