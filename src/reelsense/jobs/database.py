"""Opens the database of jobs, migrates its schema, and provides transactions.

SQLite needs no setup. Any other database that SQLAlchemy supports is selected by its URL.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Boolean, ColumnElement, Connection, func, inspect, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from reelsense.errors import StoreError
from reelsense.jobs.engine import engine_of, open_engine, parse_url
from reelsense.text.urls import without_secrets

REVISION = "0006"
"""The latest migration, repeated here because importing Alembic is slow."""

_RESERVE = 128 * 1024 * 1024  # bytes of the disk that jobs leave free
_MIGRATION_TIMEOUT = 20.0  # seconds in which another process should finish a migration
_MIGRATION_LOCK = threading.Lock()  # Alembic keeps global state


class Database:
    """A database with the latest schema. Can be shared between threads, but not across a fork."""

    def __init__(self, url: str) -> None:
        """Open the database at a SQLAlchemy `url`, and create or migrate its tables.

        Raises StoreError if the URL is invalid or the database cannot be opened or is too new.
        """
        self._engine = open_engine(url)
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
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).exists():
        return None
    engine = engine_of(parsed)
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
