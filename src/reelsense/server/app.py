"""The application factory.

Knows in which order the parts of the server are put together. Needs no PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence

from flask_openapi3 import OpenAPI

from reelsense.bundle import Bundle
from reelsense.inference.classifier import Classifier
from reelsense.server.api.json_body import JsonRequest
from reelsense.server.api.openapi import INFO
from reelsense.server.middleware import problems
from reelsense.server.middleware.api_keys import Key
from reelsense.server.middleware.auth import Authenticator
from reelsense.server.middleware.metrics import ServerMetrics
from reelsense.server.middleware.stack import register_middleware
from reelsense.server.model_holder import ModelHolder
from reelsense.server.model_source import ModelSource
from reelsense.server.settings import Settings


def create_app(
    settings: Settings | None = None,
    model: Bundle | Classifier | ModelSource | None = None,
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
        validation_error_callback=problems.reject,
    )
    app.request_class = JsonRequest
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body
    app.config["MAX_FORM_MEMORY_SIZE"] = settings.max_body
    metrics = app.extensions["reelsense.metrics"] = ServerMetrics()
    authenticator = app.extensions["reelsense.guard"] = Authenticator(settings, known_keys)
    app.extensions["reelsense"] = ModelHolder(
        settings, model, metrics.batch, metrics.loaded, authenticator.reload
    )
    # Here, while the model is being loaded: SQLAlchemy takes a fifth of a second to import.
    from reelsense.server.api.routes import register_interfaces
    from reelsense.server.jobs_worker import JobsWorker
    from reelsense.server.pages.routes import register_pages

    app.extensions["reelsense.jobs"] = JobsWorker(app.extensions["reelsense"], metrics)
    register_interfaces(app)
    register_pages(app)
    register_middleware(app)
    return app
