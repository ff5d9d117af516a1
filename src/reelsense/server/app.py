"""The application factory: creates the parts of the server and puts them together."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from flask_openapi3 import OpenAPI

from reelsense.feedback.policy import KeepPolicy
from reelsense.inference.classifier import Classifier
from reelsense.inference.engine import available_cores
from reelsense.server import state
from reelsense.server.api.constraints import LIMITS
from reelsense.server.api.json_body import JsonRequest
from reelsense.server.api.openapi import INFO
from reelsense.server.middleware import (
    auth,
    content_encoding,
    cross_site,
    load_shedding,
    problems,
    proxies,
    rate_limit,
    request_context,
    tracing,
)
from reelsense.server.middleware.keys import Authenticator, Key
from reelsense.server.middleware.load_shedding import (
    MAX_FEEDBACK_REQUESTS,
    MAX_JOB_REQUESTS,
    LoadShedder,
)
from reelsense.server.middleware.metrics import ServerMetrics
from reelsense.server.model_holder import ModelHolder
from reelsense.server.model_source import FixedSource, FolderSource, ModelSource
from reelsense.server.settings import Settings
from reelsense.server.shadow import Shadow, shadow_folder
from reelsense.server.state import AppState, get_state

_MIDDLEWARE = (
    proxies.register,
    request_context.register,  # request id and deadline; log and metrics at the end
    tracing.register,
    cross_site.register_host_check,
    cross_site.register_headers,
    auth.register_identification,
    rate_limit.register,  # also counts requests with a wrong key, by address
    auth.register_authorization,
    cross_site.register_cors,
    content_encoding.register,
    load_shedding.register,
    problems.register,
)
"""Each step registers its handlers. Requests pass from first to last, responses back."""


def create_app(
    settings: Settings | None = None,
    model: Classifier | ModelSource | None = None,
    known_keys: Sequence[Key] | None = None,
    labels: Sequence[str] | None = None,
) -> OpenAPI:
    """Return the Flask application. The model is loaded in the background.

    Args:
        settings: Settings of the server; by default, those of `Settings()`.
        model: The model, or where to load it from; by default the folder in `settings`.
        known_keys: API keys to use while those in `settings` cannot be read.
        labels: Labels that the server already serves; by default those of the first model.

    Raises:
        SettingsError: The keys in `settings` cannot be read, and there are no `known_keys`.
        BundleError: No model has the name in `settings`.
    """
    settings = settings or Settings()
    source = FixedSource(model) if isinstance(model, Classifier) else model
    app = _create_flask(settings)
    app.extensions[state.KEY] = _create_state(
        settings, source or FolderSource(settings), known_keys, labels
    )
    # Imported while the model is loading: SQLAlchemy takes 0.2 s to import.
    from reelsense.server.api import (
        admin,
        compat,
        feedback,
        health,
        jobs,
        open_inference,
        shadow,
        summaries,
        v1,
        vllm,
    )
    from reelsense.server.pages import feedback as feedback_page
    from reelsense.server.pages import jobs as job_pages
    from reelsense.server.pages import model as model_page
    from reelsense.server.pages import review, site

    app.before_request(_set_limits)
    for interface in (v1, compat, vllm, open_inference, jobs, summaries, feedback, shadow, health):
        app.register_api(interface.blueprint)
    for views in (admin, site, review, feedback_page, job_pages, model_page):
        app.register_blueprint(views.blueprint)
    site.configure_templates(app)
    for register in _MIDDLEWARE:
        register(app)
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
    source: ModelSource,
    known_keys: Sequence[Key] | None,
    labels: Sequence[str] | None,
) -> AppState:
    metrics = ServerMetrics()
    authenticator = Authenticator(settings, known_keys)
    model_holder = ModelHolder(
        source,
        on_batch=metrics.record_batch,
        on_load=metrics.record_load,
        on_reload=authenticator.reload,
        labels=labels,
        allow_label_change=settings.allow_label_change,
    )
    # These import SQLAlchemy.
    from reelsense.feedback.repository import FeedbackRepository
    from reelsense.feedback.writer import FeedbackWriter
    from reelsense.server.ended_sessions import EndedSessions
    from reelsense.server.jobs_worker import JobsWorker

    jobs_worker = JobsWorker(settings, model_holder, metrics)
    load_shedder = LoadShedder(
        settings.max_concurrent_requests,
        settings.max_concurrent_bytes,
        on_change=metrics.set_in_flight,
    )
    cores = available_cores()
    return AppState(
        settings=settings,
        metrics=metrics,
        tracer=tracing.create_tracer(settings),
        authenticator=authenticator,
        model_holder=model_holder,
        shadow=Shadow(
            shadow_folder(settings),
            settings.shadow_share,
            is_busy=lambda: load_shedder.requests * settings.workers > cores,
            on_outcome=metrics.record_shadow,
        ),
        jobs_worker=jobs_worker,
        ended_sessions=EndedSessions(
            (lambda: jobs_worker.jobs.database) if settings.max_jobs else None
        ),
        keep_policy=KeepPolicy.parse(settings.keep_predictions),
        feedback_writer=FeedbackWriter(
            lambda: FeedbackRepository(jobs_worker.jobs.database, keep_texts=settings.keep_texts),
            metrics.record_kept_predictions,
            settings.keep_days,
        ),
        load_shedder=load_shedder,
        jobs_load_shedder=LoadShedder(MAX_JOB_REQUESTS, max_bytes=sys.maxsize),
        feedback_load_shedder=LoadShedder(MAX_FEEDBACK_REQUESTS, max_bytes=sys.maxsize),
    )


def _set_limits() -> None:
    LIMITS.set(get_state().settings)
