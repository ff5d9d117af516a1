"""A model that changes during a job of a real server, and across its restart."""

from __future__ import annotations

import csv
import os
import signal
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from tests import tiny_network
from tests.processes import ask, server
from tests.server.process.test_faults import done, metrics, posted, workers
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

ROWS = 40_000
TABLE = "n,text\n" + "".join(f"{n},{'good' if n % 4 else 'bad'} film\n" for n in range(ROWS))

# The command, with a job given up after five seconds instead of five minutes.
QUICK = """
from reelsense.cli import main
from reelsense.jobs import repository
from reelsense.server import jobs_worker
repository._OFFER_LIFE, jobs_worker._LEASE, jobs_worker._GIVE_UP_AFTER = 2.0, 3.0, 5.0
main()
"""


class Models:
    """A link to the model that is served."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.link = folder / "current"

    def serve(self, name: str, *labels: str, temperature: float = 1.0) -> str:
        """Write a bundle, and change the link to it. Return its version."""
        pair = (labels[0], labels[1])
        target = self._folder / f"{name}-{'-'.join(labels)}-{temperature}"
        manifest = tiny_network.write(target, name, labels=pair, temperature=temperature)
        turned = self._folder / "turned"
        turned.symlink_to(target)
        turned.replace(self.link)
        return manifest.version


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path)


@pytest.fixture
def options(tmp_path: Path, models: Models) -> list[str]:
    return [f"--model={models.link}", f"--database=sqlite:///{tmp_path / 'jobs.db'}"]


def begin(address: str) -> str:
    """Return the id of a job that has begun."""
    job_id: str = posted(address, "/v1/jobs?name=a.csv", TABLE.encode())["id"]
    wait_until(lambda: done(address, job_id) > 0)
    return job_id


def labels_in_result(address: str, job_id: str) -> Counter[str]:
    with urllib.request.urlopen(f"{address}/v1/jobs/{job_id}/result", timeout=60) as answer:  # noqa: S310
        rows = list(csv.DictReader(answer.read().decode().splitlines()))
    assert [row["n"] for row in rows] == [str(n) for n in range(ROWS)]
    return Counter(row["verdict"] for row in rows)


@pytest.mark.parametrize("allowed", [True, False])
def test_job_ends_with_its_model_while_labels_change(
    models: Models, options: list[str], allowed: bool
) -> None:
    first = models.serve("first", "negative", "positive")
    if allowed:
        options.append("--allow-label-change")
    with server(*options) as (address, process):
        job_id = begin(address)
        second = models.serve("second", "bad", "good")
        if allowed:
            wait_until(lambda: ask(f"{address}/readyz").body["model"]["version"] == second)
        else:
            outcome = 'reelsense_model_loads_total{model="default",outcome="rejected"}'
            wait_until(lambda: metrics(address)[outcome] == 1)
            assert ask(f"{address}/readyz").body["model"]["version"] == first
        assert 0 < done(address, job_id) < ROWS
        wait_until(lambda: ask(f"{address}/v1/jobs/{job_id}").body["state"] == "done", 120)
        job = ask(f"{address}/v1/jobs/{job_id}").body
        expected = {"positive": ROWS * 3 // 4, "negative": ROWS // 4}
        assert (job["version"], job["verdicts"]) == (first, expected)
        assert labels_in_result(address, job_id) == expected
        [prediction] = ask(f"{address}/v1/predict", {"text": "good"}).body["predictions"]
        assert prediction["label"] == ("good" if allowed else "positive")

        # A new worker of the same server serves no other labels either.
        [worker] = workers(process)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: workers(process) not in ([], [worker]), 20)
        if not allowed:
            wait_until(lambda: "(labels-changed)" in str(ask(f"{address}/readyz").body), 20)
            models.serve("first", "negative", "positive")
        wait_until(lambda: ask(f"{address}/readyz").status == 200, 20)
        version = ask(f"{address}/readyz").body["model"]["version"]
        assert version == (second if allowed else first)


def test_job_fails_after_restart_with_other_labels(models: Models, options: list[str]) -> None:
    first = models.serve("first", "negative", "positive")
    with server(*options) as (address, _):
        job_id = begin(address)
    models.serve("first", "bad", "good")
    with server(*options, python=("-c", QUICK)) as (address, _):
        wait_until(lambda: ask(f"{address}/v1/jobs/{job_id}").body["waiting_for"])
        job = ask(f"{address}/v1/jobs/{job_id}").body
        waiting = ("waiting", f"first {first}", None)
        assert (job["state"], job["waiting_for"], job["seconds_left"]) == waiting
        wait_until(lambda: ask(f"{address}/v1/jobs/{job_id}").body["state"] == "failed", 20)
        job = ask(f"{address}/v1/jobs/{job_id}").body
        assert (job["error_code"], job["labels"]) == ("model-gone", ["negative", "positive"])
        assert metrics(address)['reelsense_jobs_total{state="failed"}'] == 1


def test_job_starts_again_after_restart_with_new_version(
    models: Models, options: list[str]
) -> None:
    models.serve("first", "negative", "positive")
    with server(*options) as (address, _):
        job_id = begin(address)
        assert done(address, job_id) < ROWS
    second = models.serve("first", "negative", "positive", temperature=2.0)
    with server(*options, python=("-c", QUICK)) as (address, _):
        wait_until(lambda: ask(f"{address}/v1/jobs/{job_id}").body["state"] == "done", 120)
        job = ask(f"{address}/v1/jobs/{job_id}").body
        assert (job["version"], job["done"]) == (second, ROWS)
        assert labels_in_result(address, job_id)["positive"] == ROWS * 3 // 4
