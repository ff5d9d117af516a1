"""Authentication and authorization of requests, by API key or session cookie."""

from __future__ import annotations

import secrets
from datetime import timedelta

from flask import Flask, g, redirect, request, url_for
from flask.sessions import SecureCookieSessionInterface
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, Unauthorized
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Response as AnyResponse

from reelsense.server.middleware import cross_site
from reelsense.server.middleware.authenticator import get_authenticator
from reelsense.server.middleware.endpoints import is_page, is_public
from reelsense.server.state import state_of


class _Sessions(SecureCookieSessionInterface):
    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002  # Flask's signature
        """Return whether the request came over TLS; ProxyFix knows where a proxy ends it."""
        return request.is_secure


def trust_proxies(app: Flask) -> None:
    """Take client address, scheme and host from the headers of trusted proxies."""
    if count := state_of(app).settings.trusted_proxies:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=count, x_proto=count, x_host=count
        )


def register_identification(app: Flask) -> None:
    """Let `app` find out which key each request uses, without rejecting any."""
    secret = state_of(app).settings.secret
    app.secret_key = secret.get_secret_value() if secret else secrets.token_urlsafe(32)
    app.session_interface = _Sessions()
    app.config.update(
        SESSION_COOKIE_NAME="reelsense",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        PERMANENT_SESSION_LIFETIME=timedelta(hours=12),
    )
    app.before_request(_identify)


def register_authorization(app: Flask) -> None:
    """Let `app` reject requests that lack the right key."""
    app.before_request(_authorize)


def _identify() -> None:
    authenticator = get_authenticator()
    if not authenticator.keys or is_public():
        return
    sent = request.authorization
    if sent is None:
        key = authenticator.signed_in()
    else:
        key = authenticator.find(sent.token) if sent.type == "bearer" and sent.token else None
    if key:
        g.key = key


def _authorize() -> AnyResponse | None:
    if not get_authenticator().keys:
        if request.endpoint == "admin.reload":
            raise Forbidden("this needs an admin key, but the server has no keys")
        if not is_public():
            cross_site.reject_foreign_host()
            cross_site.reject_foreign_origin()
        return None
    if is_public():
        return None
    if "key" not in g:
        if is_page():
            path = request.full_path.rstrip("?")
            return redirect(url_for("pages.sign_in", next=None if path == "/" else path))
        raise unauthorized()
    needs_admin = (request.endpoint or "").startswith("admin.")
    if g.key.admin != needs_admin:
        raise Forbidden(
            "this needs an admin key"
            if needs_admin
            else "an admin key is valid for /metrics and /admin only"
        )
    if request.authorization is None and request.method not in ("GET", "HEAD"):
        cross_site.require_same_origin()
    return None


def unauthorized() -> Unauthorized:
    """Return the error for a request with no key, or with an unknown one."""
    sent = request.authorization
    unknown = sent is not None and sent.type == "bearer" and bool(sent.token or sent.parameters)
    # The realm contains a space because werkzeug otherwise omits the quotes that RFC 9110 requires.
    facts: dict[str, str | None] = {"realm": "reelsense server"}
    if unknown:
        facts["error"] = "invalid_token"
    return Unauthorized(
        "unknown key" if unknown else "missing key: send the header Authorization: Bearer KEY",
        www_authenticate=WWWAuthenticate("bearer", facts),
    )
