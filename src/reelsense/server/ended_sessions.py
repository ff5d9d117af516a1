"""Sessions of the web pages that were ended before they expired."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy import delete, insert, select

from reelsense.errors import StoreError
from reelsense.jobs import models
from reelsense.jobs.database import Database

_log = logging.getLogger(__name__)

_READ_EVERY = 1.0  # seconds
_TABLE = models.ended_sessions


class EndedSessions:
    """The sessions that were ended, at this server or at others with the same database.

    Requests do not wait for the database: a thread reads it every second. While it fails, only the
    sessions that this process has ended are known.
    """

    def __init__(self, open_database: Callable[[], Database]) -> None:
        self._open_database = open_database
        self._ids: set[str] = set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sessions", daemon=True)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._ids

    def start(self) -> None:
        """Start to read the database."""
        self._thread.start()

    def close(self) -> None:
        """Stop reading the database."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def add(self, session_id: str, expires: float) -> None:
        """End a session that would expire at `expires`, in seconds since 1970."""
        self._ids.add(session_id)
        try:
            with self._open_database().writing() as connection:
                old = (_TABLE.c.expires < time.time()) | (_TABLE.c.id == session_id)
                connection.execute(delete(_TABLE).where(old))
                connection.execute(insert(_TABLE).values(id=session_id, expires=expires))
        except StoreError as error:
            _log.warning("a sign-out is only known to this process: %s", error)

    def refresh(self) -> None:
        """Read the database. Raises StoreError."""
        with self._open_database().reading() as connection:
            self._ids |= set(connection.scalars(select(_TABLE.c.id)))

    def _watch(self) -> None:
        while not self._closing.wait(_READ_EVERY):
            with suppress(StoreError):  # requests that need the database report it
                self.refresh()
