import sys
import time
from pathlib import Path

import pytest

import machine

WASTE = "import time\nwhile time.process_time() < 0.1: pass\n"
SLEEP = "[sys.executable, '-c', 'import time; time.sleep(60)']"
ORPHAN = f"import subprocess, sys; subprocess.Popen({SLEEP}, start_new_session=True)"


def run(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def wait(is_so: object) -> None:
    assert callable(is_so)
    deadline = time.monotonic() + 4
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_processes_that_lost_their_parent_are_found_and_ended(tmp_path: Path) -> None:
    with machine.running(run(ORPHAN), {}, tmp_path / "log") as tree:
        wait(lambda: not tree.alive())
        wait(tree.processes)
        (orphan,) = tree.processes()
        assert tree.memory_mb() > 1
    assert not Path(f"/proc/{orphan}").exists()


def test_the_time_of_processes_that_have_ended_counts(tmp_path: Path) -> None:
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WASTE!r}])"
    with machine.running(run(parent), {}, tmp_path / "log") as tree:
        wait(lambda: not tree.alive())
        assert 0.09 < tree.cpu_seconds() < 1


def test_what_does_not_end_by_itself_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_PATIENCE", 0.05)
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    log = tmp_path / "log"
    with machine.running(run(f"{deaf}; time.sleep(60)"), {}, log) as tree:
        wait(log.read_text)
        (process,) = tree.processes()
    assert not Path(f"/proc/{process}").exists()


def test_the_machine_is_described() -> None:
    assert "cores; " in machine.describe("2026-01-02")
    assert machine.describe("2026-01-02").endswith("; 2026-01-02")
