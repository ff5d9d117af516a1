import hashlib
import logging
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from reelsense.cli import cli
from reelsense.errors import ReelsenseError, SettingsError
from reelsense.server.app import create_app
from reelsense.server.middleware.auth import check_access
from reelsense.server.process.run import run
from reelsense.server.settings import Settings, is_loopback
from reelsense.server.settings_sources import read_settings
from tests import tiny
from tests.server.conftest import wait_until_ready
from tests.server.secured import (
    ALL_ADDRESSES,
    CRITIC,
    GOOD,
    KEYS,
    OPS,
    PUBLIC,
    SAME_ORIGIN,
    SHOP,
    TILL,
    WITH_CRITIC,
    bearer,
    line,
    problem_code,
    ready_app,
    routes,
    sign_in,
)


@pytest.fixture
def app() -> Flask:
    return ready_app(keys=KEYS)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost", "unix:/run/x"])
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
        assert problem_code(answer) == "unauthorized"
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
        assert problem_code(answer) == "forbidden"


def test_ordinary_key_is_invalid_for_admin_endpoints(client: FlaskClient) -> None:
    for method, path in (("GET", "/metrics"), ("HEAD", "/metrics"), ("POST", "/admin/reload")):
        assert client.open(path, method=method, headers=bearer(SHOP)).status_code == 403


def test_server_without_keys_rejects_reload_only() -> None:
    client = ready_app().test_client()
    assert client.post("/v1/predict", json=GOOD).status_code == 200
    assert client.get("/metrics").status_code == 200
    assert problem_code(client.post("/admin/reload")) == "forbidden"


def test_unmatched_url_needs_no_key(client: FlaskClient) -> None:
    assert client.get("/v1/nothing").status_code == 404
    assert client.get("/v1/predict").status_code == 405


PAGES = {"review_page.index", "model_page.model", "model_page.report", "model_page.card"}
PAGES |= {"job_pages.index", "job_pages.show", "job_pages.row", "queue_page.index"}
REPORT_PAGES = {"model_page.report", "model_page.plot"}
JOB_ENDPOINTS = {"job_pages.row"} | {
    f"{place}.{name}"
    for place, names in {
        "jobs": ("show", "rows", "result", "cancel", "remove"),
        "job_pages": ("show", "progress", "summary", "table", "cancel", "remove"),
        "summaries": ("summary",),
    }.items()
    for name in names
}


def test_all_endpoints_but_public_ones_need_a_key() -> None:
    app = create_app(Settings.model_validate({"keys": KEYS}), tiny.classifier())
    app.add_url_rule("/new", "new", lambda: "new")
    client = app.test_client()
    wait_until_ready(client)
    for endpoint, method, path in routes(app):
        with client.open(path, method=method, headers=SAME_ORIGIN) as answer:
            if endpoint in PUBLIC:
                assert answer.status_code < 400 or endpoint == "pages.signed_in", path
                assert problem_code(answer) == "", path
            elif endpoint in PAGES:
                query = "" if path == "/" else f"?{urlencode({'next': path}, safe='/')}"
                assert (answer.status_code, answer.location) == (302, f"/sign-in{query}")
            else:
                assert answer.status_code == 401, path
                assert b"new" not in answer.data
    assert {endpoint for endpoint, _, _ in routes(app)} > PUBLIC


def key_for(endpoint: str) -> str:
    admin = {"feedback.listed", "feedback.stats", "shadow.shadow"}
    if endpoint.startswith("admin.") or endpoint in admin:
        return OPS
    return CRITIC if endpoint.startswith(("feedback", "queue_page")) else SHOP


def test_every_route_accepts_its_key() -> None:
    app = ready_app(keys=WITH_CRITIC)
    client = app.test_client()
    for endpoint, method, path in routes(app):
        secret = key_for(endpoint)
        with client.open(path, method=method, headers=bearer(secret) | SAME_ORIGIN) as answer:
            assert answer.status_code not in (403, 405), path
            # These tiny models have no report.
            gone = endpoint in REPORT_PAGES | JOB_ENDPOINTS
            assert (answer.status_code == 404) == gone, path
            assert problem_code(answer) != "unauthorized", path


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
    message = b"This is an admin key" if secret == OPS else b"Invalid key."
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


def test_wrong_key_is_rejected_despite_session_cookie(client: FlaskClient) -> None:
    sign_in(client, SHOP)
    assert client.get("/v1/info").status_code == 200
    assert client.get("/v1/info", headers=bearer("rs_unknown")).status_code == 401


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
        assert problem_code(answer) == "internal-error"
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


def test_proxy_makes_server_reachable() -> None:
    with pytest.raises(SettingsError, match="behind a proxy"):
        check_access(Settings(trusted_proxies=1))
    check_access(Settings(trusted_proxies=1, insecure_public=True))
