"""Measure the overhead of a Ray cluster: score files there and in one process with all cores.

    python benchmarks/cluster.py --reviews data/aclImdb

Simulates a cluster on this machine (ray.cluster_utils.Cluster): a head node without work, and a
node for each core. Without network traffic, this measures the overhead of Ray itself: starting,
transferring shards, waiting. Scores untruncated reviews (of the train and unlabelled parts) and
excerpts of twenty words with `reelsense predict`. Takes one to two hours on two cores; measurements
are stored in --kept, so that an interrupted run resumes. Writes its section of RESULTS.md.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from ray.cluster_utils import Cluster

import machine
from files import excerpts
from machine import seconds
from reelsense.datasets import imdb
from reelsense.files import write_atomically
from reelsense.inference.engine import available_cores
from sections import replace_section, table
from serving import RESULTS

TARGET = 0.85  # minimum rate, relative to one process with as many cores

# Rows per shard: about 15 seconds of a core, so that no node waits long at the end.
SHARD_ROWS = {"whole": 500, "words": 10_000}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reviews", type=Path, required=True, help="the unpacked dataset")
    parser.add_argument(
        "--cells",
        default="whole:10000:2,words:1000000:1,whole:100000:1",
        help="kind:rows:rounds; kinds are whole and words, default: %(default)s",
    )
    parser.add_argument("--kept", type=Path, default=Path("build/cluster.json"))
    parser.add_argument(
        "--alone", default="10000", help="numbers of rows that one process scores too"
    )
    options = parser.parse_args()

    durations = json.loads(options.kept.read_text()) if options.kept.exists() else {}
    alone = set(map(int, options.alone.split(",")))
    with tempfile.TemporaryDirectory() as folder, simulated_cluster(available_cores()) as address:
        for kind, rows, rounds in (cell.split(":") for cell in options.cells.split(",")):
            source = Path(folder) / f"{kind}-{rows}.csv"
            for turn in range(int(rounds)):
                for executor in ("cluster", *(["alone"] if int(rows) in alone else [])):
                    name = f"{kind}:{rows}:{executor}:{turn}"
                    if name in durations:
                        continue
                    if not source.exists():
                        write_csv(source, texts(options.reviews, kind, int(rows)))
                    durations[name] = command_seconds(
                        source, SHARD_ROWS[kind], address if executor == "cluster" else None
                    )
                    print(name, f"{durations[name]:.1f} s", flush=True)
                    options.kept.parent.mkdir(parents=True, exist_ok=True)
                    write_atomically(options.kept, json.dumps(durations))
            source.unlink(missing_ok=True)
    text = section(machine.command(options.reviews), durations, available_cores())
    print(text)
    replace_section(RESULTS, "cluster", text)


@contextmanager
def simulated_cluster(count: int) -> Iterator[str]:
    """Start a cluster with a head and `count` nodes of one core; yields its address."""
    # By default, workers have a low priority (nice 15), which would count if the machine is busy.
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
    """Yield `rows` texts; reviews are repeated if there are too few."""
    random_state = random.Random(0)
    parts = ("train",) if kind == "words" else ("train", "unsup")
    all_texts = [review.text for part in parts for review in imdb.read_split(reviews, part)]
    random_state.shuffle(all_texts)
    if kind == "words":
        for _ in range(0, rows, 10_000):
            yield from excerpts(all_texts, min(rows, 10_000), random_state)
    else:
        yield from (all_texts[n % len(all_texts)] for n in range(rows))


def write_csv(path: Path, lines: Iterator[str]) -> None:
    """Write `lines` as the column "text"."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text"])
        writer.writerows([line] for line in lines)


def command_seconds(source: Path, shard_rows: int, address: str | None) -> float:
    """Return the duration of `reelsense predict`, on the cluster at `address` if there is one."""
    output = source.with_name("scored.csv")
    output.unlink(missing_ok=True)
    command = [sys.executable, "-m", "reelsense", "predict", "--input", str(source)]
    command += ["--output", str(output), "--shard-rows", str(shard_rows)]
    command += ["--cluster", "ray", "--address", address] if address else []
    return seconds(lambda: subprocess.run(command, check=True))  # noqa: S603


def section(command: str, durations: dict[str, float], cores: int) -> str:
    """Return the section of RESULTS.md."""
    cells: dict[tuple[str, int], dict[str, list[float]]] = {}
    for name, duration in durations.items():
        kind, rows, executor, _ = name.split(":")
        cells.setdefault((kind, int(rows)), {}).setdefault(executor, []).append(duration)
    return "\n".join(
        [
            "## On a cluster",
            f"{machine.describe()}. `{command}`",
            "",
            f"A Ray cluster of {cores} nodes with one core each and a head node, simulated on this "
            f"machine, in turns with one process on {cores} cores. The duration is that of the "
            "whole command, including the start of Ray's workers. The target is a relative "
            f"throughput of at least {TARGET:.0%}.",
            "",
            table(
                [
                    "texts",
                    "rows",
                    "cluster",
                    "rows/s",
                    "one process",
                    "relative throughput",
                    "overhead",
                ],
                [_row(kind, rows, cells[kind, rows], cores) for kind, rows in sorted(cells)],
            ),
            "",
            "The overhead is the additional processor time per row on the cluster.",
        ]
    )


def _row(kind: str, rows: int, durations: dict[str, list[float]], cores: int) -> Sequence[str]:
    cluster = median(durations["cluster"])
    cells = [
        {"whole": "reviews", "words": "20 words"}[kind],
        f"{rows:,}",
        " / ".join(f"{duration:.0f} s" for duration in durations["cluster"]),
        f"{rows / cluster:,.1f}",
    ]
    if "alone" not in durations:
        return [*cells, "", "", ""]
    alone = median(durations["alone"])
    return [
        *cells,
        " / ".join(f"{duration:.0f} s" for duration in durations["alone"]),
        f"**{alone / cluster:.1%}**",
        f"{(cluster - alone) * cores / rows * 1000:.2f} ms",
    ]


if __name__ == "__main__":
    main()
