import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, MetaData, Table, create_engine, insert, inspect, select, text

from reelsense.errors import StoreError
from reelsense.jobs import database, engine
from reelsense.jobs.database import REVISION, Database
from reelsense.jobs.engine import default_url, parse_url
from reelsense.jobs.models import jobs, metadata
from reelsense.jobs.repository import JobRepository
from tests import databases

on_sqlite = pytest.mark.parametrize("url", [databases.SQLITE], indirect=True)

JOB: dict[str, Any] = {
    "id": "a",
    "name": "in.csv",
    "suffix": ".csv",
    "column": "text",
    "model": "tiny",
    "state": "waiting",
    **dict.fromkeys(("rows", "done", "characters", "characters_done"), 0),
    **dict.fromkeys(("worked", "created", "lease"), 0.0),
    "verdicts": {},
    "stars": {},
}


def folder() -> str:
    return str(Path(database.__file__).parent / "migrations")


def pragma(opened: Database, name: str) -> object:
    with opened.reading() as connection:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


def test_revision_is_latest_migration() -> None:
    assert ScriptDirectory(folder()).get_current_head() == REVISION


def test_migrations_match_tables(url: str) -> None:
    opened = Database(url)
    with opened.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    opened.close()


def test_migration_reads_labels_and_ratings_from_results(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", folder())
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        verdicts, stars = {"b": 2, "unsure": 1, "a": 1, "error": 1}, {"10": 2, "2": 2}
        for name, ended in (("done", 1.0), ("running", None)):
            values = JOB | {"id": name, "ended": ended, "verdicts": verdicts, "stars": stars}
            known = {column["name"] for column in inspect(connection).get_columns("jobs")}
            columns = [
                Column(column.name, column.type, default=getattr(column.default, "arg", None))
                for column in jobs.c
                if column.name in known
            ]
            before = Table("jobs", MetaData(), *columns)
            connection.execute(insert(before).values(values))
    engine.dispose()
    opened = Database(url)
    repository = JobRepository(opened, 1.0, lambda: 0.0)
    done, running = repository.job("done"), repository.job("running")
    assert (done.labels, done.ratings) == (("a", "b"), (2, 10))
    assert (running.labels, running.ratings) == ((), ())
    opened.close()


def test_opening_prints_nothing(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    Database(url).close()
    assert capfd.readouterr() == ("", "")


def test_current_schema_does_not_import_alembic(url: str) -> None:
    Database(url).close()
    code = (
        "import sys; from reelsense.jobs.database import Database; "
        "Database(sys.argv[1]).close(); sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, url], check=True)  # noqa: S603


def test_writes_persist(url: str) -> None:
    opened = Database(url)
    with opened.writing() as connection:
        connection.execute(insert(jobs).values(JOB))
    opened.close()
    opened = Database(url)
    with opened.reading() as connection:
        assert connection.scalar(select(jobs.c.name)) == "in.csv"
    opened.close()


def test_failed_transaction_is_rolled_back(url: str) -> None:
    opened = Database(url)

    def half() -> None:
        with opened.writing() as connection:
            connection.execute(insert(jobs).values(JOB))
            raise KeyError

    with pytest.raises(KeyError):
        half()
    with opened.reading() as connection:
        assert connection.scalar(select(jobs.c.name)) is None
    opened.close()


def test_database_errors_are_store_errors(url: str) -> None:
    opened = Database(url)
    with pytest.raises(StoreError) as caught, opened.reading() as connection:
        connection.execute(text("SELECT * FROM nowhere"))
    assert caught.value.code == "database-failed"
    opened.close()


def test_threads_open_new_database_concurrently(url: str) -> None:
    barrier = threading.Barrier(6)

    def revision(_n: int) -> str | None:
        barrier.wait(30)
        opened = Database(url)
        with opened.reading() as connection:
            number: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        opened.close()
        return number

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(revision, range(6))) == [REVISION] * 6


def test_processes_open_new_database_concurrently(url: str) -> None:
    code = "import sys; from reelsense.jobs.database import Database; Database(sys.argv[1])"
    command = [sys.executable, "-c", code, url]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]  # noqa: S603
    assert [process.communicate(timeout=60)[1] for process in processes] == [b""] * 4
    assert [process.returncode for process in processes] == [0] * 4


def test_newer_schema_is_rejected(url: str) -> None:
    opened = Database(url)
    with opened.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    opened.close()
    with pytest.raises(StoreError) as caught:
        Database(url)
    assert caught.value.code == "database-too-new"


@pytest.mark.parametrize(
    ("url", "code", "message"),
    [
        ("jobs.db", "invalid-database-url", "sqlite:///jobs.db?"),
        ("sqlite://", "in-memory-database", "sqlite:///FILE"),
        ("sqlite:///:memory:", "in-memory-database", "sqlite:///FILE"),
        ("/tmp/x.db", "invalid-database-url", "did you mean sqlite:////tmp/x.db?"),  # noqa: S108
        ("me:secret@host/name", "invalid-database-url", "expected a URL"),
        ("postgresql://me:secret@host:port/name", "invalid-database-url", "expected a URL"),
        ("nosuch://me:secret@host/name", "unsupported-database", "'nosuch'"),
        ("mysql+pymysql://me:secret@host/name", "missing-driver", "No module named 'pymysql'"),
    ],
)
def test_database_rejects_unusable_urls(url: str, code: str, message: str) -> None:
    with pytest.raises(StoreError) as caught:
        Database(url)
    assert caught.value.code == code
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["jobs.db", "sqlite://", "nosuch://host", "sqlite:////nosuch/folder/jobs.db"]
)
def test_check_url_rejects_unusable_urls(url: str) -> None:
    with pytest.raises(StoreError):
        parse_url(url)


