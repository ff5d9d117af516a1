from typing import Any

import pytest
from tqdm import tqdm

from reelsense.bulk.progress import ScoringProgress
from reelsense.cli import predict_files
from reelsense.cli.predict_files import ProgressBar


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The tqdm bars that are created. They are shown although stderr is not a terminal."""
    created: list[Any] = []

    def create(**options: Any) -> Any:
        created.append(tqdm(**options | {"disable": False, "mininterval": 0}))
        return created[-1]

    monkeypatch.setattr(predict_files, "tqdm", create)
    return created


def test_progress_bar_counts_bytes(bars: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar() as bar:
        bar(ScoringProgress(500))
        bar(ScoringProgress(500, 200, 200, 0, 40, 1))
        bar(ScoringProgress(500, 250, 200, 10, 40, 1))
        assert bars[0].n == 250
        assert bars[0].initial == 200  # excluded from the estimate of time left
        bar(ScoringProgress(500, 500, 200, 60, 40, 1))
        assert bars[0].n == 500
    shown = capsys.readouterr().err
    for part in (" 40 % |", "100 % |", "60 rows, ", " left]"):
        assert part in shown
    assert str(bar).startswith("60 rows, ")


def test_progress_bar_counts_rows_of_pipes(
    bars: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressBar() as bar:
        bar(ScoringProgress(None, rows=20))
    assert bars
    assert "20 rows, " in capsys.readouterr().err
