"""Opens databases by their URL, and configures SQLite."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from reelsense.errors import StoreError
from reelsense.text.urls import without_secrets

_LOCK_TIMEOUT = 30  # seconds that a writer waits for another


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


def parse_url(url: str) -> URL:
    """Return the URL of a database, without opening it. Raises StoreError if it is invalid."""
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


def open_engine(url: str) -> Engine:
    """Return an engine that reads and writes; an SQLite file is created. Raises StoreError."""
    parsed = parse_url(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    if is_sqlite:
        _create_file(Path(str(parsed.database)))
    engine = engine_of(parsed)
    if is_sqlite:
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def engine_of(url: URL) -> Engine:
    """Return an engine without the settings for writing. Raises StoreError without its driver."""
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
