"""A second model that scores live texts, and that never affects the answers."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from reelsense.bundle import DEFAULT_BUNDLE, NETWORK
from reelsense.errors import BundleError, ModelDirectoryError
from reelsense.model_directory import ModelDirectory
from reelsense.server import shadow as shadow_module
from reelsense.server.app import create_app
from reelsense.server.middleware import keys
from reelsense.server.settings import Settings
from reelsense.server.shadow import Shadow, shadow_folder
from tests import tiny, tiny_network
from tests.processes import ask, server
from tests.server.process.test_faults import metrics, workers
from tests.waiting import wait_until

TEXTS = ["good film", "bad film", "a film"]  # the last one has no mood: both models say negative
SERVED = tiny.classifier().predict_each(TEXTS)


class Harness:
    """A shadow with a model that takes good words for bad ones, and what it reported."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.busy = folder, False
        self.outcomes: Counter[str] = Counter()
        self.shadow = Shadow(
            folder,
            1.0,
            is_busy=lambda: self.busy,
            on_outcome=lambda outcome: self.outcomes.update([outcome]),
        )

    def report(self) -> dict[str, Any]:
        return self.shadow.report()

    def version(self) -> object:
        return (self.report()["model"] or {}).get("version")


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    harness = Harness(tmp_path / "shadow")
    yield harness
    harness.shadow.close()


def test_shadow_reports_agreement_and_examples(harness: Harness) -> None:
    version = tiny_network.write(harness.folder, "other", weight=-1).version
    harness.shadow.start()
    wait_until(lambda: harness.version() == version, 60)
    harness.shadow.offer(TEXTS, SERVED)
    wait_until(lambda: harness.outcomes.total() == 3, 60)
    report = harness.report()
    assert report["model"] == {"name": "other", "version": version}
    assert (report["agreed"], report["disagreed"], report["agreement"]) == (1, 2, 1 / 3)
    assert [(e["text"], e["label"], e["shadow_label"]) for e in report["examples"]] == [
        ("good film", "positive", "negative"),
        ("bad film", "negative", "positive"),
    ]
    assert harness.outcomes == {"agreed": 1, "disagreed": 2}


def test_shadow_follows_changes_of_its_model(harness: Harness) -> None:
    harness.shadow.start()  # the alias does not exist yet
    wait_until(lambda: harness.report()["error"], 60)
    harness.shadow.offer(TEXTS, SERVED)
    first = tiny_network.write(harness.folder, "first", weight=-1).version
    wait_until(lambda: harness.version() == first, 60)
    harness.shadow.offer(["good film"], SERVED[:1])
    wait_until(lambda: harness.report()["disagreed"], 60)
    second = tiny_network.write(harness.folder, "second").version
    wait_until(lambda: harness.version() == second, 60)
    assert (harness.report()["disagreed"], harness.report()["examples"]) == (0, [])
    (harness.folder / NETWORK).write_bytes(b"damaged")
    wait_until(lambda: NETWORK in str(harness.report()["error"]), 60)
    assert harness.report()["model"] is None


def test_busy_server_sheds_texts_for_the_shadow(harness: Harness) -> None:
    tiny_network.write(harness.folder, "other")
    harness.busy = True
    harness.shadow.start()
    harness.shadow.offer(TEXTS, SERVED)
    assert harness.outcomes == {"shed": 3}


def test_full_queue_does_not_delay_requests(harness: Harness) -> None:
    """The model is still being loaded, so that nothing takes texts from the queue."""
    tiny_network.write(harness.folder, "other")
    harness.shadow.start()
    start = time.monotonic()
    harness.shadow.offer(["good film"] * 1000, SERVED[:1] * 1000)
    assert time.monotonic() - start < 0.5
    assert harness.outcomes["shed"] > 800


def test_long_texts_and_errors_are_not_scored(harness: Harness) -> None:
    tiny_network.write(harness.folder, "other")
    harness.shadow.start()
    harness.shadow.offer(["good " * 10_000, " "], tiny.classifier().predict_each(["good", " "]))
    assert harness.outcomes == {"shed": 1}


