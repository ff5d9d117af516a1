"""Compare servers of the same weights on the same cores under the same load.

    python benchmarks/serving.py --reviews data/aclImdb

Stores every measurement, so that an interrupted run resumes; those of other settings, weights or
versions are ignored. Writes its section of RESULTS.md, which describes the method, and the chart.
The default is the official test set: note each run on it in docs/test-set-uses.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import chart
import machine
from load import Endpoint, Load, LoadError, LoadMetrics, measure, wait_for_answer
from network import NetworkAlone
from reelsense.bundle import DEFAULT_BUNDLE
from reelsense.datasets.labelled import LabelledData
from reelsense.datasets.reviews import Review
from reelsense.files import write_atomically
from reelsense.inference.engine import available_cores
from reference import CHECKPOINT, ROOT, digest, reference_labels, weights
from rivals import install
from rivals.server import Request, Server
from rivals.servers import RIVALS, UNAVAILABLE
from sections import (
    REELSENSE,
    SHORT,
    NetworkMetrics,
    ServerResults,
    replace_section,
    serving_section,
)

RESULTS = ROOT / "benchmarks" / "RESULTS.md"

SHORT_REVIEW = (  # 20 words
    "The story is slow at first, but the actors are wonderful and the last half hour is worth the "
    "wait."
)

_START = "start"
_SHORT_SECONDS = 8.0
_START_TIMEOUT = 180.0


def predict_request(text: str) -> Request:
    """Return the request of reelsense for `text`."""
    return Request("/v1/predict", json.dumps({"text": text}).encode())


def read_label(body: bytes) -> str:
    """Return the label in an answer of reelsense."""
    return str(json.loads(body)["predictions"][0]["label"])


OURS = Server(
    key=REELSENSE,
    name="reelsense",
    environment=REELSENSE,
    command=("{bin}/reelsense", "serve", "--port", "{port}"),
    request=predict_request,
    label=read_label,
    settings="default configuration, with the cache of predictions disabled",
    whole=True,
    environ={"REELSENSE_CACHE_SIZE": "0"},
)
SERVERS = (OURS, *RIVALS)


@contextmanager
def running_reelsense(environ: Mapping[str, str]) -> Iterator[tuple[int, machine.ProcessTree]]:
    """Run `reelsense serve` of this environment while the block runs; yield its port and processes.

    Raises LoadError, with the end of the log, if the server does not answer or has ended.
    """
    port = machine.free_port()
    command = [sys.executable, "-m", "reelsense", "serve", "--port", str(port)]
    endpoint = Endpoint(port, lambda _: predict_request(SHORT_REVIEW), read_label)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        try:
            with machine.running(command, os.environ | dict(environ), log) as tree:
                wait_for_answer(endpoint, tree.alive, timeout=60)
                yield port, tree
                if not tree.alive():
                    raise LoadError("the server ended")
        except LoadError as error:
            raise LoadError(f"{error}\n{log.read_text(errors='replace')[-2000:]}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure."""

    reviews: Sequence[Review]
    part: str  # of the dataset: "test" or "validation"
    clients: Sequence[int]
    seconds: float  # of a cell
    rounds: int
    results: Path

    @property
    def round_numbers(self) -> range:
        """The numbers of the rounds, from 1."""
        return range(1, self.rounds + 1)

    @property
    def cells(self) -> list[str]:
        """What is measured of each server in each round, in this order."""
        return [_START, *map(str, self.clients), SHORT]


