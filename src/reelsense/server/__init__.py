"""The HTTP server: Flask, JSON at /v1 and as other servers have it, a page at /.

Knows requests and answers; every answer comes from a `Classifier`. Needs no PyTorch.
"""

from __future__ import annotations

from pathlib import Path

from flask_openapi3 import OpenAPI

from reelsense import bundle as bundles
from reelsense.bundle import Bundle
from reelsense.inference.classifier import Classifier
from reelsense.server import api, compat, health, open_inference, pages, problems, tracing
from reelsense.server.body import JsonRequest
from reelsense.server.config import Settings
from reelsense.server.contract import INFO
from reelsense.server.served import Served


def create_app(
    settings: Settings | None = None, model: Bundle | Classifier | None = None
) -> OpenAPI:
    """Return the application: a Flask one.

    It answers with `model`, by default the bundle that `settings` name; a bundle is loaded
    meanwhile.
    """
    settings = settings or Settings()
    app = OpenAPI(
        __name__,
        info=INFO,
        doc_ui=False,  # pages.py has its own, which asks nobody outside
        validation_error_model=problems.Problem,
        validation_error_callback=problems.refuse,
    )
    app.request_class = JsonRequest
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body
    app.extensions["reelsense"] = Served(
        settings, model or bundles.read(Path(settings.model or bundles.DEFAULT))
    )
    for blueprint in (
        api.blueprint,
        compat.blueprint,
        open_inference.blueprint,
        health.blueprint,
    ):
        app.register_api(blueprint)
    app.register_blueprint(pages.blueprint)
    tracing.register(app)
    problems.register(app)
    return app
