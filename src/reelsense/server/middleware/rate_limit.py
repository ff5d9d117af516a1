"""How often who may ask: each key, or each address without one. flask-limiter counts."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, g, request

from reelsense.errors import SettingsError
from reelsense.server.settings import Settings, flag

_RATE = "1200/minute"
"""For each key that has no rate of its own and, without keys, each address off this machine."""


def check_storage(settings: Settings) -> None:
    """Raise SettingsError if requests cannot be counted where `settings` say."""
    from limits.errors import ConfigurationError
    from limits.storage import storage_from_string

    try:
        storage_from_string(settings.rate_limit_storage, **_storage_options(settings))
    except ConfigurationError as error:
        reason = str(error)
        if "prerequisite" in reason:
            reason = "Redis wants another package: pip install 'reelsense[redis]'"
        raise SettingsError(f"{flag('rate_limit_storage')}: {reason}") from error
    except ValueError as error:  # a port that is none
        raise SettingsError(f"{flag('rate_limit_storage')}: {error}") from error


def limit(app: Flask, settings: Settings, free: Callable[[], bool]) -> None:
    """Let `app` count requests, but for those that are `free`."""
    # Here, because a server on one machine alone does without.
    from flask_limiter import Limiter

    def rate() -> str:
        return (g.key.rate if "key" in g else None) or settings.rate_limit or _RATE

    limiter = Limiter(
        lambda: f"key {g.key.name}" if "key" in g else f"address {_address()}",
        app=app,
        application_limits=[rate],
        strategy="sliding-window-counter",
        storage_uri=settings.rate_limit_storage,
        storage_options=_storage_options(settings),
        # Where the storage is gone, each process counts for itself.
        in_memory_fallback_enabled=settings.rate_limit_storage != "memory://",
        headers_enabled=True,
    )
    limiter.request_filter(free)


def _address() -> str:
    """Return the address of the client; of IPv6 its network, which is as much as one has."""
    address = request.remote_addr or ""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address) and not found.ipv4_mapped:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return address


def _storage_options(settings: Settings) -> dict[str, Any]:
    # A Redis that hangs holds up a request no longer than this, in seconds.
    waits = {"socket_timeout": 1, "socket_connect_timeout": 1}
    return waits if settings.rate_limit_storage.startswith("redis") else {}


def say_when(answer: Response) -> None:
    """Leave Retry-After to where it means something: flask-limiter has put it everywhere."""
    limited = answer.headers.pop("Retry-After", None)
    if "retry_after" in g:
        answer.headers["Retry-After"] = str(g.retry_after)
    elif answer.status_code == HTTPStatus.TOO_MANY_REQUESTS and limited:
        answer.headers["Retry-After"] = str(max(1, int(limited)))
