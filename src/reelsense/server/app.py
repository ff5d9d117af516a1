"""The application factory: creates the parts of the server and puts them together."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from flask_openapi3 import OpenAPI

from reelsense.feedback.policy import KeepPolicy
from reelsense.inference.classifier import Classifier
from reelsense.inference.engine import available_cores
from reelsense.server import state
from reelsense.server.api.constraints import LIMITS
from reelsense.server.api.json_body import JsonRequest
from reelsense.server.api.openapi import INFO
from reelsense.server.drift import DriftMonitor
from reelsense.server.middleware import (
    auth,
    content_encoding,
    cross_site,
    field_errors,
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
from reelsense.server.middleware.metrics import FOLDER, ServerMetrics
from reelsense.server.model_holder import ModelHolder, Models
from reelsense.server.model_source import (
    DEFAULT,
    ClassifierProtocol,
    FixedSource,
    ModelSource,
    folder_sources,
)
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
    model: Classifier | ModelSource | Mapping[str, ModelSource] | None = None,
    known_keys: Sequence[Key] | None = None,
    labels: Mapping[str, Sequence[str]] | None = None,
) -> OpenAPI:
    """Return the Flask application. The model is loaded in the background.

    Args:
        settings: Settings of the server; by default, those of `Settings()`.
        model: The model, or where to load it from, or the sources of several models by name; by
            default those in `settings`.
        known_keys: API keys to use while those in `settings` cannot be read.
        labels: Labels of each model that the server already serves; by default those that are
            loaded first.

    Raises:
        SettingsError: The keys in `settings` cannot be read, and there are no `known_keys`.
        BundleError: No model has the name in `settings`.
    """
    settings = settings or Settings()
    app = _create_flask(settings)
    app.extensions[state.KEY] = _create_state(
        settings, _sources(model, settings), known_keys, labels
    )
    # Imported while the model is loading: SQLAlchemy takes 0.2 s to import.
    from reelsense.server.api import (
        admin,
        compat,
        drift,
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
    from reelsense.server.pages import queue as queue_page
    from reelsense.server.pages import review, site

    app.before_request(_set_limits)
    interfaces = (
        v1,
        compat,
        vllm,
        open_inference,
        jobs,
        summaries,
        feedback,
        shadow,
        drift,
        health,
    )
    for interface in interfaces:
        app.register_api(interface.blueprint)
    for views in (admin, site, review, feedback_page, queue_page, job_pages, model_page):
        app.register_blueprint(views.blueprint)
    site.configure_templates(app)
    for register in _MIDDLEWARE:
        register(app)
    return app


def _sources(
    model: Classifier | ModelSource | Mapping[str, ModelSource] | None, settings: Settings
) -> Mapping[str, ModelSource]:
    if model is None:
        return folder_sources(settings)
    if isinstance(model, Mapping):
        return model
    return {DEFAULT: FixedSource(model) if isinstance(model, Classifier) else model}


def _create_flask(settings: Settings) -> OpenAPI:
    app = OpenAPI(
        __name__,
        info=INFO,
        doc_ui=False,  # the pages include Swagger UI, without requests to other hosts
        validation_error_model=problems.Problem,
        validation_error_callback=field_errors.reject,
    )
    app.request_class = JsonRequest
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body
    app.config["MAX_FORM_MEMORY_SIZE"] = settings.max_body
    return app


def _create_state(
    settings: Settings,
    sources: Mapping[str, ModelSource],
    known_keys: Sequence[Key] | None,
    labels: Mapping[str, Sequence[str]] | None,
) -> AppState:
    metrics = ServerMetrics(list(sources))
    authenticator = Authenticator(settings, known_keys)
    folder = os.environ.get(FOLDER)
    drift = DriftMonitor(Path(folder) if folder else None)
    default = next(iter(sources))

    def on_load(name: str, classifier: ClassifierProtocol | None) -> None:
        metrics.record_load(name, classifier)
        if classifier and name == default:
            drift.use(classifier)

    models = {
        name: ModelHolder(
            source,
            on_batch=partial(metrics.record_batch, name),
            on_load=partial(on_load, name),
            on_reload=authenticator.reload if name == default else lambda: None,
            labels=(labels or {}).get(name),
            allow_label_change=settings.allow_label_change,
        )
        for name, source in sources.items()
    }
    # These import SQLAlchemy.
    from reelsense.feedback.repository import FeedbackRepository
    from reelsense.feedback.writer import FeedbackWriter
    from reelsense.server.ended_sessions import EndedSessions
    from reelsense.server.jobs_worker import JobsWorker

    jobs_worker = JobsWorker(settings, models[default], metrics)
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
        models=Models(models),
        shadow=Shadow(
            shadow_folder(settings),
            settings.shadow_share,
            is_busy=lambda: load_shedder.requests * settings.workers > cores,
            on_outcome=metrics.record_shadow,
        ),
        drift=drift,
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
