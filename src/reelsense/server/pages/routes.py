"""Registers the HTML pages with the application."""

from __future__ import annotations

from flask import Flask

from reelsense.server.pages import jobs, model, review, site


def register_pages(app: Flask) -> None:
    """Add the routes of every page to `app`."""
    for module in (site, review, jobs, model):
        app.register_blueprint(module.blueprint)
    site.configure_templates(app)
