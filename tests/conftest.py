import random
from collections.abc import Generator, Iterator

import pytest

from reelsense.datasets.reviews import Review, Split

LABELS = ["negative", "positive"]


@pytest.fixture(autouse=True, scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep jobs away from those of whoever runs the tests; servers that are started inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture
def split() -> Split:
    """Reviews whose label a single word gives away."""
    choose = random.Random(0)
    reviews = []
    for n in range(160):
        label = choose.choice(LABELS)
        word = choose.choice(["good", "great"] if label == "positive" else ["bad", "awful"])
        words = choose.choices(["the", "a", "film", "was"], k=choose.randint(3, 40))
        reviews.append(Review(str(n), " ".join([word, *words]), label, None, str(n)))
    return Split(reviews[:120], reviews[120:])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter,
) -> Generator[None]:
    """Say last what was left out for want of a browser: it is easily overlooked."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    if count := sum("test_browser" in report.nodeid for report in skipped):
        terminalreporter.write_sep("=", yellow=True)
        terminalreporter.write_line(
            f"{count} tests of the page were left out: they need chromium and chromedriver "
            "(Debian: apt install chromium chromium-driver)",
            yellow=True,
        )
