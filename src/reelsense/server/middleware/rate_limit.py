"""Rate limits per key or, without a key, per address. Counted by flask-limiter."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, g, request

from reelsense.errors import SettingsError
from reelsense.server.middleware.endpoints import is_unlimited
from reelsense.server.middleware.keys import Key
from reelsense.server.settings import Settings, flag
from reelsense.server.state import state_of
from reelsense.text.urls import without_secrets

_DEFAULT = "1200/minute"


def is_enabled(settings: Settings, keys: Sequence[Key]) -> bool:
    """Return whether requests are counted. Not on a local server with neither keys nor a limit."""
    return bool(keys or settings.rate_limit or settings.is_reachable)


def check_storage(settings: Settings) -> None:
    """Raise SettingsError if the address of the storage is invalid, or a package is missing."""
    from limits.errors import ConfigurationError
    from limits.storage import storage_from_string

    try:
        storage_from_string(settings.rate_limit_storage, **_storage_options(settings))
    except (ConfigurationError, ValueError) as error:  # ValueError: an invalid port
        reason = "expected memory:// or a URL such as redis://HOST:6379"  # errors may quote the URL
        if "prerequisite" in str(error):
            reason = "Redis needs another package: pip install 'reelsense[redis]'"
        url = without_secrets(settings.rate_limit_storage)
        raise SettingsError(
            f"{flag('rate_limit_storage')} {url}: {reason}",
            code="invalid-rate-limit-storage",
        ) from error


def register(app: Flask) -> None:
    """Let `app` count requests and reject those beyond the limit."""
    app.after_request(_set_retry_after)
    settings = state_of(app).settings
    if not is_enabled(settings, state_of(app).authenticator.keys):
        return
    from flask_limiter import Limiter  # servers for this machine only need not import it

    limiter = Limiter(
        lambda: f"key {g.key.name}" if "key" in g else f"address {_network()}",
        app=app,
        application_limits=[
            lambda: (g.key.rate if "key" in g else None) or settings.rate_limit or _DEFAULT
        ],
        strategy="sliding-window-counter",
        storage_uri=settings.rate_limit_storage,
        storage_options=_storage_options(settings),
        # While the storage is unavailable, each process counts separately.
        in_memory_fallback_enabled=settings.rate_limit_storage != "memory://",
        headers_enabled=True,
        # Requests for URLs that do not exist count, too.
        request_identifier=lambda: request.endpoint or "unmatched",
    )
    limiter.request_filter(is_unlimited)


def _network() -> str:
    """Return the client's address; for IPv6 its /64 network, which one client typically owns."""
    address = request.remote_addr or ""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address


def _storage_options(settings: Settings) -> dict[str, Any]:
    # An unresponsive Redis delays a request by at most this many seconds.
    timeouts = {"socket_timeout": 1, "socket_connect_timeout": 1}
    return timeouts if settings.rate_limit_storage.startswith("redis") else {}


def _set_retry_after(response: Response) -> Response:
    """Keep Retry-After only where it applies: flask-limiter adds it to every response."""
    from_limiter = response.headers.pop("Retry-After", None)
    if "retry_after" in g:
        response.headers["Retry-After"] = str(g.retry_after)
    elif response.status_code == HTTPStatus.TOO_MANY_REQUESTS and from_limiter:
        response.headers["Retry-After"] = str(max(1, int(from_limiter)))
    return response
