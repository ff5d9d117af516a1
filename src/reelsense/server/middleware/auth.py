"""Authentication and authorization of requests, by API key or session cookie."""

from __future__ import annotations

from flask import Flask, g, redirect, request, url_for
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, Unauthorized
from werkzeug.wrappers import Response as AnyResponse

from reelsense.errors import SettingsError
from reelsense.server.middleware import cross_site, rate_limit, sessions
from reelsense.server.middleware.endpoints import (
    gives_feedback,
    is_page,
    is_public,
    needs_admin,
    shows_others,
)
from reelsense.server.middleware.keys import read_keys
from reelsense.server.settings import Settings, is_loopback
from reelsense.server.state import get_state


def check_access(settings: Settings) -> None:
    """Raise SettingsError if keys or storage of rate limits cannot be used, or keys are missing.

    A server that other machines can reach needs keys, unless `insecure_public` is set.
    """
    keys = read_keys(settings)
    if rate_limit.is_enabled(settings, keys):
        rate_limit.check_storage(settings)
    if keys or settings.insecure_public or not settings.is_reachable:
        return
    where = "behind a proxy" if is_loopback(settings.host) else f"on {settings.host}"
    raise SettingsError(
        f"without keys, the server {where} would be open to everyone who can reach this machine: "
        "create a key with `reelsense key NAME --keys-file FILE` and start with --keys-file FILE, "
        "or pass --insecure-public to allow it",
        code="public-without-keys",
    )


def register_identification(app: Flask) -> None:
    """Let `app` determine which key each request uses, without rejecting any."""
    sessions.register(app)
    app.before_request(_identify)


def register_authorization(app: Flask) -> None:
    """Let `app` reject requests that lack the right key."""
    app.before_request(_authorize)


def _identify() -> None:
    authenticator = get_state().authenticator
    # A key is identified for URLs that do not exist, too: they count towards its rate limit.
    if not authenticator.keys or (request.endpoint is not None and is_public()):
        return
    sent = request.authorization
    if sent is None:
        key = sessions.key_of_session(authenticator)
    else:
        key = authenticator.find(sent.token) if sent.type == "bearer" and sent.token else None
    if key:
        g.key = key


def _authorize() -> AnyResponse | None:
    if not get_state().authenticator.keys:
        if request.endpoint == "admin.reload":
            raise Forbidden(
                "this endpoint requires an admin key, but the server has no keys: start it with "
                "--keys-file"
            )
        if shows_others() and get_state().settings.is_reachable:
            raise Forbidden(
                "this endpoint shows texts or feedback of other users, but the server has no keys, "
                "and other machines can reach it: start it with --keys-file, and send a key"
            )
        if not is_public():
            cross_site.reject_foreign_host()
            cross_site.reject_foreign_origin()
        return None
    if is_public():
        return None
    if "key" not in g:
        if is_page():
            path = request.script_root + request.full_path.rstrip("?")
            is_start = request.path == "/" and not request.query_string
            return redirect(url_for("pages.sign_in", next=None if is_start else path))
        raise unauthorized()
    if g.key.admin != needs_admin():
        raise Forbidden(
            "an admin key is valid for /metrics, /v1/shadow, /admin and GET /v1/feedback only"
            if g.key.admin
            else "this endpoint requires an admin key"
        )
    if gives_feedback() and not may_give_feedback():
        raise Forbidden(
            "this key has no permission to give feedback: create one with `reelsense key NAME "
            "--feedback`"
        )
    if request.authorization is None and request.method not in ("GET", "HEAD"):
        cross_site.require_same_origin()
    return None


def may_give_feedback() -> bool:
    """Return whether the user of the current request may give feedback."""
    return "key" not in g or bool(g.key.feedback)


def may_review() -> bool:
    """Return whether the user of the current request may open the review queue."""
    if get_state().authenticator.keys:
        return "key" in g and bool(g.key.feedback)
    return not get_state().settings.is_reachable


def unauthorized() -> Unauthorized:
    """Return the error for a request with no key, or with an unknown one."""
    sent = request.authorization
    unknown = sent is not None and sent.type == "bearer" and bool(sent.token or sent.parameters)
    # The realm contains a space because werkzeug otherwise omits the quotes that RFC 9110 requires.
    parameters: dict[str, str | None] = {"realm": "reelsense server"}
    if unknown:
        parameters["error"] = "invalid_token"
    return Unauthorized(
        "unknown key" if unknown else "missing key: send the header Authorization: Bearer KEY",
        www_authenticate=WWWAuthenticate("bearer", parameters),
    )
