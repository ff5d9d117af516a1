"""All JSON interfaces of the application."""

from __future__ import annotations

from flask_openapi3 import OpenAPI

from reelsense.server.api import admin, compat, health, jobs, open_inference, v1


def register_interfaces(app: OpenAPI) -> None:
    """Add the routes of every JSON interface to `app`."""
    for module in (v1, compat, open_inference, jobs, health):
        app.register_api(module.blueprint)
    app.register_blueprint(admin.blueprint)
