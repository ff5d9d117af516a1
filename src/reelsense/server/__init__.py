"""The HTTP server: Flask, JSON at /v1/predict, a page at /.

Knows requests and answers; every answer comes from a `Classifier`. Needs no PyTorch.
"""

from __future__ import annotations

from flask import Flask

from reelsense import bundle as bundles
from reelsense.bundle import Bundle
from reelsense.inference.cache import REMEMBERED
from reelsense.inference.classifier import Classifier
from reelsense.server import api, compat, health, pages, problems
from reelsense.server.model import ServedModel

MOST_BYTES = 2 * 1024 * 1024
"""The longest request body."""


def create_app(
    bundle: Bundle | None = None,
    classifier: Classifier | None = None,
    *,
    remembered: int = REMEMBERED,
) -> Flask:
    """Return the application.

    It serves `classifier`, or loads `bundle` (default: the one that comes along) meanwhile, which
    then keeps its `remembered` last answers for texts that come again.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider
    app.extensions["reelsense"] = ServedModel(
        classifier or bundle or bundles.read(bundles.DEFAULT), remembered
    )
    for blueprint in (api.blueprint, compat.blueprint, health.blueprint, pages.blueprint):
        app.register_blueprint(blueprint)
    problems.register(app)
    return app
