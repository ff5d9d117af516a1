"""Opens the database of jobs, migrates its schema, and provides transactions.

SQLite needs no setup. Any other database that SQLAlchemy supports is selected by its URL.
"""

from __future__ import annotations

import os
import shutil
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
from reelsense.text.urls import without_secrets

REVISION = "0006"
"""The latest migration, repeated here because importing Alembic is slow."""

_RESERVE = 128 * 1024 * 1024  # bytes of the disk that jobs leave free
_LOCK_TIMEOUT = 30  # seconds that a writer waits for another
_MIGRATION_TIMEOUT = 20.0  # seconds in which another process should finish a migration
_MIGRATION_LOCK = threading.Lock()  # Alembic keeps global state


def default_url() -> str:
    """Return the URL of the SQLite file in the user's state folder. Raises StoreError."""
    folder = _state_folder()
    if folder is None:
        raise StoreError("no home folder for the default database: set --database", code="no-home")
    return f"sqlite:///{folder / 'jobs.db'}"


def _state_folder() -> Path | None:
    try:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    except RuntimeError:  # a user id without a home folder, as in a container
        return None
    return state / "reelsense"


class Database:
    """A database with the latest schema. Can be shared between threads, but not across a fork."""

    def __init__(self, url: str) -> None:
        """Open the database at a SQLAlchemy `url`, and create or migrate its tables.

        Raises StoreError if the URL is invalid or the database cannot be opened or is too new.
        """
        self._engine = _create_engine(url)
        self._name = without_secrets(url)
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
        """Provide a connection for reading. Raises StoreError if the database fails."""
        with self._mapping_errors(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self, *, durable: bool = False) -> Iterator[Connection]:
        """Provide a connection for one write transaction. Raises StoreError if it fails.

        With `durable`, the data survives a loss of power too, not only of the process.
        """
        options = {"writes": True, "durable": durable}
        connect = self._engine.connect
        with self._mapping_errors(), connect().execution_options(**options) as connection:
            yield connection
            connection.commit()

    def check_space(self) -> None:
        """Raise StoreError (`disk-full`) if less than 128 MiB are free next to an SQLite file."""
        if self._engine.dialect.name != "sqlite":
            return
        try:
            free = shutil.disk_usage(Path(str(self._engine.url.database)).parent).free
        except OSError as error:
            raise StoreError(
                f"database {self._name} failed: {error}", code="database-failed"
            ) from error
        if free < _RESERVE:
            raise StoreError(
                f"database {self._name}: expected at least {_RESERVE:,} free bytes on its disk, "
                f"found {free:,}: delete jobs or free disk space",
                code="disk-full",
            )

    def contains(self, column: ColumnElement[str], part: str) -> ColumnElement[bool]:
        """Return the condition that `column` contains `part`, ignoring case."""
        # Not LIKE, which is quadratic for long patterns, and in SQLite ignores case only in ASCII.
        if self._engine.dialect.name != "sqlite":
            return func.strpos(func.lower(column), func.lower(part)) > 0
        return func.contains(column, part.lower(), type_=Boolean)

    def shrink(self) -> None:
        """Return free space to the file system, if the database does not do so itself."""
        if self._engine.dialect.name == "sqlite":
            with self._mapping_errors(), closing(self._engine.raw_connection()) as connection:
                # A script, because a single statement would free only one page.
                connection.cursor().executescript(
                    "PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(truncate)"
                )

    def purge(self, *tables: str) -> None:
        """Erase what was deleted from `tables`, also from free pages and the write-ahead log.

        Rewrites the tables (in SQLite, all of them), during which others cannot write. Raises
        StoreError, with the code `database-busy` if another process prevents it.
        """
        is_busy, dialect = 0, self._engine.dialect.name
        if dialect == "sqlite":
            with self._mapping_errors(), closing(self._engine.raw_connection()) as raw:
                cursor = raw.cursor()
                cursor.execute("VACUUM")
                is_busy, *_ = cursor.execute("PRAGMA wal_checkpoint(truncate)").fetchone()
        elif dialect == "postgresql":
            connect = self._engine.connect
            options = {"isolation_level": "AUTOCOMMIT"}  # VACUUM cannot run in a transaction
            with self._mapping_errors(), connect().execution_options(**options) as connection:
                for table in tables:
                    connection.exec_driver_sql(f"VACUUM FULL {table}")
        if is_busy:
            raise StoreError(
                f"database {self._name}: the data is deleted, but the write-ahead log still "
                "contains it, because another process reads the database: try again",
                code="database-busy",
            )

    @contextmanager
    def _mapping_errors(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:  # the second from `shrink`
            reason = error.orig if isinstance(error, DBAPIError) else error
            raise StoreError(
                f"database {self._name} failed: {reason}", code="database-failed"
            ) from error

    def _migrate(self) -> None:
        """Migrate the schema to REVISION. Another process may do the same at the same time."""
        deadline = time.monotonic() + _MIGRATION_TIMEOUT
        while True:
            with self.reading() as connection:
                if _revision(connection) == REVISION:
                    return
            try:
                with _MIGRATION_LOCK, self.writing() as connection:
                    if _revision(connection) != REVISION:
                        _upgrade(connection, self._name)
            except StoreError as error:
                if not isinstance(error.__cause__, SQLAlchemyError):
                    raise  # the schema is too new
                # SQLite has a lock; in other databases two processes may create the same table.
                if self._engine.dialect.name == "sqlite" or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


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
            f"database {name} was written by a newer version of reelsense: upgrade reelsense or "
            f"use another database ({error})",
            code="database-too-new",
        ) from error