def test_shadow_reports_a_process_that_ends_while_it_loads_the_model(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_network.write(harness.folder, "other")
    monkeypatch.setattr(shadow_module, "_serve", os._exit)  # with two arguments: it fails at once
    harness.shadow.start()
    wait_until(lambda: "process ended" in (harness.report()["error"] or ""), 60)


def test_shadow_reports_a_process_that_cannot_be_started(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.context.SpawnProcess.start", fail)
    tiny_network.write(harness.folder, "first")
    harness.shadow.start()
    wait_until(lambda: "temporarily unavailable" in (harness.report()["error"] or ""), 60)
    monkeypatch.undo()
    version = tiny_network.write(harness.folder, "second").version
    wait_until(lambda: harness.version() == version, 60)


def test_server_without_shadow_starts_nothing() -> None:
    shadow = Shadow(None, 0.1, is_busy=lambda: False, on_outcome=pytest.fail)
    shadow.start()
    shadow.offer(TEXTS, SERVED)
    assert shadow.report()["model"] is None
    shadow.close()


def test_settings_name_an_alias_or_a_model(tmp_path: Path) -> None:
    assert shadow_folder(Settings()) is None
    assert shadow_folder(Settings(shadow="default")) == DEFAULT_BUNDLE
    named = Settings(models=str(tmp_path), shadow="challenger")
    assert shadow_folder(named) == tmp_path / "challenger"
    version = Settings(models=str(tmp_path), shadow="0123456789ab")
    assert shadow_folder(version) == tmp_path / "0123456789ab"
    for settings, code in (
        (Settings(shadow="challenger"), "no-such-model"),
        (Settings(models=str(tmp_path), shadow="contender"), "no-such-version"),
        (Settings(models=str(tmp_path), shadow="../other"), "no-such-version"),
    ):
        with pytest.raises((BundleError, ModelDirectoryError)) as raised:
            shadow_folder(settings)
        assert raised.value.code == code


def test_report_needs_an_admin_key() -> None:
    """It contains texts of other users."""
    lines = [keys.make(name, None, admin=name == "admin") for name in ("shop", "admin")]
    settings = Settings(keys=SecretStr(";".join(key.line() for _, key in lines)))
    client = create_app(settings, tiny.classifier()).test_client()

    def status(*secret: str) -> int:
        headers = {"Authorization": f"Bearer {secret[0]}"} if secret else {}
        return client.get("/v1/shadow", headers=headers).status_code

    assert [status(), *(status(secret) for secret, _ in lines)] == [401, 403, 200]


@pytest.mark.slow
def test_server_answers_whatever_happens_to_its_shadow(tmp_path: Path) -> None:
    directory = ModelDirectory(tmp_path / "models")
    tiny_network.write(tmp_path / "source", "tiny")
    champion = directory.add(tmp_path / "source")
    directory.promote(champion, None, {}, accepted=True)
    tiny_network.write(tmp_path / "source", "tiny", weight=-1)
    challenger = directory.add(tmp_path / "source", "challenger")

    def label(address: str) -> object:
        answer = ask(f"{address}/v1/predict", {"text": "good film"})
        assert answer.status == 200
        return answer.body["predictions"][0]["label"]

    def shadow(address: str) -> dict[str, Any]:
        report: dict[str, Any] = ask(f"{address}/v1/shadow").body
        return report

    options = ("--models", str(directory.path), "--shadow", "challenger", "--shadow-share", "1")
    with server(*options) as (address, supervisor):
        wait_until(lambda: (shadow(address)["model"] or {}).get("version") == challenger, 60)
        assert label(address) == "positive"
        wait_until(lambda: shadow(address)["disagreed"] == 1, 60)
        assert shadow(address)["examples"][0]["shadow_label"] == "negative"
        assert metrics(address)['reelsense_shadow_texts_total{outcome="disagreed"}'] == 1
        [worker] = workers(supervisor)
        [process] = models_of(worker)
        assert os.getpriority(os.PRIO_PROCESS, process) == 19
        os.kill(process, signal.SIGKILL)
        assert label(address) == "positive"
        wait_until(lambda: shadow(address)["error"], 60)
        directory.promote(challenger, champion, {}, accepted=True)
        wait_until(lambda: label(address) == "negative", 60)
        directory.add(directory.path / champion, "challenger")
        wait_until(lambda: shadow(address)["model"], 60)
        [process] = models_of(worker)
    wait_until(lambda: not Path(f"/proc/{process}").exists())


def models_of(process: int) -> list[int]:
    """Return the processes with a model that the threads of `process` have started."""
    lists = Path(f"/proc/{process}/task").glob("*/children")
    children = [int(child) for path in lists for child in path.read_text().split()]
    return [child for child in children if b"spawn_main" in _command(child)]


def _command(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()
