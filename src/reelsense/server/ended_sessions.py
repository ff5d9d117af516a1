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

    Requests do not wait for the database: a thread reads it every second. While the database is
    unavailable, and without one, only the sessions that this process has ended are known.

    Args:
        open_database: Returns the database; may raise StoreError. None without a database.
    """

    def __init__(self, open_database: Callable[[], Database] | None) -> None:
        self._open_database = open_database
        self._own: dict[str, float] = {}  # when each would expire
        self._stored: set[str] = set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sessions", daemon=True)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._own or session_id in self._stored

    def start(self) -> None:
        """Read the database now, and then every second."""
        self._try_to_refresh()
        self._thread.start()

    def close(self) -> None:
        """Stop reading the database."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def add(self, session_id: str, expires: float) -> None:
        """End a session that would expire at `expires`, in seconds since 1970."""
        if session_id in self:
            return
        now = time.time()
        self._own = {name: time_ for name, time_ in self._own.items() if time_ > now}
        self._own[session_id] = expires
        if self._open_database is None:
            return
        try:
            with self._open_database().writing() as connection:
                connection.execute(delete(_TABLE).where(_TABLE.c.expires < now))
                connection.execute(insert(_TABLE).values(id=session_id, expires=expires))
        except StoreError as error:
            _log.warning("a sign-out is only known to this process: %s", error)

    def refresh(self) -> None:
        """Read the database. Raises StoreError."""
        if self._open_database is not None:
            query = select(_TABLE.c.id).where(_TABLE.c.expires > time.time())
            with self._open_database().reading() as connection:
                self._stored = set(connection.scalars(query))

    def _watch(self) -> None:
        while not self._closing.wait(_READ_EVERY):
            self._try_to_refresh()

    def _try_to_refresh(self) -> None:
        with suppress(StoreError):  # requests that need the database report it
            self.refresh()
