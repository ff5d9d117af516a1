"""The application factory: creates the parts of the server and puts them together."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from flask_openapi3 import OpenAPI

from reelsense.bundle import Bundle
from reelsense.inference.classifier import Classifier
from reelsense.server import state
from reelsense.server.api.json_body import JsonRequest
from reelsense.server.api.openapi import INFO
from reelsense.server.middleware import problems
from reelsense.server.middleware.api_keys import Key
from reelsense.server.middleware.authenticator import Authenticator
from reelsense.server.middleware.load_shedding import MAX_JOB_REQUESTS, LoadShedder
from reelsense.server.middleware.metrics import ServerMetrics
from reelsense.server.middleware.stack import register_middleware
from reelsense.server.model_holder import ModelHolder
from reelsense.server.model_source import ModelSource
from reelsense.server.settings import Settings
from reelsense.server.state import AppState


def create_app(
    settings: Settings | None = None,
    model: Bundle | Classifier | ModelSource | None = None,
    known_keys: Sequence[Key] | None = None,
) -> OpenAPI:
    """Return the Flask application. The model is loaded in the background.

    Args:
        settings: Settings of the server; by default, the default of each.
        model: The model, or where to load it from; by default the folder in `settings`.
        known_keys: API keys to use while those in `settings` cannot be read.

    Raises:
        SettingsError: The keys in `settings` cannot be read, and there are no `known_keys`.
        BundleError: There is no model with the name in `settings`.
    """
    settings = settings or Settings()
    app = _create_flask(settings)
    app.extensions[state.KEY] = _create_state(settings, model, known_keys)
    # Imported while the model is loading: SQLAlchemy takes 0.2 s to import.
    from reelsense.server.api.routes import register_interfaces
    from reelsense.server.pages.routes import register_pages

    register_interfaces(app)
    register_pages(app)
    register_middleware(app)
    return app


def _create_flask(settings: Settings) -> OpenAPI:
    app = OpenAPI(
        __name__,
        info=INFO,
        doc_ui=False,  # the pages include Swagger UI, without requests to other hosts
        validation_error_model=problems.Problem,
        validation_error_callback=problems.reject,
    )
    app.request_class = JsonRequest
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body
    app.config["MAX_FORM_MEMORY_SIZE"] = settings.max_body
    return app


def _create_state(
    settings: Settings,
    model: Bundle | Classifier | ModelSource | None,
    known_keys: Sequence[Key] | None,
) -> AppState:
    metrics = ServerMetrics()
    authenticator = Authenticator(settings, known_keys)
    model_holder = ModelHolder(
        settings,
        model,
        on_batch=metrics.record_batch,
        on_load=metrics.record_load,
        on_reload=authenticator.reload,
    )
    from reelsense.server.jobs_worker import JobsWorker  # imports SQLAlchemy

    return AppState(
        settings=settings,
        metrics=metrics,
        authenticator=authenticator,
        model_holder=model_holder,
        jobs_worker=JobsWorker(settings, model_holder, metrics),
        load_shedder=LoadShedder(
            settings.max_concurrent_requests,
            settings.max_concurrent_bytes,
            on_change=metrics.set_in_flight,
        ),
        jobs_load_shedder=LoadShedder(MAX_JOB_REQUESTS, max_bytes=sys.maxsize),
    )
