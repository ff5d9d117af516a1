"""Attacks with copied session cookies."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from reelsense.server.state import state_of
from tests.server.secured import KEYS, SAME_ORIGIN, SHOP, ready_app, sign_in

pytestmark = pytest.mark.security

SECRET = "0123456789abcdef"  # noqa: S105


def make(tmp_path: Path) -> Flask:
    database = f"sqlite:///{tmp_path / 'jobs.db'}"
    return ready_app(keys=KEYS, secret=SECRET, database=database)


def is_signed_in(client: FlaskClient) -> bool:
    return client.get("/v1/info").status_code == 200


def copy_of(client: FlaskClient, app: Flask) -> FlaskClient:
    cookie = client.get_cookie("reelsense")
    assert cookie
    other = app.test_client()
    other.set_cookie("reelsense", cookie.value)
    return other


def test_copied_cookie_is_invalid_after_sign_out(tmp_path: Path) -> None:
    app = make(tmp_path)
    client = app.test_client()
    sign_in(client, SHOP)
    copied = copy_of(client, app)
    assert is_signed_in(client)
    assert is_signed_in(copied)
    client.post("/sign-out", headers=SAME_ORIGIN)
    assert not is_signed_in(client)
    assert not is_signed_in(copied)


def test_another_sign_in_ends_the_session_before(tmp_path: Path) -> None:
    app = make(tmp_path)
    client = app.test_client()
    sign_in(client, SHOP)
    copied = copy_of(client, app)
    sign_in(client, SHOP)
    assert is_signed_in(client)
    assert not is_signed_in(copied)


def test_other_servers_and_later_ones_know_ended_sessions(tmp_path: Path) -> None:
    app, other = make(tmp_path), make(tmp_path)
    client = app.test_client()
    sign_in(client, SHOP)
    copied = copy_of(client, other)
    assert is_signed_in(copied)
    client.post("/sign-out", headers=SAME_ORIGIN)
    state_of(other).ended_sessions.refresh()
    assert not is_signed_in(copied)
    later = make(tmp_path)
    state_of(later).ended_sessions.refresh()
    assert not is_signed_in(copy_of(copied, later))


def test_use_does_not_extend_a_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make(tmp_path)
    client = app.test_client()
    sign_in(client, SHOP)
    now = time.time()
    for hours in (4, 8, 11.9):
        monkeypatch.setattr(time, "time", lambda later=now + hours * 3600: later)
        assert is_signed_in(client)
        assert "Set-Cookie" not in client.get("/").headers
    monkeypatch.setattr(time, "time", lambda: now + 12.1 * 3600)
    assert not is_signed_in(client)


def test_sign_out_works_without_the_database(tmp_path: Path) -> None:
    app = ready_app(keys=KEYS, secret=SECRET, database=f"sqlite:///{tmp_path}/gone/jobs.db")
    client = app.test_client()
    sign_in(client, SHOP)
    copied = copy_of(client, app)
    assert client.post("/sign-out", headers=SAME_ORIGIN).status_code == 302
    assert not is_signed_in(copied)
