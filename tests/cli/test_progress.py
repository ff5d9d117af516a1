from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from reelsense.bulk.shards import ScoringTask, Shard, plan
from reelsense.cli.progress import ProgressBar
from reelsense.tables.delimited import Row
from reelsense.tables.storage import find
from tests import tiny


@pytest.fixture
def task(tmp_path: Path) -> ScoringTask:
    (tmp_path / "in.txt").write_text("good\n" * 100)
    return plan(find(str(tmp_path / "in.txt")), tiny.classifier().manifest)


class Terminal:
    """A tqdm that is shown, whatever the tests run in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import reelsense.cli.progress as told

        real = tqdm

        def shown(**options: Any) -> Any:
            self.bar = real(**options | {"disable": False, "mininterval": 0})
            return self.bar

        monkeypatch.setattr(told, "tqdm", shown)


def shard(size: float, rows: int) -> Shard:
    return Shard("000000-000000", (Row(1, {}),) * rows, "", size)


def test_the_bar_counts_bytes_and_tells_rows(
    task: ScoringTask, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal(monkeypatch)
    with ProgressBar(task) as progress:
        progress.skip(shard(200, 40), 40)
        progress.begin(shard(100, 20))
        progress.scored(10)
        assert terminal.bar.n == 250
        assert terminal.bar.initial == 200  # not counted in the time that is left
        progress.scored(10)
        progress.add(shard(200, 40), 40)
        assert terminal.bar.n == task.size == 500
    shown = capsys.readouterr().err
    assert " 40 % |" in shown
    assert "100 % |" in shown
    assert "60 rows, " in shown
    assert " left]" in shown
    progress.tell("out.csv")
    said = capsys.readouterr().err
    assert "1 shard from before, 40 rows" in said
    assert "out.csv: 60 rows, " in said


def test_rows_are_counted_where_the_size_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Terminal(monkeypatch)
    from reelsense.cli.files import Request, inputs, task_of

    request = Request(source="-")
    with ProgressBar(task_of(request, tiny.classifier().manifest, inputs(request))) as progress:
        progress.begin(shard(0, 20))
        progress.scored(20)
    assert "20 rows, " in capsys.readouterr().err
