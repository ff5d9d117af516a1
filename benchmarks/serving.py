"""Compare servers of the same weights on the same cores under the same load.

    python benchmarks/serving.py --reviews data/aclImdb

Saves results cell by cell, so that a stopped run resumes; cells of other settings,
weights or versions are left aside. Writes its section of RESULTS.md, which says what is measured
and how, and the chart. The official test part is the default: each run on it is a look at it, to be
noted in docs/test-looks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import chart
import machine
from load import Figures, Load, LoadError, Target, first_answer, measure
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
from sections import OURS, SHORT, Network, Standing, replace_section, serving_section

RESULTS = ROOT / "benchmarks" / "RESULTS.md"

SHORT_REVIEW = (
    "The story is slow at first, but the actors are wonderful and the last half hour is worth the "
    "wait."
)
"""Twenty words."""

_START = "start"
_SHORT_SECONDS = 8.0
_START_SECONDS = 180.0


def ask(text: str) -> Request:
    """Return our request for `text`."""
    return Request("/v1/predict", json.dumps({"text": text}).encode())


def read_label(body: bytes) -> str:
    """Return the label of our answer to it."""
    return str(json.loads(body)["predictions"][0]["label"])


REELSENSE = Server(
    key=OURS,
    name="reelsense",
    environment=OURS,
    command=("{bin}/reelsense", "serve", "--port", "{port}"),
    request=ask,
    label=read_label,
    settings="as it comes, but for the cache of answers, which is off",
    whole=True,
    environ={"REELSENSE_CACHE_SIZE": "0"},
)
SERVERS = (REELSENSE, *RIVALS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured."""

    reviews: Sequence[Review]
    part: str
    """Of the dataset: "test" or "validation"."""
    clients: Sequence[int]
    seconds: float
    """That a cell counts answers for."""
    rounds: int
    results: Path

    @property
    def turns(self) -> range:
        """The numbers of the rounds."""
        return range(1, self.rounds + 1)

    @property
    def cells(self) -> list[str]:
        """What is measured of each server in each round, in this order."""
        return [_START, *map(str, self.clients), SHORT]


class Store:
    """The results on disk: one file for each server, round and cell."""

    def __init__(self, folder: Path, settings: object) -> None:
        """`settings` are all that results must share to stand beside each other."""
        self._folder = folder
        self._settings = settings
        folder.mkdir(parents=True, exist_ok=True)

    def read(self, server: Server, turn: int, cell: str) -> dict[str, Any] | None:
        """Return what was written; None if nothing was, or with other settings."""
        path = self._path(server, turn, cell)
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found if found.get("stamp") == self._stamp(server) else None

    def write(self, server: Server, turn: int, cell: str, found: dict[str, Any]) -> None:
        """Write what was found."""
        facts = {"stamp": self._stamp(server), "day": date.today().isoformat()}
        text = json.dumps(facts | found, indent=1) + "\n"
        write_atomically(self._path(server, turn, cell), text)

    def read_network(self, turn: int) -> Network | None:
        """Return what the network alone did in a round; None if it was not measured so."""
        path = self._folder / f"network.{turn}.json"
        found = json.loads(path.read_text()) if path.exists() else {}
        if found.pop("settings", None) != self._settings:
            return None
        return Network(**found)

    def write_network(self, turn: int, network: Network) -> None:
        """Write what the network alone did in a round."""
        text = json.dumps({"settings": self._settings} | asdict(network), indent=1) + "\n"
        write_atomically(self._folder / f"network.{turn}.json", text)

    def log(self, server: Server, turn: int) -> Path:
        """Return where the server's own output goes."""
        return self._folder / f"{server.key}.{turn}.log"

    def _path(self, server: Server, turn: int, cell: str) -> Path:
        return self._folder / f"{server.key}.{turn}.{cell}.json"

    def _stamp(self, server: Server) -> str:
        made = environment(server) / install.STAMP
        installed = made.read_text() if made.exists() else ""
        facts = [self._settings, installed, server.command, sorted(server.environ.items())]
        return digest([json.dumps(facts).encode()])[:16]


