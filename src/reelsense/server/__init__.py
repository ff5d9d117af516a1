"""The HTTP server: Flask, JSON at /v1 and as other servers have it, a page at /.

Knows requests and answers; every answer comes from a `Classifier`. Needs no PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence

from flask_openapi3 import OpenAPI

from reelsense.bundle import Bundle
from reelsense.inference.classifier import Classifier
from reelsense.server import (
    admin,
    admission,
    api,
    compat,
    health,
    model_page,
    open_inference,
    pages,
    problems,
    review_page,
    security,
    tracing,
)
from reelsense.server.body import JsonRequest
from reelsense.server.config import Settings
from reelsense.server.contract import INFO
from reelsense.server.keys import Key
from reelsense.server.metrics import Metrics
from reelsense.server.served import Served
from reelsense.server.sources import Source


def create_app(
    settings: Settings | None = None,
    model: Bundle | Classifier | Source | None = None,
    known_keys: Sequence[Key] | None = None,
) -> OpenAPI:
    """Return the application: a Flask one.

    It answers with `model`, by default that of the folder that `settings` name; what is no
    classifier yet is loaded meanwhile. Raises SettingsError if the keys that `settings` name cannot
    be read and there are no `known_keys`, which then take their place.
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
    app.config["MAX_FORM_MEMORY_SIZE"] = settings.max_body
    metrics = app.extensions["reelsense.metrics"] = Metrics()
    guard = app.extensions["reelsense.guard"] = security.Guard(settings, known_keys)
    app.extensions["reelsense"] = Served(
        settings, model, metrics.batch, metrics.loaded, guard.reload
    )
    # Here, while the model is being loaded: SQLAlchemy takes a fifth of a second to import.
    from reelsense.server import background, job_pages, jobs

    app.extensions["reelsense.jobs"] = background.Background(app.extensions["reelsense"], metrics)
    for blueprint in (
        api.blueprint,
        compat.blueprint,
        open_inference.blueprint,
        jobs.blueprint,
        health.blueprint,
    ):
        app.register_api(blueprint)
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(review_page.blueprint)
    app.register_blueprint(job_pages.blueprint)
    app.register_blueprint(model_page.blueprint)
    app.register_blueprint(admin.blueprint)
    # In this order a request is named, let in by its key and its rate, and by what there is to do.
    tracing.register(app)
    security.register(app)
    admission.register(app)
    problems.register(app)
    pages.register(app)
    return app
