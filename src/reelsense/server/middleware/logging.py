"""Log configuration: JSON for machines or columns for people, on standard error."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any
from urllib.parse import quote

import structlog
from structlog.typing import EventDict, Processor

from reelsense.server.settings import Settings
from reelsense.text.controls import escape_controls

_JOB_ID = re.compile(r"(?<![\w-])([\w-]{6})[\w-]{16}(?![\w-])", re.ASCII)  # wherever it is

_MAX_LENGTH = 200


def loggable(text: str) -> str:
    """Return a path or method for the log: quoted, shortened, and with job ids cut.

    Whoever knows the complete id of a job can read the job.
    """
    text = _JOB_ID.sub(r"\1...", text)
    return quote(text[:_MAX_LENGTH]) + ("..." if len(text) > _MAX_LENGTH else "")


class _CutJobIds(logging.Filter):
    """Cuts job ids in messages of waitress, which logs the path of an interrupted response."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = _JOB_ID.sub(r"\1...", str(record.msg))
        return True


def log_settings(settings: Settings) -> dict[str, Any]:
    """Return the log configuration for `logging.config.dictConfig`."""
    for_people = settings.log_format == "console" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"job ids": {"()": _CutJobIds}},
        "formatters": {"line": _formatter(for_people=for_people)},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "stream": sys.stderr, "formatter": "line"}
        },
        "root": {"level": settings.log_level.upper(), "handlers": ["stderr"]},
        "loggers": {
            # Its messages on start and shutdown are of no use to operators.
            "gunicorn.error": {"level": "WARNING", "handlers": [], "propagate": True},
            # It warns of requests that wait for a thread, although one is about to take them.
            "waitress.queue": {"level": "ERROR"},
            "alembic": {"level": "WARNING"},
            # The log line of the request has the same information.
            "flask-limiter": {"level": "WARNING"},
            # The log line of the request says that the client disconnected.
            "waitress": {"level": "WARNING", "filters": ["job ids"]},
        },
    }


def _escape_event(_logger: object, _method: str, event: EventDict) -> EventDict:
    return {
        name: escape_controls(value) if isinstance(value, str) and name != "exception" else value
        for name, value in event.items()
    }


def _drop_private_fields(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Drop fields that libraries add for themselves: Ray does, to every record."""
    return {name: value for name, value in event.items() if not name.startswith("_")}


def _formatter(*, for_people: bool) -> dict[str, Any]:
    renderers: list[Processor] = [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]
    if for_people:
        renderers = [
            _escape_event,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    return {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": [
            structlog.contextvars.merge_contextvars,  # the request id
            structlog.stdlib.add_log_level,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(
                fmt="%H:%M:%S" if for_people else "iso", utc=not for_people
            ),
        ],
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _drop_private_fields,
            *renderers,
        ],
    }
