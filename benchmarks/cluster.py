"""Measure the overhead of a Ray cluster: score files there and in one process with all cores.

    python benchmarks/cluster.py --reviews data/aclImdb

The cluster is one of several machines made up on this one (ray.cluster_utils.Cluster): a head that
works on nothing, and one for every core. Nothing crosses a network, so what is measured is what Ray
itself costs: starting, carrying shards, waiting. Scores whole reviews (of the train and unlabelled
parts) and stretches of twenty words, with the command a user has. Takes one to two hours on two
cores; each measurement is kept in --kept, so that a bench that was stopped goes on. Writes its
section of RESULTS.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from ray.cluster_utils import Cluster

import machine
from files import sentences
from reelsense.datasets import imdb
from reelsense.files import write_atomically
from reelsense.inference.engine import available_cores
from sections import replace_section, table
from serving import RESULTS

TARGET = 0.85
"""Of the rate of one process with as many cores."""

SHARDS = {"whole": 500, "words": 10_000}
"""Rows of a shard, both ways: some 15 seconds of a core: no machine waits long at the end."""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reviews", type=Path, required=True)
    parser.add_argument(
        "--cells",
        default="whole:10000:2,words:1000000:1,whole:100000:1",
        help="kind:rows:rounds, of the kinds whole and words, default: %(default)s",
    )
    parser.add_argument("--kept", type=Path, default=Path("build/cluster.json"))
    parser.add_argument("--alone", default="10000", help="rows that one process scores too")
    options = parser.parse_args()

    kept = json.loads(options.kept.read_text()) if options.kept.exists() else {}
    alone = set(map(int, options.alone.split(",")))
    with tempfile.TemporaryDirectory() as folder, machines(available_cores()) as address:
        for kind, rows, rounds in (cell.split(":") for cell in options.cells.split(",")):
            source = Path(folder) / f"{kind}-{rows}.csv"
            for turn in range(int(rounds)):
                for way in ("cluster", *(["alone"] if int(rows) in alone else [])):
                    name = f"{kind}:{rows}:{way}:{turn}"
                    if name not in kept:
                        if not source.exists():
                            write(source, texts(options.reviews, kind, int(rows)))
                        there = address if way == "cluster" else None
                        kept[name] = seconds(source, SHARDS[kind], there)
                        print(name, f"{kept[name]:.1f} s", flush=True)
                        options.kept.parent.mkdir(parents=True, exist_ok=True)
                        write_atomically(options.kept, json.dumps(kept))
            source.unlink(missing_ok=True)
    text = section(machine.command(options.reviews), kept, available_cores())
    print(text)
    replace_section(RESULTS, "cluster", text)


@contextmanager
def machines(count: int) -> Iterator[str]:
    """Make up a cluster with a head and `count` machines of one core; yields its address.

    Ray lets its workers give way to all else on a machine (nice 15). Here they are to be as any
    other process: this machine may have more to do than the bench.
    """
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  # as Ray spells it
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    for _ in range(count):
        cluster.add_node(num_cpus=1)
    try:
        yield str(cluster.address)
    finally:
        cluster.shutdown()


def texts(reviews: Path, kind: str, rows: int) -> Iterator[str]:
    """Yield so many texts; reviews that are whole come again where there are too few."""
    choose = random.Random(0)
    parts = ("train",) if kind == "words" else ("train", "unsup")
    found = [review.text for part in parts for review in imdb.read_split(reviews, part)]
    choose.shuffle(found)
    if kind == "words":
        for _ in range(0, rows, 10_000):
            yield from sentences(found, min(rows, 10_000), choose)
    else:
        yield from (found[n % len(found)] for n in range(rows))


def write(path: Path, lines: Iterator[str]) -> None:
    """Write `lines` as a .csv."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text"])
        table.writerows([line] for line in lines)


def seconds(source: Path, shard_rows: int, address: str | None) -> float:
    """Return what the whole command takes, from its start to its end."""
    output = source.with_name("scored.csv")
    output.unlink(missing_ok=True)
    command = [sys.executable, "-m", "reelsense", "predict", "--input", str(source)]
    command += ["--output", str(output), "--shard-rows", str(shard_rows)]
    command += ["--cluster", "ray", "--address", address] if address else []
    begun = time.perf_counter()
    subprocess.run(command, check=True)  # noqa: S603
    return time.perf_counter() - begun


def section(command: str, kept: dict[str, float], cores: int) -> str:
    """Return the Markdown of what was measured."""
    cells: dict[tuple[str, int], dict[str, list[float]]] = {}
    for name, spent in kept.items():
        kind, rows, way, _ = name.split(":")
        cells.setdefault((kind, int(rows)), {}).setdefault(way, []).append(spent)
    return "\n".join(
        [
            "## On a cluster",
            f"{machine.describe()}. `{command}`",
            "",
            f"A Ray cluster of {cores} machines with one core each and a head, made up on this "
            f"one, against one process with {cores} cores, in turns; the whole command, so that "
            f"starting Ray's workers counts. At least {TARGET:.0%} of the rate is the target.",
            "",
            table(
                ["texts", "rows", "cluster", "rows/s", "one process", "rate", "more a row"],
                [_row(kind, rows, cells[kind, rows], cores) for kind, rows in sorted(cells)],
            ),
            "",
            '"More a row" is the core-milliseconds that a row costs more on the cluster.',
        ]
    )


def _row(kind: str, rows: int, spent: dict[str, list[float]], cores: int) -> Sequence[str]:
    cluster = median(spent["cluster"])
    cells = [
        {"whole": "whole reviews", "words": "20 words"}[kind],
        f"{rows:,}",
        " / ".join(f"{each:.0f} s" for each in spent["cluster"]),
        f"{rows / cluster:,.1f}",
    ]
    if "alone" not in spent:
        return [*cells, "", "", ""]
    one = median(spent["alone"])
    return [
        *cells,
        " / ".join(f"{each:.0f} s" for each in spent["alone"]),
        f"**{one / cluster:.1%}**",
        f"{(cluster - one) * cores / rows * 1000:.2f} ms",
    ]


if __name__ == "__main__":
    main()
