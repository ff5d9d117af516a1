import os
import random
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from reelsense.datasets.reviews import Review, Split
from tests import databases

LABELS = ["negative", "positive"]

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores. OpenMP reads this once, before the first test imports PyTorch.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep jobs and caches of tests separate from those of the user; started servers inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def database_server() -> Iterator[databases.DatabaseServer]:
    with databases.database_server() as server:
        yield server


@pytest.fixture(params=databases.BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database."""
    if request.param == databases.SQLITE:
        return databases.sqlite_url(tmp_path)
    return databases.emptied(request.getfixturevalue("database_server").url)


@pytest.fixture
def split() -> Split:
    """Return reviews whose label depends on a single word."""
    choose = random.Random(0)
    reviews = []
    for n in range(160):
        label = choose.choice(LABELS)
        word = choose.choice(["good", "great"] if label == "positive" else ["bad", "awful"])
        words = choose.choices(["the", "a", "film", "was"], k=choose.randint(3, 40))
        reviews.append(Review(str(n), " ".join([word, *words]), label, None, str(n)))
    return Split(reviews[:120], reviews[120:])


def named_files(config: pytest.Config) -> set[Path]:
    """Return the test files that the command line names, as a path or as part of a test id."""
    folder = config.invocation_params.dir
    paths = {(folder / argument.split("::")[0]).resolve() for argument in config.args}
    return {path for path in paths if path.is_file()}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect slow tests, unless `-m` selects tests or the command line names their file."""
    if config.option.markexpr:
        return
    named = named_files(config)
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        is_kept = item.path in named or not item.get_closest_marker("slow")
        (kept if is_kept else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter,
) -> Generator[None]:
    """Report at the end which databases were used, and which tests were skipped without browser."""
    yield
    if databases.used:
        terminalreporter.write_line(f"databases: {', '.join(sorted(databases.used))}")
    skipped = terminalreporter.stats.get("skipped", [])
    if count := sum("test_browser" in report.nodeid for report in skipped):
        terminalreporter.write_sep("=", yellow=True)
        terminalreporter.write_line(
            f"{count} tests of the page were skipped: they need chromium and chromedriver "
            "(Debian: apt install chromium chromium-driver)",
            yellow=True,
        )
