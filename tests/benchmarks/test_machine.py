import sys
from pathlib import Path

import pytest

import machine
from tests.waiting import wait_until

USE_CPU = "import time\nwhile time.process_time() < 0.1: pass\n"
SLEEP = "[sys.executable, '-c', 'import time; time.sleep(60)']"
START_ORPHAN = f"import subprocess, sys; subprocess.Popen({SLEEP}, start_new_session=True)"


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_running_ends_processes_without_parent(tmp_path: Path) -> None:
    with machine.running(python(START_ORPHAN), {}, tmp_path / "log") as tree:
        wait_until(lambda: not tree.alive())
        wait_until(tree.processes)
        (orphan,) = tree.processes()
        assert tree.memory_mb() > 1
    assert not Path(f"/proc/{orphan}").exists()


def test_cpu_seconds_include_ended_processes(tmp_path: Path) -> None:
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {USE_CPU!r}])"
    with machine.running(python(parent), {}, tmp_path / "log") as tree:
        wait_until(lambda: not tree.alive())
        assert 0.09 < tree.cpu_seconds() < 1


def test_running_kills_processes_that_ignore_termination(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_TERMINATION_SECONDS", 0.05)
    ignore = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    log = tmp_path / "log"
    with machine.running(python(f"{ignore}; time.sleep(60)"), {}, log) as tree:
        wait_until(log.read_text)
        (process,) = tree.processes()
    assert not Path(f"/proc/{process}").exists()


def test_describe_states_cores_and_day() -> None:
    assert "cores; " in machine.describe("2026-01-02")
    assert machine.describe("2026-01-02").endswith("; 2026-01-02")
