"""Registers all JSON interfaces."""

from __future__ import annotations

from flask_openapi3 import OpenAPI

from reelsense.server.api import admin, compat, health, jobs, open_inference, v1
from reelsense.server.api.constraints import LIMITS
from reelsense.server.state import get_state


def register_interfaces(app: OpenAPI) -> None:
    """Add the routes of all JSON interfaces to `app`."""
    app.before_request(_set_limits)
    for module in (v1, compat, open_inference, jobs, health):
        app.register_api(module.blueprint)
    app.register_blueprint(admin.blueprint)


def _set_limits() -> None:
    LIMITS.set(get_state().settings)