@dataclass(frozen=True, slots=True)
class Bench:
    """Runs the servers of a plan and stores what is found."""

    plan: Plan
    store: Store

    def round(self, servers: Sequence[Server], turn: int) -> None:
        """Measure what is missing of `servers`; even rounds go backwards."""
        for server in servers if turn % 2 else reversed(servers):
            missing = [cell for cell in self.plan.cells if self._is_missing(server, turn, cell)]
            if missing:
                self._serve(server, turn, missing)

    def network(self, turn: int) -> None:
        """Measure the network alone on the same reviews, unless that was done."""
        if self.store.read_network(turn):
            return
        print(f"round {turn}, the network alone", flush=True)
        alone = NetworkAlone([review.text for review in self.plan.reviews])
        alone.rate()  # warms up
        rate = alone.rate()
        short_ms = alone.median_ms(SHORT_REVIEW)
        self.store.write_network(turn, Network(rate.reviews_per_s, rate.cpu_s, short_ms))

    def _is_missing(self, server: Server, turn: int, cell: str) -> bool:
        record = self.store.read(server, turn, cell)
        return record is None or "failed" in record

    def _serve(self, server: Server, turn: int, cells: Sequence[str]) -> None:
        """Start `server`, measure `cells`, and end it. What fails is noted with its reason."""
        print(f"round {turn}, {server.key}", flush=True)
        target = Target(machine.free_port(), lambda _: server.request(SHORT_REVIEW), server.label)
        log = self.store.log(server, turn)
        with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as scratch:
            command, environ = _command(server, target.port, scratch)
            try:
                with machine.running(command, environ, log) as tree:
                    first_answer(target, tree.alive, _START_SECONDS)
                    seconds = time.perf_counter() - tree.started
                    if _START in cells:
                        self._note(server, turn, _START, {"seconds": seconds})
                    for cell in cells:
                        if cell != _START:
                            self._note(server, turn, cell, self._try(server, cell, target, tree))
            except (LoadError, OSError) as error:
                self._note(server, turn, _START, {"failed": f"{error} ({_last_line(log)})"})

    def _try(self, server: Server, cell: str, short: Target, tree: machine.Tree) -> dict[str, Any]:
        try:
            return self._cell(server, cell, short, tree)
        except LoadError as error:
            return {"failed": f"{cell}: {error}"}

    def _cell(self, server: Server, cell: str, short: Target, tree: machine.Tree) -> dict[str, Any]:
        """Measure one cell; the reviews go on where the cell before stopped."""
        if cell == SHORT:
            with Load(short, clients=1) as load:
                return {"figures": asdict(measure(load, tree, _SHORT_SECONDS))}
        asked = [server.request(review.text) for review in self.plan.reviews]
        target = replace(short, request=lambda number: asked[number % len(asked)])
        with Load(target, int(cell), self._next(server)) as load:
            figures = measure(load, tree, self.plan.seconds)
        return {
            "figures": asdict(figures),
            "error": next((answer.error for answer in load.answers if answer.error), ""),
            "labels": {a.number % len(asked): a.label for a in load.answers if not a.error},
            "next": max(answer.number for answer in load.answers) + 1,
        }

    def _next(self, server: Server) -> int:
        return max((record.get("next", 0) for record in self.records(server)), default=0)

    def _note(self, server: Server, turn: int, cell: str, found: dict[str, Any]) -> None:
        self.store.write(server, turn, cell, found)
        facts = found.get("figures", found)
        shown = ("seconds", "reviews_per_s", "p50_s", "peak_mb", "errors", "failed")
        print(f"  {cell}:", {name: facts[name] for name in shown if name in facts}, flush=True)

    def records(self, server: Server, *cells: str) -> list[dict[str, Any]]:
        """Return what was found of `server`, in all its cells unless some are named."""
        found = [
            self.store.read(server, turn, cell)
            for turn in self.plan.turns
            for cell in cells or self.plan.cells
        ]
        return [record for record in found if record]

    def standing(self, server: Server, reference: Sequence[str]) -> Standing:
        """Return how `server` did; `reference` are the labels of PyTorch, fp32."""
        records = self.records(server)
        labels = {int(n): x for record in records for n, x in record.get("labels", {}).items()}
        right = {n: self.plan.reviews[n].label for n in labels}
        faults = [each.get("failed") or each.get("error") for each in records]
        folder = environment(server)
        return Standing(
            server=server,
            cells={
                cell: [
                    Figures(**record["figures"])
                    for record in self.records(server, cell)
                    if "figures" in record
                ]
                for cell in self.plan.cells
            },
            start_s=min((each["seconds"] for each in records if "seconds" in each), default=None),
            install_mb=install.size_mb(folder) if (folder / install.STAMP).exists() else None,
            answered=len(labels),
            accuracy=_share(labels[n] == right[n] for n in labels),
            agreement=_share(labels[n] == reference[n] for n in labels),
            reference_accuracy=_share(reference[n] == right[n] for n in labels),
            failure=next(filter(None, faults), ""),
        )


