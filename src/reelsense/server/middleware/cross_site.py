"""Protection against pages of other sites: security headers, CORS, same-origin checks."""

from __future__ import annotations

import ipaddress
import re

from flask import Flask, Response, request
from werkzeug.exceptions import BadRequest, Forbidden

from reelsense.server.middleware.endpoints import is_page, runs_model
from reelsense.server.settings import split_list
from reelsense.server.state import get_state, state_of

# A name, an IPv4 address or an IPv6 address in brackets, and a port.
_HOST = re.compile(
    r"(?:(?P<name>[a-z0-9_][a-z0-9_.-]{0,252})|\[(?P<address>[0-9a-f:.]{2,45})\])(?::[0-9]{1,5})?",
    re.IGNORECASE | re.ASCII,
)

# Defaults for every response; a view can override them.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_MAX_ORIGIN = 300  # characters of an origin in an error


def register_headers(app: Flask) -> None:
    """Let `app` add the security headers to every response."""
    app.after_request(_add_headers)


def _add_headers(response: Response) -> Response:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def register_cors(app: Flask) -> None:
    """Let pages of the origins in the setting `cors_origins` use the JSON endpoints of `app`."""
    origins = split_list(state_of(app).settings.cors_origins)
    if not origins:
        return
    from flask_cors import CORS

    CORS(
        app,
        origins=[re.compile(re.escape(origin) + r"\Z", re.I) for origin in origins],
        # Not /, where the page is.
        resources=[r"/v1/.*", r"/v2(/.*)?", "/models/.*", "/predict", "/invocations", "/classify"],
        expose_headers=[
            *("X-Request-ID", "Server-Timing", "traceparent", "Retry-After"),
            *("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"),
        ],
        max_age=3600,
    )


def register_host_check(app: Flask) -> None:
    """Let `app` reject requests whose header Host is not a host."""
    app.before_request(_reject_invalid_host)


def _reject_invalid_host() -> None:
    if (host := request.environ.get("HTTP_HOST")) is not None and not _HOST.fullmatch(host):
        raise BadRequest(
            f"invalid header Host {host[:100]!r}: expected the name or address of this server"
        )


def _host() -> str:
    """Return host and port of the request in lower case; blank without the header.

    Not `request.host`, which werkzeug leaves blank for some names that browsers accept.
    """
    host: str = request.environ.get("HTTP_HOST", "")
    return host.lower()


def reject_foreign_host() -> None:
    """Raise Forbidden if a server for this machine only is addressed by an internet host name.

    This prevents DNS rebinding: the owner of a name can point it to 127.0.0.1 while a browser shows
    their page, which then has the same origin as the server.
    """
    settings = get_state().settings
    match = _HOST.fullmatch(_host())
    if settings.insecure_public or settings.is_reachable or not match:  # browsers send the header
        return
    name = (match["name"] or match["address"]).rstrip(".")
    if "." not in name or name.endswith(".localhost") or _is_address(name):
        return
    raise Forbidden(
        f"host {name} rejected: without keys, the server accepts loopback host names only; use "
        "127.0.0.1, or start it with keys and --trusted-proxies 1, or with --insecure-public"
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def reject_foreign_origin() -> None:
    """Raise Forbidden if a page of a site that is not allowed changes state or runs the model.

    Protects servers without keys: there, reaching the server is enough to use it. The duration of a
    prediction would tell a page whether someone else has asked for the same text.
    """
    changes_state = request.method not in ("GET", "HEAD", "OPTIONS")
    if not changes_state and (is_page() or not runs_model()):  # other sites may link to pages
        return
    origin = request.headers.get("Origin")
    from_browser = request.headers.get("Sec-Fetch-Site") or origin
    if not from_browser or origin in split_list(get_state().settings.cors_origins):
        return
    if not _is_same_origin():
        raise Forbidden(
            f"{_cross_origin_request()} rejected: to allow it, start the server with the origin in "
            "--cors-origins"
        )


def require_same_origin() -> None:
    """Raise Forbidden if a page of another site sends the request, with the session cookie."""
    if not _is_same_origin():
        raise Forbidden(
            f"{_cross_origin_request()} rejected: send it from a page of this server, or with "
            "Authorization: Bearer KEY from an origin in --cors-origins"
        )


def _is_same_origin() -> bool:
    """Use the fetch metadata if the browser sends it, otherwise the header Origin."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    scheme, _, host = request.headers.get("Origin", "").lower().partition("://")
    default_port = {"http": ":80", "https": ":443"}.get(scheme)
    if default_port is None or not _HOST.fullmatch(host):
        return False
    return host.removesuffix(default_port) == _host().removesuffix(default_port)


def _cross_origin_request() -> str:
    origin = request.headers.get("Origin", "")[:_MAX_ORIGIN]
    return f"cross-origin request from {origin}" if origin else "cross-origin request"
