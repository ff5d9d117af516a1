"""Databases for tests: SQLite files, and a PostgreSQL server that is started on first use."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import create_engine, text

from reelsense.jobs.models import metadata

GIVEN = "REELSENSE_TEST_DATABASE"

SQLITE, SERVER = "sqlite", "postgresql"

BOTH = [SQLITE, pytest.param(SERVER, marks=pytest.mark.slow)]
"""Parameters of the fixture `url` of tests that run on both."""

used: set[str] = set()  # for the summary


def sqlite_url(folder: Path) -> str:
    used.add("SQLite")
    return f"sqlite:///{folder / 'jobs.db'}"


def emptied(url: str) -> str:
    """Remove the tables of reelsense from the database at `url`, and return `url`."""
    engine = create_engine(url)
    with engine.begin() as connection:
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
    engine.dispose()
    return url


@contextmanager
def postgresql() -> Iterator[str]:
    """Yield the URL of the database in REELSENSE_TEST_DATABASE, or else of a new PostgreSQL server.

    Skips the test if neither can be had.
    """
    if given := os.environ.get(GIVEN):
        used.add(f"the database in {GIVEN}")
        yield given
        return
    pytest.importorskip("psycopg", reason="needs psycopg: install the extra postgres")
    programs = _programs()
    with TemporaryDirectory(prefix="reelsense-postgres-") as folder:
        path = Path(folder)
        user = None if os.geteuid() else "postgres"  # PostgreSQL refuses to run as root
        if user:
            shutil.chown(path, user)
        data = path / "data"
        _run(programs / "initdb", "--auth=trust", "--username=postgres", "-D", data, user=user)
        options = f"-k {path} -c listen_addresses= -c max_connections=200"
        control = (programs / "pg_ctl", "-D", data, "-w")
        _run(*control, "-l", path / "log", "-o", options, "start", user=user)
        try:
            url = f"postgresql+psycopg://postgres@/postgres?host={path}"
            engine = create_engine(url)
            with engine.connect() as connection:
                version = connection.scalar(text("SHOW server_version"))
            engine.dispose()
            used.add(f"PostgreSQL {version}")
            yield url
        finally:
            _run(*control, "-m", "immediate", "stop", user=user)


def _programs() -> Path:
    """Return the folder of the programs of PostgreSQL; Debian does not add it to PATH."""
    folders = list(map(Path, os.environ["PATH"].split(os.pathsep)))
    for folder in (*folders, *Path("/usr/lib/postgresql").glob("*/bin")):
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    pytest.skip(f"needs a PostgreSQL server (Debian: apt install postgresql) or {GIVEN}")


def _run(*command: str | Path, user: str | None) -> None:
    subprocess.run(  # noqa: S603
        command, user=user, cwd="/", stdout=subprocess.DEVNULL, check=True, timeout=60
    )
