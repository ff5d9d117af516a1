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


class DatabaseServer:
    """A PostgreSQL server in `folder`, or with a `url` one that is running."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self._folder, self._is_given = folder, bool(url)
        self.url = url or f"postgresql+psycopg://postgres@/postgres?host={folder}"
        self._user = None if os.geteuid() else "postgres"  # PostgreSQL refuses to run as root
        if url:
            used.add(f"the database in {GIVEN}")
            return
        pytest.importorskip("psycopg", reason="needs psycopg: install the extra postgres")
        self._programs = _programs()
        if self._user:
            shutil.chown(folder, self._user)
        self._run("initdb", "--auth=trust", "--username=postgres")
        self.start()
        engine = create_engine(self.url)
        with engine.connect() as connection:
            used.add(f"PostgreSQL {connection.scalar(text('SHOW server_version'))}")
        engine.dispose()

    def start(self) -> None:
        options = f"-k {self._folder} -c listen_addresses= -c max_connections=200"
        log = self._folder / "log"
        self._run("pg_ctl", "-w", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        """Stop the server as a crash would. Skips the test if it was not started here."""
        if self._is_given:
            pytest.skip(f"the database in {GIVEN} cannot be stopped")
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def close(self) -> None:
        if not self._is_given:
            self.stop()

    def _run(self, program: str, *arguments: str | Path) -> None:
        subprocess.run(  # noqa: S603
            [self._programs / program, "-D", self._folder / "data", *arguments],
            user=self._user,
            cwd="/",
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=120,
        )


@contextmanager
def database_server() -> Iterator[DatabaseServer]:
    """Start PostgreSQL, or use REELSENSE_TEST_DATABASE. Skips the test if neither is possible."""
    with TemporaryDirectory(prefix="reelsense-postgres-") as folder:
        server = DatabaseServer(Path(folder), os.environ.get(GIVEN))
        try:
            yield server
        finally:
            server.close()


def _programs() -> Path:
    """Return the folder of the programs of PostgreSQL; Debian does not add it to PATH."""
    folders = list(map(Path, os.environ["PATH"].split(os.pathsep)))
    for folder in (*folders, *Path("/usr/lib/postgresql").glob("*/bin")):
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    pytest.skip(f"needs a PostgreSQL server (Debian: apt install postgresql) or {GIVEN}")