def test_only_default_folder_is_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'a b' / 'reelsense' / 'jobs.db'}"
    with pytest.raises(StoreError, match=r"/a b/reelsense does not exist$"):
        Database(url)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "a b"))
    parse_url(url)
    assert list(tmp_path.iterdir()) == []
    Database(url).close()
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    Database(url.replace("a b", ".local/state")).close()


def test_database_url_works_without_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", home)
    Database(f"sqlite:///{tmp_path / 'jobs.db'}").close()
    with pytest.raises(StoreError) as caught:
        Database(f"sqlite:///{tmp_path / 'typo' / 'jobs.db'}")
    assert caught.value.code == "no-such-folder"


def test_unusable_sqlite_files_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a database, and long enough to have a header" * 20)
    for name, code in (("file", "database-failed"), ("file/jobs.db", "no-such-folder")):
        with pytest.raises(StoreError) as caught:
            Database(f"sqlite:///{tmp_path / name}")
        assert caught.value.code == code
        assert str(tmp_path / name) in str(caught.value)
    with pytest.raises(StoreError, match="Is a directory") as caught:
        Database(f"sqlite:///{tmp_path}")
    assert caught.value.code == "database-not-writable"


def test_sqlite_file_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = tmp_path / "reelsense" / "jobs.db"
    opened = Database(f"sqlite:///{path}")
    with opened.writing() as connection:
        connection.execute(insert(jobs).values(JOB))
        files = list(path.parent.iterdir())
        assert len(files) == 3  # the database, its log and its index
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    opened.close()


@on_sqlite
def test_sqlite_pragmas(url: str) -> None:
    opened = Database(url)
    pragmas = {
        "journal_mode": "wal",
        "auto_vacuum": 2,
        "secure_delete": 1,
        "foreign_keys": 1,
        "busy_timeout": 30_000,
    }
    assert {name: pragma(opened, name) for name in pragmas} == pragmas
    opened.close()


@on_sqlite
def test_durable_writes_are_synchronized_with_disk(url: str) -> None:
    opened = Database(url)
    for durable, level in ((True, 2), (False, 1), (True, 2)):
        with opened.writing(durable=durable) as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == level
    opened.close()


@on_sqlite
def test_readers_do_not_wait_for_writers(url: str) -> None:
    opened = Database(url)
    with opened.writing() as writes:
        writes.execute(insert(jobs).values(JOB))
        with opened.reading() as reads:
            assert reads.scalar(select(jobs.c.name)) is None
    opened.close()


@on_sqlite
def test_locked_database_is_store_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_LOCK_TIMEOUT", 0)
    opened = Database(url)
    other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="database is locked"), opened.writing() as connection:
        connection.execute(insert(jobs).values(JOB))
    with pytest.raises(StoreError, match="database is locked"):
        opened.shrink()
    other.close()
    opened.close()


@on_sqlite
def test_full_disk_is_store_error(url: str) -> None:
    opened = Database(url)

    def fill() -> None:
        with opened.writing() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
            connection.execute(insert(jobs).values(JOB | {"name": "long" * 100_000}))

    with pytest.raises(StoreError, match="full"):
        fill()
    opened.close()


@on_sqlite
def test_shrink_frees_space(url: str) -> None:
    opened, path = Database(url), Path(url.removeprefix("sqlite:///"))
    with opened.writing() as connection:
        connection.execute(insert(jobs).values(JOB | {"name": "long" * 1_000_000}))
    opened.shrink()
    assert path.stat().st_size > 4_000_000
    with opened.writing() as connection:
        connection.execute(jobs.delete())
    opened.shrink()
    assert path.stat().st_size < 200_000
    opened.close()


def test_default_url_is_in_state_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/there")
    assert default_url() == "sqlite:////there/reelsense/jobs.db"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/ann")
    assert default_url() == "sqlite:////home/ann/.local/state/reelsense/jobs.db"


def test_default_url_needs_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(StoreError) as caught:
        default_url()
    assert caught.value.code == "no-home"
