"""Releases of a tiny repository; building and installing are replaced."""

from __future__ import annotations

import json
import subprocess
from datetime import date
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from scripts import release
from tests.local_server import serving

TODAY = date(2026, 3, 1)
CHANGELOG = (
    "# Changelog\n\n## [Unreleased]\n### Added\n- A field.\n\n## [0.1.0] - 2026-01-01\n- All.\n"
)
MODULE = '"""A package."""\n\n__version__ = "0.1.0"\n'


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout  # noqa: S603


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with the files that a release changes; nothing is built from it."""
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "a")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "a@example.org")
    texts = {
        release.CHANGELOG: CHANGELOG,
        release.VERSION_FILE: MODULE,
        release.CONTRACT: json.dumps({"info": {"version": "0.1.0"}}),
    }
    for path, text in texts.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "First")
    files = release.Files(Path("a.tar.gz"), Path("a.whl"))
    monkeypatch.setattr(release, "build", lambda root, version: files)
    monkeypatch.setattr(release, "smoke_test", lambda root, wheel, version: None)
    return tmp_path


@pytest.mark.parametrize(
    "text", ["", "1", "1.2", "v1.2.3", "1.2.3rc1", "01.2.3", "1.2.3\n", "\u0661.2.3"]
)
def test_parse_version_rejects_other_forms(text: str) -> None:
    with pytest.raises(release.ReleaseError):
        release.parse_version(text)


def test_parse_version_returns_numbers_that_compare() -> None:
    assert release.parse_version("0.10.0") > release.parse_version("0.9.12") == (0, 9, 12)


def test_release_section_moves_the_unreleased_changes() -> None:
    assert release.release_section(CHANGELOG, "0.2.0", TODAY) == CHANGELOG.replace(
        "[Unreleased]\n", "[Unreleased]\n\n## [0.2.0] - 2026-03-01\n"
    )


def test_release_section_keeps_a_section_with_a_date() -> None:
    written = release.release_section(CHANGELOG, "0.2.0", TODAY)
    assert release.release_section(written, "0.2.0", date(2026, 4, 1)) == written


@pytest.mark.parametrize(
    "changelog",
    [
        "# Changelog\n",
        CHANGELOG.replace("### Added\n- A field.\n", ""),
        CHANGELOG.replace("0.1.0", "0.2.0"),
    ],
)
def test_release_section_rejects_missing_or_divided_changes(changelog: str) -> None:
    with pytest.raises(release.ReleaseError):
        release.release_section(changelog, "0.2.0", TODAY)


def test_replace_version_changes_only_the_version() -> None:
    assert release.replace_version(MODULE, "0.2.0") == MODULE.replace("0.1.0", "0.2.0")


@pytest.mark.parametrize(("module", "version"), [(MODULE, "0.0.9"), ("", "0.2.0")])
def test_replace_version_rejects_lower_and_missing_versions(module: str, version: str) -> None:
    with pytest.raises(release.ReleaseError):
        release.replace_version(module, version)


def test_release_commits_and_tags(repository: Path) -> None:
    release.release(repository, "0.2.0")
    assert git(repository, "describe").strip() == "v0.2.0"
    assert git(repository, "status", "--porcelain") == ""
    assert '__version__ = "0.2.0"' in (repository / release.VERSION_FILE).read_text()
    assert "## [0.2.0]" in (repository / release.CHANGELOG).read_text()
    contract = json.loads((repository / release.CONTRACT).read_text())
    assert contract == {"info": {"version": "0.2.0"}}


def test_release_of_a_prepared_version_tags_without_a_commit(repository: Path) -> None:
    release.set_version(repository, "0.2.0", TODAY)
    git(repository, "commit", "--all", "--quiet", "--message", "Version 0.2.0")
    release.release(repository, "0.2.0")
    assert git(repository, "log", "--format=%s").split("\n")[0] == "Version 0.2.0"
    assert git(repository, "tag").strip() == "v0.2.0"


def test_dry_run_changes_nothing(repository: Path) -> None:
    release.release(repository, "0.2.0", dry_run=True)
    assert git(repository, "status", "--porcelain") == git(repository, "tag") == ""
    assert (repository / release.VERSION_FILE).read_text() == MODULE


def test_failed_smoke_test_restores_the_files(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(root: Path, wheel: Path, version: str) -> None:
        raise release.ReleaseError("it does not start")

    monkeypatch.setattr(release, "smoke_test", fail)
    with pytest.raises(release.ReleaseError):
        release.release(repository, "0.2.0")
    assert git(repository, "status", "--porcelain") == git(repository, "tag") == ""


def test_release_rejects_uncommitted_changes(repository: Path) -> None:
    (repository / "new.txt").touch()
    with pytest.raises(release.ReleaseError, match=r"new\.txt"):
        release.release(repository, "0.2.0")
    assert (repository / "new.txt").exists()


def test_release_rejects_an_existing_tag(repository: Path) -> None:
    git(repository, "tag", "v0.2.0")
    with pytest.raises(release.ReleaseError, match=r"v0\.2\.0"):
        release.release(repository, "0.2.0")


@pytest.mark.parametrize("status", [200, 503])
def test_wait_for_health_requires_status_200(status: int) -> None:
    def respond(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", "0")
        request.end_headers()

    with serving(respond) as address:
        if status == 200:
            release.wait_for_health(address, 0)
        else:
            with pytest.raises(release.ReleaseError):
                release.wait_for_health(address, 0)
