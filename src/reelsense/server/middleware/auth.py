"""Who may ask, and how often; what browsers may do with the answers.

Everything wants a key but what is listed here. Knows requests; how keys are kept is in `keys`.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import secrets
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, g, redirect, request, session, url_for
from flask.sessions import SecureCookieSessionInterface
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, Unauthorized
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Response as AnyResponse

from reelsense.errors import SettingsError
from reelsense.server.middleware import api_keys as keys_
from reelsense.server.middleware import rate_limit
from reelsense.server.middleware.api_keys import Key
from reelsense.server.settings import Settings, listed

_log = logging.getLogger(__name__)

_OPEN = {
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
"""For everyone: it says nothing of texts, and costs next to nothing."""

_PAGES = {
    "job_pages.index",
    "job_pages.row",
    "job_pages.show",
    "model_page.card",
    "model_page.model",
    "model_page.report",
    "review_page.index",
}
"""For people: who has no key is asked to sign in."""

FOR_BROWSERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer that does not say otherwise itself."""


class Authenticator:
    """The keys that open the server."""

    def __init__(self, settings: Settings, known: Sequence[Key] | None = None) -> None:
        """Read the keys that `settings` name.

        Raises SettingsError if they cannot be read and none are `known`.
        """
        self.settings = settings
        if known is None:
            self.keys: Sequence[Key] = read_keys(settings)
        else:
            self.keys = known
            self.reload()

    def reload(self, *, tell: bool = True) -> None:
        """Read the keys anew; where they cannot be read, those that are known stay.

        The log tells, unless others `tell` it already.
        """
        try:
            self.keys = read_keys(self.settings)
        except SettingsError as error:
            if tell:
                _log.error("the keys stay as they were: %s", error)
        else:
            if tell and self.keys:
                _log.info("keys in force: %s", ", ".join(key.name for key in self.keys))

    def key(self, secret: str) -> Key | None:
        """Return which key `secret` is."""
        return keys_.find(self.keys, secret)

    def signed_in(self) -> Key | None:
        """Return the key that the browser has signed in with, if that is one still."""
        known = session.get("key")
        return next((key for key in self.keys if [key.name, key.digest[:16]] == known), None)


def read_keys(settings: Settings) -> list[Key]:
    """Return the keys that `settings` name. Raises SettingsError."""
    found: list[Key] = []
    if settings.keys_file:
        path = Path(settings.keys_file)
        try:
            found += keys_.read(path.read_text(), str(path))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise SettingsError(f"the keys in {path} cannot be read: {reason}") from error
        if not found:
            raise SettingsError(f"there is no key in {path}: `reelsense key NAME` makes one")
    if settings.keys:
        given = keys_.read(settings.keys.get_secret_value(), "keys")
        if not given:
            raise SettingsError("there is no key in keys: `reelsense key NAME` makes one")
        found += given
    if twice := {key.name for key in found if [each.name for each in found].count(key.name) > 1}:
        raise SettingsError(f"there are two keys named {min(twice)}")
    return found


def check(settings: Settings) -> None:
    """Raise SettingsError if `settings` open the server to others, with neither key nor intent.

    Or if requests cannot be counted where they say.
    """
    keys = read_keys(settings)
    if _counts(settings, keys):
        rate_limit.check_storage(settings)
    if keys or settings.insecure_public or not _is_reached(settings):
        return
    where = "behind a proxy" if is_loopback(settings.host) else f"on {settings.host}"
    raise SettingsError(
        f"{where} everyone who reaches this machine could use the server: make a key with "
        "`reelsense key NAME --keys-file FILE` and start with --keys-file FILE, or say "
        "--insecure-public if that is meant"
    )


def _is_reached(settings: Settings) -> bool:
    """Whether others than this machine reach the server."""
    return bool(settings.trusted_proxies) or not is_loopback(settings.host)


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def get_authenticator() -> Authenticator:
    """Return the guard of the current application."""
    found: Authenticator = current_app.extensions["reelsense.guard"]
    return found


class _Sessions(SecureCookieSessionInterface):
    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002  # so Flask calls it
        """Only over TLS where that is how it came; ProxyFix knows where a proxy ends it."""
        return request.is_secure


def register(app: Flask) -> None:
    """Let `app` ask for keys, count requests and tell browsers what they may do."""
    settings = app.extensions["reelsense"].settings
    guard_: Authenticator = app.extensions["reelsense.guard"]
    app.secret_key = (
        settings.secret.get_secret_value() if settings.secret else secrets.token_urlsafe(32)
    )
    app.session_interface = _Sessions()
    app.config.update(
        SESSION_COOKIE_NAME="reelsense",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        PERMANENT_SESSION_LIFETIME=timedelta(hours=12),
    )
    if settings.trusted_proxies:
        count = settings.trusted_proxies
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=count, x_proto=count, x_host=count
        )
    # Who gives no key or a wrong one is counted too, by address, before being refused.
    app.before_request(_identify)
    app.after_request(_protect)
    if _counts(settings, guard_.keys):
        rate_limit.limit(app, settings, _is_free)
    app.before_request(_authorize)
    _allow_origins(app, settings)


