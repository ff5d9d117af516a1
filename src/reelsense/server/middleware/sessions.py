"""Sessions of the web pages: a signed cookie that expires, and that sign-out makes invalid."""

from __future__ import annotations

import secrets
import time
from datetime import timedelta

from flask import Flask, request, session
from flask.sessions import SecureCookieSessionInterface

from reelsense.server.middleware.keys import Authenticator, Key
from reelsense.server.state import get_state, state_of

_LIFETIME = timedelta(hours=12)  # only another sign-in starts a new session


class _Cookies(SecureCookieSessionInterface):
    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002  # Flask's signature
        return request.is_secure  # also behind a proxy that ends TLS, through ProxyFix

    def get_cookie_path(self, app: Flask) -> str:  # noqa: ARG002  # Flask's signature
        return request.script_root or "/"  # not the paths of other servers behind the same proxy


def register(app: Flask) -> None:
    """Let `app` keep sessions in cookies."""
    secret = state_of(app).settings.secret
    app.secret_key = secret.get_secret_value() if secret else secrets.token_urlsafe(32)
    app.session_interface = _Cookies()
    app.config.update(
        SESSION_COOKIE_NAME="reelsense",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=_LIFETIME,
    )


def begin(key: Key) -> None:
    """Begin a session that uses `key`."""
    end()
    session.permanent = True
    session["id"] = secrets.token_urlsafe(16)
    session["key"] = [key.name, key.digest[:16]]
    session["expires"] = time.time() + _LIFETIME.total_seconds()


def end() -> None:
    """End the session of the browser, if it has one: a copy of its cookie becomes invalid, too."""
    session_id, expires = session.get("id"), session.get("expires")
    session.clear()
    if session_id is not None and expires is not None:
        get_state().ended_sessions.add(session_id, expires)


def key_of_session(authenticator: Authenticator) -> Key | None:
    """Return the key that the browser signed in with, if session and key are still valid."""
    known, session_id = session.get("key"), session.get("id")
    if session_id is None or session.get("expires", 0) < time.time():
        return None
    if session_id in get_state().ended_sessions:
        return None
    return next((key for key in authenticator.keys if [key.name, key.digest[:16]] == known), None)