class Store:
    """The results on disk: one file for each server, round and cell."""

    def __init__(self, folder: Path, settings: object) -> None:
        """Results with other `settings` are ignored: they are not comparable."""
        self._folder = folder
        self._settings = settings
        folder.mkdir(parents=True, exist_ok=True)

    def read(self, server: Server, number: int, cell: str) -> dict[str, Any] | None:
        """Return the record of a round; None if there is none with the same settings."""
        path = self._path(server, number, cell)
        record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return record if record.get("stamp") == self._stamp(server) else None

    def write(self, server: Server, number: int, cell: str, record: dict[str, Any]) -> None:
        """Write the record of a round."""
        origin = {"stamp": self._stamp(server), "day": date.today().isoformat()}
        text = json.dumps(origin | record, indent=1) + "\n"
        write_atomically(self._path(server, number, cell), text)

    def read_network(self, number: int) -> NetworkMetrics | None:
        """Return the speed of the network alone in a round; None if it was not measured."""
        path = self._folder / f"network.{number}.json"
        record = json.loads(path.read_text()) if path.exists() else {}
        if record.pop("settings", None) != self._settings:
            return None
        return NetworkMetrics(**record)

    def write_network(self, number: int, network: NetworkMetrics) -> None:
        """Write the speed of the network alone in a round."""
        text = json.dumps({"settings": self._settings} | asdict(network), indent=1) + "\n"
        write_atomically(self._folder / f"network.{number}.json", text)

    def log(self, server: Server, number: int) -> Path:
        """Return the log file of the server."""
        return self._folder / f"{server.key}.{number}.log"

    def _path(self, server: Server, number: int, cell: str) -> Path:
        return self._folder / f"{server.key}.{number}.{cell}.json"

    def _stamp(self, server: Server) -> str:
        stamp = environment(server) / install.STAMP
        installed = stamp.read_text() if stamp.exists() else ""
        facts = [self._settings, installed, server.command, sorted(server.environ.items())]
        return digest([json.dumps(facts).encode()])[:16]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Runs the servers of a plan and stores the results."""

    plan: Plan
    store: Store

    def round(self, servers: Sequence[Server], number: int) -> None:
        """Measure what is missing of `servers`; even rounds run in reverse order."""
        for server in servers if number % 2 else reversed(servers):
            missing = [cell for cell in self.plan.cells if self._is_missing(server, number, cell)]
            if missing:
                self._serve(server, number, missing)

    def network(self, number: int) -> None:
        """Measure the network alone on the same reviews, if that is missing."""
        if self.store.read_network(number):
            return
        print(f"round {number}, the network alone", flush=True)
        alone = NetworkAlone([review.text for review in self.plan.reviews])
        alone.rate()  # warms up
        rate = alone.rate()
        short_ms = alone.median_ms(SHORT_REVIEW)
        self.store.write_network(number, NetworkMetrics(rate.reviews_per_s, rate.cpu_s, short_ms))

    def _is_missing(self, server: Server, number: int, cell: str) -> bool:
        record = self.store.read(server, number, cell)
        return record is None or "failed" in record

    def _serve(self, server: Server, number: int, cells: Sequence[str]) -> None:
        """Start `server`, measure `cells`, and end it. Failures are stored with their reason."""
        print(f"round {number}, {server.key}", flush=True)
        port = machine.free_port()
        short = Endpoint(port, lambda _: server.request(SHORT_REVIEW), server.label)
        log = self.store.log(server, number)
        with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as scratch:
            command, environ = _command(server, port, scratch)
            try:
                with machine.running(command, environ, log) as tree:
                    wait_for_answer(short, tree.alive, _START_TIMEOUT)
                    start_s = time.perf_counter() - tree.started
                    if _START in cells:
                        self._write(server, number, _START, {"seconds": start_s})
                    for cell in cells:
                        if cell != _START:
                            self._write(server, number, cell, self._try(server, cell, short, tree))
            except (LoadError, OSError) as error:
                self._write(server, number, _START, {"failed": f"{error} ({_last_line(log)})"})

    def _try(
        self, server: Server, cell: str, short: Endpoint, tree: machine.ProcessTree
    ) -> dict[str, Any]:
        try:
            return self._cell(server, cell, short, tree)
        except LoadError as error:
            return {"failed": f"{cell}: {error}"}

    def _cell(
        self, server: Server, cell: str, short: Endpoint, tree: machine.ProcessTree
    ) -> dict[str, Any]:
        """Measure one cell, starting with the review after the last one of the previous cell."""
        if cell == SHORT:
            with Load(short, clients=1) as load:
                return {"figures": asdict(measure(load, tree, _SHORT_SECONDS))}
        requests = [server.request(review.text) for review in self.plan.reviews]
        endpoint = replace(short, request=lambda number: requests[number % len(requests)])
        with Load(endpoint, int(cell), self._next(server)) as load:
            metrics = measure(load, tree, self.plan.seconds)
        return {
            "figures": asdict(metrics),
            "error": next((answer.error for answer in load.answers if answer.error), ""),
            "labels": {
                answer.number % len(requests): answer.label
                for answer in load.answers
                if not answer.error
            },
            "next": max(answer.number for answer in load.answers) + 1,
        }

    def _next(self, server: Server) -> int:
        return max((record.get("next", 0) for record in self.records(server)), default=0)

    def _write(self, server: Server, number: int, cell: str, record: dict[str, Any]) -> None:
        self.store.write(server, number, cell, record)
        values = record.get("figures", record)
        shown = ("seconds", "reviews_per_s", "p50_s", "peak_mb", "errors", "failed")
        print(f"  {cell}:", {name: values[name] for name in shown if name in values}, flush=True)

    def records(self, server: Server, *cells: str) -> list[dict[str, Any]]:
        """Return the records of `server` in `cells`, by default in all."""
        records = [
            self.store.read(server, number, cell)
            for number in self.plan.round_numbers
            for cell in cells or self.plan.cells
        ]
        return [record for record in records if record]

    def results(self, server: Server, reference: Sequence[str]) -> ServerResults:
        """Return the results of `server`; `reference` has the labels of PyTorch, fp32."""
        records = self.records(server)
        labels = {
            int(n): label for record in records for n, label in record.get("labels", {}).items()
        }
        targets = {n: self.plan.reviews[n].label for n in labels}
        failures = [record.get("failed") or record.get("error") for record in records]
        starts = [record["seconds"] for record in records if "seconds" in record]
        folder = environment(server)
        return ServerResults(
            server=server,
            cells={
                cell: [
                    LoadMetrics(**record["figures"])
                    for record in self.records(server, cell)
                    if "figures" in record
                ]
                for cell in self.plan.cells
            },
            start_s=min(starts, default=None),
            install_mb=install.size_mb(folder) if (folder / install.STAMP).exists() else None,
            answered=len(labels),
            accuracy=_share(labels[n] == targets[n] for n in labels),
            agreement=_share(labels[n] == reference[n] for n in labels),
            reference_accuracy=_share(reference[n] == targets[n] for n in labels),
            failure=next(filter(None, failures), ""),
        )


def _share(flags: Iterable[bool]) -> float:
    """Return the share of true `flags`; 0 if there are none."""
    values = list(flags)
    return sum(values) / len(values) if values else 0.0


def environment(server: Server) -> Path:
    """Return the virtual environment of `server`."""
    return install.DEFAULT_FOLDER / server.environment


def _command(server: Server, port: int, scratch: str) -> tuple[list[str], dict[str, str]]:
    """Return the command line and the environment variables that start `server`."""
    programs = environment(server) / "bin"
    values = {
        "bin": programs,
        "port": port,
        "checkpoint": CHECKPOINT,
        "bundle": DEFAULT_BUNDLE,
        "rivals": install.RIVALS,
        "cores": available_cores(),
        "scratch": scratch,
    }
    environ = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": scratch}
    return [part.format(**values) for part in server.command], environ | dict(server.environ)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    last = next((line.strip()[:200] for line in reversed(lines) if line.strip()), "no output")
    return last.replace(f"{ROOT}/", "")


def make_environment(server: Server) -> None:
    """Make the virtual environment of `server`; on failure print why, and it will not start."""
    try:
        if server is OURS:
            install.install_ours(environment(server))
        else:
            install.install(server.environment, install.DEFAULT_FOLDER)
    except subprocess.CalledProcessError as error:
        print(f"cannot install {server.environment}: {error.stderr}", flush=True)


def write_report(benchmark: Benchmark, servers: Sequence[Server], command: str) -> None:
    """Write the section of RESULTS.md and the chart."""
    plan = benchmark.plan
    reference = reference_labels([review.text for review in plan.reviews], plan.results)
    results = [benchmark.results(server, reference) for server in servers]
    days = sorted({record["day"] for server in servers for record in benchmark.records(server)})
    network = [
        metrics
        for number in plan.round_numbers
        if (metrics := benchmark.store.read_network(number))
    ]
    chart.draw(results, max(plan.clients), available_cores())
    intro = (
        f"{machine.describe(', '.join(days))}.\n\n`{command}`: {len(plan.reviews):,} reviews of "
        f"the {plan.part} set, {plan.seconds:g} s per cell, rounds: {plan.rounds}."
    )
    text = serving_section(intro, results, plan.clients, network, UNAVAILABLE)
    replace_section(RESULTS, "serving", text)
    print(f"{RESULTS.relative_to(ROOT)}, {chart.PLACE.relative_to(ROOT)}")


def main() -> None:
    """Measure what is missing and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reviews", type=Path, required=True, help="the unpacked dataset")
    parser.add_argument("--split", choices=["test", "validation"], default="test")
    parser.add_argument("--sample", type=int, default=1500, help="reviews")
    parser.add_argument("--clients", default="1,8,64")
    parser.add_argument("--seconds", type=float, default=20, help="per cell")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", help="keys of servers, separated by commas")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "bench" / "serving")
    parser.add_argument("--report-only", action="store_true", help="measure nothing")
    options = parser.parse_args()

    keys = options.only.split(",") if options.only else [server.key for server in SERVERS]
    if unknown := set(keys) - {server.key for server in SERVERS}:
        parser.error(f"unknown servers {unknown}: expected {[server.key for server in SERVERS]}")
    servers = [server for server in SERVERS if server.key in keys]
    reviews = LabelledData(options.reviews).part(options.split)
    plan = Plan(
        reviews=random.Random(0).sample(reviews, min(options.sample, len(reviews))),
        part=options.split,
        clients=sorted(map(int, options.clients.split(","))),
        seconds=options.seconds,
        rounds=options.rounds,
        results=options.results,
    )
    settings = [plan.part, len(plan.reviews), plan.seconds, weights(), machine.processor()]
    benchmark = Benchmark(plan, Store(options.results, settings))
    if not options.report_only:
        reference_labels([review.text for review in plan.reviews], plan.results)
        for server in servers:
            make_environment(server)
        for number in plan.round_numbers:
            benchmark.round(servers, number)
            benchmark.network(number)
    write_report(benchmark, servers, machine.command(options.reviews, "--report-only"))


if __name__ == "__main__":
    main()