def stored_revision(url: str) -> str | None:
    """Return the revision of the schema in the database at `url`, without changing it.

    None: the database has no tables, or it is an SQLite file that does not exist. Raises StoreError
    if it cannot be opened.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).exists():
        return None
    engine = _engine_of(parsed)
    try:
        with engine.connect() as connection:
            return _revision(connection)
    except SQLAlchemyError as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        raise StoreError(
            f"database {without_secrets(url)} failed: {reason}", code="database-failed"
        ) from error
    finally:
        engine.dispose()


def check_url(url: str) -> None:
    """Check that `url` can be a database, without opening it. Raises StoreError if not."""
    _parse(url)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        parsed.get_dialect()
    except NoSuchModuleError as error:
        raise StoreError(
            f"unsupported database {parsed.drivername!r}: expected a name such as sqlite or "
            "postgresql+psycopg",
            code="unsupported-database",
        ) from error
    except (ArgumentError, ValueError) as error:  # the second: the port is not a number
        # Anything but a path may contain a password.
        is_path = url and not set(url) & set(":@")
        raise StoreError(
            f"invalid database URL{f' {url!r}' if is_path else ''}: expected a URL such as "
            "sqlite:////var/lib/reelsense/jobs.db or postgresql+psycopg://HOST/NAME"
            f"{f'; did you mean sqlite:///{url}?' if is_path else ''}",
            code="invalid-database-url",
        ) from error
    if parsed.get_backend_name() == "sqlite":
        _check_file(parsed.database)
    return parsed


def _check_file(name: str | None) -> None:
    if not name or name == ":memory:":
        raise StoreError(
            "in-memory databases are not supported: pass a file, as in sqlite:///FILE",
            code="in-memory-database",
        )
    folder = Path(name).parent
    # Creating a mistyped folder would silently start an empty database.
    if not folder.is_dir() and folder != _state_folder():
        raise StoreError(
            f"cannot write database {name}: folder {folder} does not exist", code="no-such-folder"
        )


def _create_engine(url: str) -> Engine:
    parsed = _parse(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    if is_sqlite:
        _create_file(Path(str(parsed.database)))
    engine = _engine_of(parsed)
    if is_sqlite:
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _engine_of(url: URL) -> Engine:
    try:
        return create_engine(url, pool_pre_ping=url.get_backend_name() != "sqlite")
    except ImportError as error:
        raise StoreError(
            f"the driver of database {without_secrets(str(url))} is not "
            f"installed ({error}): install it with pip; the extra postgres contains psycopg",
            code="missing-driver",
        ) from error


def _create_file(path: Path) -> None:
    """Create an SQLite file, readable only by this user: it may contain private reviews."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreError(
            f"cannot write database {path}: {error.strerror}", code="database-not-writable"
        ) from error


def _configure_sqlite(connection: Any, _record: object) -> None:
    # _begin_sqlite begins transactions; the driver itself would begin them late.
    connection.isolation_level = None
    connection.create_function("contains", 2, _contains, deterministic=True)
    connection.execute(f"PRAGMA busy_timeout = {_LOCK_TIMEOUT * 1000}")
    # Lets the file shrink. Needs the write lock, so it is set only in new files.
    if not connection.execute("PRAGMA auto_vacuum").fetchone()[0]:
        connection.execute("PRAGMA auto_vacuum = incremental")
    for pragma in (
        "journal_mode = wal",  # readers do not wait for writers
        "synchronous = normal",
        "foreign_keys = on",
        "secure_delete = on",  # overwrites deleted data
    ):
        connection.execute(f"PRAGMA {pragma}")


def _contains(text: str | None, part: str) -> bool | None:
    return None if text is None else part in text.lower()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    writes = options.get("writes")
    if writes:
        level = "full" if options.get("durable") else "normal"
        connection.exec_driver_sql(f"PRAGMA synchronous = {level}")
    # A read transaction that starts to write fails instead of waiting if another has written.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
