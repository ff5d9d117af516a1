"""A database: opened, brought to the newest schema, read and written.

SQLite wants no set-up; any other that SQLAlchemy knows is named by its URL.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Engine,
    create_engine,
    event,
    func,
    inspect,
    text,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from reelsense.errors import StoreError

REVISION = "0001"
"""The newest migration. Named here too, because Alembic takes a while to import."""

_WAIT = 30
"""Seconds that one who writes waits for another."""

_MIGRATING = 20.0
"""Seconds in which another process that has begun to migrate should be done."""


_MIGRATION = threading.Lock()
"""Alembic is of one thread at a time: what it migrates is global to the process."""

_PACKAGES = {
    "psycopg": "'psycopg[binary]'",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
}
"""Modules whose package has another name."""


def default_url() -> str:
    """Return the URL of the SQLite file that is the user's own.

    Raises StoreError if the user has no home.
    """
    try:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    except RuntimeError as error:  # an id without a name, as in a container
        raise StoreError("the user has no home for a database: name one with --database") from error
    return f"sqlite:///{state / 'reelsense' / 'jobs.db'}"


class Database:
    """A database with the newest schema. Safe to share between threads, not over a fork."""

    def __init__(self, url: str) -> None:
        """Open the database at `url`, SQLAlchemy's, and make or migrate its tables if need be.

        Raises StoreError saying why that cannot be.
        """
        self._engine = _engine(url)
        self._name = self._engine.url.render_as_string(hide_password=True)
        try:
            self._migrate()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Lend a connection to read from. Raises StoreError if that fails."""
        with self._failing(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Lend a connection to write in one transaction. Raises StoreError if that fails."""
        with self._failing(), self._engine.connect().execution_options(writes=True) as connection:
            yield connection
            connection.commit()

    def holds(self, column: ColumnElement[str], part: str) -> ColumnElement[bool]:
        """Return the condition that `column` holds `part`, whichever their case."""
        if self._engine.dialect.name != "sqlite":
            return column.icontains(part, autoescape=True)
        # SQLite's LIKE tries the whole part at every place: a long one takes hours. And it knows
        # the cases of ASCII alone.
        return func.holds(column, part.lower(), type_=Boolean)

    def shrink(self) -> None:
        """Give the room of what was deleted back, where the database does not do so by itself."""
        if self._engine.dialect.name == "sqlite":
            with self._failing(), closing(self._engine.raw_connection()) as connection:
                # As a script: a single statement would be stepped through once, and free one page.
                connection.cursor().executescript(
                    "PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(truncate)"
                )

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:  # the second from `shrink`
            reason = error.orig if isinstance(error, DBAPIError) else error
            raise StoreError(f"the database {self._name} fails: {reason}") from error

    def _migrate(self) -> None:
        """Bring the schema to REVISION; another process may be doing the same."""
        deadline = time.monotonic() + _MIGRATING
        while True:
            with self.reading() as connection:
                if _revision(connection) == REVISION:
                    return
            try:
                with _MIGRATION, self.writing() as connection:
                    if _revision(connection) != REVISION:
                        _upgrade(connection, self._name)
            except StoreError as error:
                if not isinstance(error.__cause__, SQLAlchemyError):
                    raise  # a schema that is too new stays so
                # SQLite makes the others wait; elsewhere two may make the same table.
                if self._engine.dialect.name == "sqlite" or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _upgrade(connection: Connection, name: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    folder = Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError(
            f"the database {name} was written by a newer reelsense: install that, or name another "
            f"({error})"
        ) from error


def check_url(url: str) -> None:
    """Raise StoreError if `url` can name no database. Opens and writes nothing."""
    parsed = _parsed(url)
    try:
        parsed.get_dialect()
    except NoSuchModuleError as error:
        raise _unknown(parsed) from error
    if parsed.get_backend_name() == "sqlite":
        _check_file(parsed)


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError) as error:  # the second: a port that is no number
        raise StoreError(
            "the database is named by a URL, as sqlite:////var/lib/reelsense/jobs.db or "
            f"postgresql+psycopg://HOST/NAME{_meant(url)}"
        ) from error


def _meant(url: str) -> str:
    """Of a path, say what would name it; anything else may hold a password."""
    return (
        "" if not url or set(url) & set(":@") else f", not {url!r}; did you mean sqlite:///{url}?"
    )


def _unknown(url: URL) -> StoreError:
    return StoreError(f"no database of the kind {url.drivername!r} is known")


def _engine(url: str) -> Engine:
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite":
        _make_file(parsed)
    try:
        engine = create_engine(parsed, pool_pre_ping=parsed.get_backend_name() != "sqlite")
    except ModuleNotFoundError as error:
        package = _PACKAGES.get(error.name or "", error.name)
        raise StoreError(
            f"the database {parsed.render_as_string(hide_password=True)} wants a package that is "
            f"not installed: pip install {package}"
        ) from error
    except NoSuchModuleError as error:
        raise _unknown(parsed) from error
    except ImportError as error:
        raise StoreError(
            f"the database {parsed.render_as_string(hide_password=True)} wants a package that is "
            f"not installed: {error}"
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _check_file(url: URL) -> Path:
    """Return the file of an SQLite database; its folder is there. Raises StoreError."""
    if not url.database or url.database == ":memory:":
        raise StoreError("the database is to outlive the process: name a file, as sqlite:///FILE")
    path = Path(url.database)
    # A folder that was mistyped would be an empty database; that of the user's own is made.
    if not path.parent.is_dir() and not _is_default(url):
        raise StoreError(f"the database {path} cannot be written: there is no folder {path.parent}")
    return path


def _is_default(url: URL) -> bool:
    try:
        return url == make_url(default_url())
    except (RuntimeError, StoreError):  # the user has no home
        return False


def _make_file(url: URL) -> None:
    """Make an SQLite file that only this user reads: reviews may be in it."""
    path = _check_file(url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreError(f"the database {path} cannot be written: {error.strerror}") from error


def _set_up_sqlite(connection: Any, _record: object) -> None:
    # Transactions are begun in _begin_sqlite; by itself the driver begins them late.
    connection.isolation_level = None
    connection.create_function("holds", 2, _holds, deterministic=True)
    connection.execute(f"PRAGMA busy_timeout = {_WAIT * 1000}")
    # To set this takes the lock of who writes, so only in a new file: what is deleted shrinks it.
    if not connection.execute("PRAGMA auto_vacuum").fetchone()[0]:
        connection.execute("PRAGMA auto_vacuum = incremental")
    for pragma in (
        "journal_mode = wal",  # who reads does not wait for who writes
        "synchronous = normal",
        "foreign_keys = on",
        "secure_delete = on",  # what is deleted is not left in the file
    ):
        connection.execute(f"PRAGMA {pragma}")


def _holds(text: str | None, part: str) -> bool | None:
    return None if text is None else part in text.lower()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    # One that begins to read and then writes would fail, not wait, if another has written.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
