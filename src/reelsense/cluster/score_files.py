"""Score files on many machines: Ray Data carries shards to a pool of classifiers.

Read, score and write are three stages of one stream, so that no machine holds more than some
shards. A shard is the same wherever and however often it is scored, and counts once it is written;
what is lost with a machine is scored again, by Ray or, failing that, by another round of ours.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import ray
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy
from ray.data.exceptions import SystemException
from ray.exceptions import RayError

from reelsense.bulk.output import Output, ShardRecord, is_known, keep
from reelsense.bulk.shards import IsKnown, ScoredShard, ScoringTask, Shard, score, shards
from reelsense.bundle import Bundle
from reelsense.cluster.machines import machine_cores, own_error, usual_cores
from reelsense.errors import ClusterError, DatasetError
from reelsense.inference.classifier import Classifier
from reelsense.tables import storage

_READERS = 4
"""Files that are read at a time, at least."""

_WRITERS = 4

_ROUNDS = 3
"""In a row that bring nothing new, after which it is given up."""


@dataclass(frozen=True, slots=True)
class Done:
    """A shard that is kept, now or from before."""

    shard: Shard
    """Without its rows."""
    note: ShardRecord | None
    """None: it was there before."""
    seconds: float = 0.0
    """Spent on scoring it."""


def score_on_ray(
    bundle: Bundle,
    task: ScoringTask,
    output: Output,
    *,
    cores: int | None = None,
    on_done: Callable[[Done], object] = lambda _: None,
) -> None:
    """Score what is missing of `output` on the cluster that Ray is connected to, and finish it.

    Each classifier has so many `cores`; `on_done` is told of every shard, in any order. Raises
    ClusterError if it cannot be done, DatasetError if a file cannot be read to its end.
    """
    cores = cores or usual_cores()
    most = sum(each // cores for each in machine_cores())
    if not most:
        raise ClusterError(f"no machine of the cluster has {cores} cores")
    output.open()
    carried = ray.put(bundle.in_memory())  # once for each machine that has a classifier
    in_vain = 0
    while True:
        names: set[str] = set()
        before = len(output.notes)
        try:
            with _context():
                for done in _stream(carried, task, output, cores, most):
                    names.add(done.shard.name)
                    if done.note:
                        output.notes[done.shard.name] = done.note
                    on_done(done)
        except (RayError, SystemException) as error:
            if told := own_error(error):
                raise told from error
            in_vain = in_vain + 1 if len(output.notes) == before else 0
            if in_vain == _ROUNDS:
                raise ClusterError(f"Ray gave up: {_first_line(error)}") from error
            continue
        output.finish(sorted(names, key=lambda name: [int(n) for n in name.split("-")]))
        return


def _stream(
    carried: ray.ObjectRef[Bundle], task: ScoringTask, output: Output, cores: int, most: int
) -> Iterator[Done]:
    """Yield each shard once it is kept; `most` classifiers share the work."""
    input_groups = ray.data.from_items(
        [{"unit": n} for n in range(len(task.input_groups))],
        override_num_blocks=len(task.input_groups),
    )
    read = input_groups.map_batches(
        _Read(task, partial(is_known, dict(output.notes))),
        batch_size=1,
        num_cpus=0,
        compute=TaskPoolStrategy(size=min(len(task.input_groups), max(_READERS, most))),
        label_selector=_near(task.input_groups[0][0].address),
    )
    scored = read.map_batches(
        _Score,
        fn_constructor_args=([carried], task, cores),
        batch_size=1,
        num_cpus=cores,
        compute=ActorPoolStrategy(min_size=1, max_size=most, initial_size=most),
    )
    kept = scored.map_batches(
        _Keep(output, task),
        batch_size=1,
        num_cpus=0,
        compute=TaskPoolStrategy(size=_WRITERS),
        label_selector=_near(output.address),
    )
    with warnings.catch_warnings():  # that there are few files to be read side by side
        warnings.filterwarnings("ignore", "The maximum number of concurrent tasks", UserWarning)
        for row in kept.iter_rows():
            yield row["done"]


@contextmanager
def _context() -> Iterator[None]:
    """Let Ray Data take each shard for a block, which is what is given to one classifier."""
    context = DataContext.get_current()
    before = context.target_max_block_size, context.enable_progress_bars
    context.target_max_block_size, context.enable_progress_bars = 1, False
    try:
        yield
    finally:
        context.target_max_block_size, context.enable_progress_bars = before


# The stages are generators, because of others Ray tells what they raised as text alone.


class _Read:
    """Units to shards."""

    def __init__(self, task: ScoringTask, is_known: IsKnown) -> None:
        self._task, self._is_known = task, is_known

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for number in batch["unit"]:
            for shard in shards(self._task, int(number), self._is_known):
                yield {"shard": _column(shard)}


class _Score:
    """Shards to answers: an actor with a classifier of its own."""

    def __init__(self, carried: list[ray.ObjectRef[Bundle]], task: ScoringTask, cores: int) -> None:
        self._classifier = Classifier(ray.get(carried[0]), threads=cores)
        self._task = task

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for shard in batch["shard"]:
            begun = time.perf_counter()
            scored = score(self._classifier, self._task, shard) if shard.rows else None
            done = Done(replace(shard, rows=()), None, time.perf_counter() - begun)
            yield {"scored": _column((done, scored))}


class _Keep:
    """Answers to files."""

    def __init__(self, output: Output, task: ScoringTask) -> None:
        self._folder, self._task = output.folder, task

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for done, scored in batch["scored"]:
            yield {"done": _column(replace(done, note=self._note(scored)) if scored else done)}

    def _note(self, scored: ScoredShard) -> ShardRecord:
        try:
            return keep(self._folder, self._task, scored)
        except OSError as error:  # which Ray would try again and again
            where = error.filename2 or error.filename
            raise DatasetError(f"{where} cannot be written: {error.strerror}") from error


def _column(value: object) -> Any:
    """Return a column of one `value`, as it is."""
    column = np.empty(1, dtype=object)
    column[0] = value
    return column


def _near(address: str) -> dict[str, str] | None:
    """Return what keeps a stage on this machine, if others do not see its `address`."""
    if not storage.is_local(address):
        return None
    return {"ray.io/node-id": ray.get_runtime_context().get_node_id()}


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
