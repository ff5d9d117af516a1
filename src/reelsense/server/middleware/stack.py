"""The order in which every request passes through the middleware."""

from __future__ import annotations

from flask import Flask

from reelsense.server.middleware import (
    auth,
    cross_site,
    load_shedding,
    problems,
    rate_limit,
    request_context,
)

_STACK = (
    auth.trust_proxies,
    request_context.register,  # request id and deadline; log and metrics at the end
    cross_site.register_headers,
    auth.register_identification,
    rate_limit.register,  # also counts requests with a wrong key, by address
    auth.register_authorization,
    cross_site.register_cors,
    load_shedding.register,
    problems.register,
)
"""Each step registers its handlers. Requests pass from first to last, responses back."""


def register_middleware(app: Flask) -> None:
    """Add the request, response and error handlers to `app`."""
    for register in _STACK:
        register(app)