def _is_open() -> bool:
    """Whether the current request is for everyone; that for nothing at all is."""
    return request.endpoint is None or request.endpoint in _OPEN or request.method == "OPTIONS"


def _is_free() -> bool:
    """Whether the current request may come as often as it likes: trying keys may not."""
    return _is_open() and request.endpoint not in (None, "pages.signed_in")


def _identify() -> None:
    """Look whose key the current request has: one that is sent, or the browser's."""
    if not get_authenticator().keys or _is_open():
        return
    sent = request.authorization
    if sent is None:
        key = get_authenticator().signed_in()
    else:
        key = get_authenticator().key(sent.token) if sent.type == "bearer" and sent.token else None
    if key:
        g.key = key


def _authorize() -> AnyResponse | None:
    if not get_authenticator().keys:
        if request.endpoint == "admin.reload":
            raise Forbidden("this takes an admin key, and the server has no keys at all")
        _refuse_other_names()
        _refuse_other_sites()
        return None
    if _is_open():
        return None
    if "key" not in g:
        if request.endpoint in _PAGES:
            asked = request.full_path.rstrip("?")
            return redirect(url_for("pages.sign_in", next=None if asked == "/" else asked))
        raise unauthorized()
    admin = (request.endpoint or "").startswith("admin.")
    if g.key.admin != admin:
        raise Forbidden(
            "this takes an admin key" if admin else "an admin key opens /metrics and /admin alone"
        )
    if request.authorization is None and request.method not in ("GET", "HEAD"):
        require_same_origin()
    return None


def _refuse_other_names() -> None:
    """Raise Forbidden if this machine alone is served, and is asked by a name of the internet.

    Whoever owns a name can let it lead to 127.0.0.1 while a browser shows their page, which is then
    of the same site as the server.
    """
    settings = get_authenticator().settings
    if _is_open() or settings.insecure_public or _is_reached(settings):
        return
    name = (urlsplit(f"//{request.host}").hostname or "").rstrip(".")
    if "." not in name or name.endswith(".localhost") or _is_address(name):
        return
    raise Forbidden(
        f"the server is for this machine, and is asked as {name}: ask 127.0.0.1, or start it with "
        "--trusted-proxies 1 and keys, or with --insecure-public"
    )


def _refuse_other_sites() -> None:
    """Raise Forbidden if a page of another site has the browser change something here.

    Without keys there is no cookie that it would lack: that the browser reaches us is enough.
    """
    if request.method in ("GET", "HEAD", "OPTIONS") or _is_open():
        return
    origin = request.headers.get("Origin")
    told = request.headers.get("Sec-Fetch-Site") or origin
    if told and origin not in listed(get_authenticator().settings.cors_origins):
        require_same_origin()


def unauthorized() -> Unauthorized:
    """Return the error of a request that lacks a key, or has one that nobody knows."""
    sent = request.authorization
    wrong = sent is not None and sent.type == "bearer" and bool(sent.token or sent.parameters)
    # With a space, because werkzeug leaves out the quotes that RFC 9110 wants if there is none.
    facts: dict[str, str | None] = {"realm": "reelsense server"}
    if wrong:
        facts["error"] = "invalid_token"
    return Unauthorized(
        "this key is not known here" if wrong else "send a key: Authorization: Bearer KEY",
        www_authenticate=WWWAuthenticate("bearer", facts),
    )


def require_same_origin() -> None:
    """Raise Forbidden if another site let the browser ask: it would be with the cookie of ours.

    Fetch metadata where the browser sends it, the Origin where not.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        same = site in ("same-origin", "none")
    else:
        same = _netloc(request.headers.get("Origin", "")) == request.host
    if not same:
        raise Forbidden(
            "of web pages, only this site's own may ask for this (as Sec-Fetch-Site or Origin "
            "tell); programs send Authorization: Bearer KEY, where there are keys"
        )


def _netloc(url: str) -> str | None:
    try:
        return urlsplit(url).netloc
    except ValueError:  # half a bracket
        return None


def _protect(answer: Response) -> Response:
    rate_limit.say_when(answer)
    for name, value in FOR_BROWSERS.items():
        answer.headers.setdefault(name, value)
    return answer


def _counts(settings: Settings, keys: Sequence[Key]) -> bool:
    """Whether requests are counted: not on this machine alone, unless that is asked for."""
    return bool(keys or settings.rate_limit or _is_reached(settings))


def _allow_origins(app: Flask, settings: Settings) -> None:
    origins = [re.compile(re.escape(each) + r"\Z", re.I) for each in listed(settings.cors_origins)]
    if not origins:
        return
    from flask_cors import CORS

    CORS(
        app,
        origins=origins,
        resources=[r"/v1/.*", r"/v2(/.*)?", "/models/.*", "/predict"],
        expose_headers=[
            *("X-Request-ID", "Server-Timing", "Retry-After"),
            *("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"),
        ],
        max_age=3600,
    )
