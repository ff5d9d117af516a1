"""Reverse proxies in front of the server: client address, host, scheme and path prefix."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from reelsense.server.settings import ROOT_PATH
from reelsense.server.state import state_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def register(app: Flask) -> None:
    """Let `app` use the headers of trusted proxies, and serve below a path prefix."""
    settings = state_of(app).settings
    application = _Forwarded(app.wsgi_app, settings.root_path)
    app.wsgi_app = application  # type: ignore[method-assign]
    if count := settings.trusted_proxies:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            application, x_for=count, x_proto=count, x_host=count, x_prefix=count
        )


class _Forwarded:
    """Sets the path prefix of requests, so that links lead back through the proxy, and the address.

    The prefix is that of X-Forwarded-Prefix (from ProxyFix) or `root_path`. Proxies may remove it
    from the path or not.
    """

    def __init__(self, application: WSGIApplication, root_path: str) -> None:
        self._application, self._root_path = application, root_path

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        forwarded = environ.get("SCRIPT_NAME", "").rstrip("/")
        # A proxy may pass on the header of a client: "//host" would lead links to another host.
        prefix = forwarded if re.fullmatch(ROOT_PATH, forwarded) else ""
        environ["SCRIPT_NAME"] = prefix = prefix or self._root_path
        environ["REMOTE_ADDR"] = _address(environ.get("REMOTE_ADDR", ""))
        if environ["wsgi.url_scheme"] not in ("http", "https"):
            environ["wsgi.url_scheme"] = "http"
        path = environ["PATH_INFO"]
        if prefix and f"{path}/".startswith(f"{prefix}/"):
            environ["PATH_INFO"] = path[len(prefix) :]
        return self._application(environ, start_response)


def _address(forwarded: str) -> str:
    """Return an address without a port, which some proxies add; IPv4 instead of mapped IPv6."""
    text = forwarded.strip()
    if match := re.fullmatch(r"\[(.*)\](?::\d+)?|([\d.]+):\d+", text):
        text = match[1] or match[2] or ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return forwarded
    return str(getattr(address, "ipv4_mapped", None) or address)