def _share(hits: Iterable[bool]) -> float:
    """Return the share of the true ones; 0 of none."""
    found = list(hits)
    return sum(found) / len(found) if found else 0.0


def environment(server: Server) -> Path:
    """Return the virtual environment of `server`."""
    return install.DEFAULT_FOLDER / server.environment


def _command(server: Server, port: int, scratch: str) -> tuple[list[str], dict[str, str]]:
    """Return how `server` is started: its command and its environment."""
    programs = environment(server) / "bin"
    places = {
        "bin": programs,
        "port": port,
        "checkpoint": CHECKPOINT,
        "bundle": DEFAULT_BUNDLE,
        "rivals": install.RIVALS,
        "cores": available_cores(),
        "scratch": scratch,
    }
    environ = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": scratch}
    return [part.format(**places) for part in server.command], environ | dict(server.environ)


def _last_line(log: Path) -> str:
    """Return what the server said last."""
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    last = next((line.strip()[:200] for line in reversed(lines) if line.strip()), "said nothing")
    return last.replace(f"{ROOT}/", "")


def make_environment(server: Server) -> None:
    """Make the environment of `server`; where that fails, say so, and it will not start."""
    try:
        if server is REELSENSE:
            install.install_ours(environment(server))
        else:
            install.install(server.environment, install.DEFAULT_FOLDER)
    except subprocess.CalledProcessError as error:
        print(f"{server.environment} cannot be made: {error.stderr}", flush=True)


def write_report(bench: Bench, servers: Sequence[Server], command: str) -> None:
    """Write the section of RESULTS.md and the chart."""
    plan = bench.plan
    reference = reference_labels([review.text for review in plan.reviews], plan.results)
    standings = [bench.standing(server, reference) for server in servers]
    days = sorted({record["day"] for server in servers for record in bench.records(server)})
    network = [each for turn in plan.turns if (each := bench.store.read_network(turn))]
    chart.draw(standings, max(plan.clients), available_cores())
    intro = (
        f"{machine.describe(', '.join(days))}.\n\n`{command}`: {len(plan.reviews):,} reviews of "
        f"the {plan.part} part, {plan.seconds:g} s a cell, rounds: {plan.rounds}."
    )
    text = serving_section(intro, standings, plan.clients, network, UNAVAILABLE)
    replace_section(RESULTS, "serving", text)
    print(f"{RESULTS.relative_to(ROOT)}, {chart.PLACE.relative_to(ROOT)}")


def main() -> None:
    """Measure what is missing and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reviews", type=Path, required=True, help="the unpacked dataset")
    parser.add_argument("--split", choices=["test", "validation"], default="test")
    parser.add_argument("--sample", type=int, default=1500, help="reviews")
    parser.add_argument("--clients", default="1,8,64")
    parser.add_argument("--seconds", type=float, default=20, help="of each cell")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", help="keys of servers, with commas")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "bench" / "serving")
    parser.add_argument("--report-only", action="store_true", help="of what was measured before")
    options = parser.parse_args()

    keys = options.only.split(",") if options.only else [server.key for server in SERVERS]
    if unknown := set(keys) - {server.key for server in SERVERS}:
        parser.error(f"no servers {unknown}: there are {[server.key for server in SERVERS]}")
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
    bench = Bench(plan, Store(options.results, settings))
    if not options.report_only:
        reference_labels([review.text for review in plan.reviews], plan.results)
        for server in servers:
            make_environment(server)
        for turn in plan.turns:
            bench.round(servers, turn)
            bench.network(turn)
    write_report(bench, servers, machine.command(options.reviews, "--report-only"))


if __name__ == "__main__":
    main()
