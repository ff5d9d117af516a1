"""The log: JSON for machines, columns for people, on standard error; structlog writes both."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any
from urllib.parse import quote

import structlog
from structlog.typing import Processor

from reelsense.server.settings import Settings

_JOB = re.compile(r"(/jobs/[\w-]{6})[\w-]+", re.ASCII)

_LONGEST = 200


def as_logged(words: str) -> str:
    """Return a path or method as the log has it: on one line, not endless.

    Of the id of a job, which opens it, the beginning alone.
    """
    words = _JOB.sub(r"\1...", words)
    return quote(words[:_LONGEST]) + ("..." if len(words) > _LONGEST else "")


class _Paths(logging.Filter):
    """Of waitress, which logs the path of an answer that breaks off."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = _JOB.sub(r"\1...", str(record.msg))
        return True


def log_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings, for logging.config.dictConfig, of the log that `settings` want."""
    for_people = settings.log_format == "console" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    if for_people:
        last: list[Processor] = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    else:
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"paths": {"()": _Paths}},
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": [
                    structlog.contextvars.merge_contextvars,  # the id of the request
                    structlog.stdlib.add_log_level,
                    structlog.stdlib.ExtraAdder(),
                    structlog.processors.TimeStamper(
                        fmt="%H:%M:%S" if for_people else "iso", utc=not for_people
                    ),
                ],
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
            }
        },
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "stream": sys.stderr, "formatter": "line"}
        },
        "root": {"level": settings.log_level.upper(), "handlers": ["stderr"]},
        "loggers": {
            # Its own words on starting and stopping are for its developers.
            "gunicorn.error": {"level": "WARNING", "handlers": [], "propagate": True},
            # It counts tasks as queued that a thread is just about to take.
            "waitress.queue": {"level": "ERROR"},
            "alembic": {"level": "WARNING"},
            # Ours has the same.
            "flask-limiter": {"level": "WARNING"},
            # That a client has gone is in the line of its request.
            "waitress": {"level": "WARNING", "filters": ["paths"]},
        },
    }
