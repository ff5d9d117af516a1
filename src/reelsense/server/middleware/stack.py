"""The order in which every request passes through the middleware."""

from __future__ import annotations

from flask import Flask

from reelsense.server.middleware import auth, load_shedding, problems, request_context


def register_middleware(app: Flask) -> None:
    """Add the middleware to `app`: a request is named, let in by key and rate, and by capacity."""
    for module in (request_context, auth, load_shedding, problems):
        module.register(app)
