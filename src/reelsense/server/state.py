"""The parts of a running application, which request handlers share.

Only names their types: the modules of the parts import this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import Flask, current_app

from reelsense.server.settings import Settings

if TYPE_CHECKING:
    from reelsense.feedback.policy import KeepPolicy
    from reelsense.feedback.writer import FeedbackWriter
    from reelsense.server.drift import DriftMonitor
    from reelsense.server.ended_sessions import EndedSessions
    from reelsense.server.jobs_worker import JobsWorker
    from reelsense.server.middleware.keys import Authenticator
    from reelsense.server.middleware.load_shedding import LoadShedder
    from reelsense.server.middleware.metrics import ServerMetrics
    from reelsense.server.middleware.tracing import Tracer
    from reelsense.server.model_holder import Models
    from reelsense.server.shadow import Shadow

KEY = "reelsense"  # of the state in `Flask.extensions`


@dataclass(frozen=True, slots=True)
class AppState:
    """The parts of one application."""

    settings: Settings
    metrics: ServerMetrics
    tracer: Tracer | None
    authenticator: Authenticator
    models: Models
    shadow: Shadow
    drift: DriftMonitor
    jobs_worker: JobsWorker
    ended_sessions: EndedSessions
    keep_policy: KeepPolicy
    feedback_writer: FeedbackWriter
    load_shedder: LoadShedder  # for requests that run the model
    jobs_load_shedder: LoadShedder  # for requests that use the database of jobs
    feedback_load_shedder: LoadShedder  # for requests that write feedback


def state_of(app: Flask) -> AppState:
    """Return the state of an application that `create_app` made."""
    state: AppState = app.extensions[KEY]
    return state


def get_state() -> AppState:
    """Return the state of the current application."""
    return state_of(current_app)
