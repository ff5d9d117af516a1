"""A database that is opened, made, migrated, refused."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from reelsense import store
from reelsense.errors import StoreError
from reelsense.store.database import REVISION, Database, default_url
from reelsense.store.tables import metadata


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'new' / 'jobs.db'}"


def test_a_new_file_gets_the_tables_and_is_the_users_alone(tmp_path: Path) -> None:
    database = Database(url(tmp_path))
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    file = tmp_path / "new" / "jobs.db"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    database.close()


def test_the_revision_is_the_newest_migration() -> None:
    config = Config()
    folder = Path(store.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))
    assert ScriptDirectory.from_config(config).get_current_head() == REVISION


def test_what_is_up_to_date_is_opened_without_alembic(tmp_path: Path) -> None:
    Database(url(tmp_path)).close()
    script = (
        "import sys; from reelsense.store.database import Database; "
        f"Database({url(tmp_path)!r}).close(); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0  # noqa: S603


def test_several_may_make_it_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for database in pool.map(Database, [url(tmp_path)] * 8):
            database.close()


def test_a_default_is_in_the_users_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/there")
    assert default_url() == "sqlite:////there/reelsense/jobs.db"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/ann")
    assert default_url() == "sqlite:////home/ann/.local/state/reelsense/jobs.db"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no url", "named by a URL"),
        ("sqlite://", "name a file"),
        ("nodb://u:secret@h/x", "package that is not installed"),
        ("mysql+pymysql://u:secret@h/x", "package that is not installed"),
    ],
)
def test_what_cannot_be_opened_is_said_without_the_password(name: str, reason: str) -> None:
    with pytest.raises(StoreError, match=reason) as caught:
        Database(name)
    assert "secret" not in str(caught.value)


def test_a_file_in_the_way_and_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "new").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written: "):
        Database(url(tmp_path))
    (tmp_path / "text").write_text("no database " * 100)
    with pytest.raises(StoreError, match="not a database"):
        Database(f"sqlite:///{tmp_path / 'text'}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match=r"jobs\.db cannot be written: Permission denied"):
        Database(url(tmp_path))


def test_a_database_of_a_later_version_is_refused(tmp_path: Path) -> None:
    database = Database(url(tmp_path))
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(StoreError, match="newer reelsense"):
        Database(url(tmp_path))


def test_what_fails_leaves_nothing_half_written(tmp_path: Path) -> None:
    database = Database(url(tmp_path))

    def fail() -> None:
        with database.writing() as connection:
            connection.execute(text("DELETE FROM alembic_version"))
            connection.execute(text("SELECT nonsense"))

    with pytest.raises(StoreError, match="fails"):
        fail()
    with database.reading() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == REVISION
    database.close()
