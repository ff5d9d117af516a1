"""Score files on a cluster: Ray Data reads, scores and writes shards in one stream.

Shards that are lost with a machine are scored again: by Ray or, if Ray fails, in another round.
"""

from __future__ import annotations

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

from reelsense.bulk.output import Output, write_shard
from reelsense.bulk.plan import ScoringTask
from reelsense.bulk.progress import ProgressTracker
from reelsense.bulk.shards import Shard, ShardRecord, cut_shards, score_shard
from reelsense.bundle import Bundle
from reelsense.cluster.machines import connected, first_line, machine_cores, own_error, usual_cores
from reelsense.errors import ClusterError, DatasetError
from reelsense.inference.classifier import Classifier
from reelsense.tables import storage
from reelsense.tables.storage import OutputFolder

_MIN_READERS = 4  # files that are read concurrently
_WRITERS = 4
_MAX_FAILED_ROUNDS = 3  # consecutive rounds without a new shard, after which the run fails


@dataclass(frozen=True, slots=True)
class _StoredShard:
    shard: Shard  # without its rows
    record: ShardRecord | None  # None: an earlier run stored it


class RayExecutor:
    """Scores the shards of `reelsense.score_files` on a Ray cluster.

    Args:
        bundle: The model.
        address: HOST:PORT of the head node, or "auto" on a node of the cluster; None: start a local
            cluster.
        cores: Cores per classifier; None: 4, or those of the smallest machine.

    Example:
        >>> executor = RayExecutor(read_bundle("models/mine"), "head:6379")
        >>> reelsense.score_files("s3://films/*.csv", "s3://films/scored/", executor=executor)
    """

    def __init__(
        self, bundle: Bundle, address: str | None = None, cores: int | None = None
    ) -> None:
        self.manifest = bundle.manifest
        self._bundle, self._address, self._cores = bundle, address, cores

    def run(self, task: ScoringTask, output: Output, tracker: ProgressTracker) -> list[str]:
        """Write the missing shards to `output`. Return the names of all shards, in row order.

        Raises:
            ClusterError: The cluster is unreachable or keeps failing.
            DatasetError: A file cannot be read to its end.
        """
        with connected(self._address, log_to_driver=False):
            cores = self._cores or usual_cores()
            classifiers = sum(machine // cores for machine in machine_cores())
            if not classifiers:
                raise ClusterError(
                    f"no machine of the cluster has {cores} cores: reduce --cores-per-actor",
                    code="not-enough-cores",
                )
            output.begin_changes()
            bundle = ray.put(self._bundle.in_memory())  # sent once per machine
            store_shards = partial(_store_shards, bundle, cores, classifiers, task, output)
            names = _run_rounds(store_shards, output, tracker)
        return sorted(names, key=lambda name: [int(number) for number in name.split("-")])


def _run_rounds(
    store_shards: Callable[[], Iterator[_StoredShard]], output: Output, tracker: ProgressTracker
) -> set[str]:
    """Store all shards, in several rounds if Ray fails. Return their names."""
    names: set[str] = set()
    failed_rounds = 0
    while True:
        known = len(output.records)
        try:
            with _ray_data_settings():
                for stored in store_shards():
                    _count(stored, names, output, tracker)
        except (RayError, SystemException) as error:
            if own := own_error(error):
                raise own from error
            failed_rounds = failed_rounds + 1 if len(output.records) == known else 0
            if failed_rounds == _MAX_FAILED_ROUNDS:
                raise ClusterError(f"Ray failed: {first_line(error)}", code="ray-failed") from error
        else:
            return names


def _count(stored: _StoredShard, names: set[str], output: Output, tracker: ProgressTracker) -> None:
    shard, record = stored.shard, stored.record
    if record:
        output.records[shard.name] = record
    if shard.name in names:  # counted in an earlier round
        return
    names.add(shard.name)
    if record:
        tracker.add_errors(record)
        tracker.add_rows(record.rows, shard.input_bytes)
    else:
        tracker.add_resumed(output.records[shard.name], shard.input_bytes)


def _store_shards(
    bundle: ray.ObjectRef[Bundle], cores: int, classifiers: int, task: ScoringTask, output: Output
) -> Iterator[_StoredShard]:
    """Store the missing shards of the task; yield every shard once it is stored."""
    groups = ray.data.from_items(
        [{"group": number} for number in range(len(task.input_groups))],
        override_num_blocks=len(task.input_groups),
    )
    readers = min(len(task.input_groups), max(_MIN_READERS, classifiers))
    read = groups.map_batches(
        _read,  # type: ignore[arg-type]  # Ray's types do not allow for fn_args
        fn_args=(task, dict(output.records)),
        batch_size=1,
        num_cpus=0,
        compute=TaskPoolStrategy(size=readers),
        label_selector=_this_machine_if_local(task.files[0].address),
    )
    scored = read.map_batches(
        _Score,
        fn_constructor_args=([bundle], task, cores),
        batch_size=1,
        num_cpus=cores,
        compute=ActorPoolStrategy(min_size=1, max_size=classifiers, initial_size=classifiers),
    )
    stored = scored.map_batches(
        _store,  # type: ignore[arg-type]
        fn_args=(output.folder, task),
        batch_size=1,
        num_cpus=0,
        compute=TaskPoolStrategy(size=_WRITERS),
        label_selector=_this_machine_if_local(output.address),
    )
    with warnings.catch_warnings():  # few files limit the concurrency of reading, as intended
        warnings.filterwarnings("ignore", "The maximum number of concurrent tasks", UserWarning)
        for row in stored.iter_rows():
            yield row["stored"]


@contextmanager
def _ray_data_settings() -> Iterator[None]:
    """Make each shard a block of Ray Data, which is the unit given to one classifier."""
    context = DataContext.get_current()
    before = context.target_max_block_size, context.enable_progress_bars
    context.target_max_block_size, context.enable_progress_bars = 1, False
    try:
        yield
    finally:
        context.target_max_block_size, context.enable_progress_bars = before


# The stages are generators: for other functions, Ray reports exceptions only as text.


def _read(
    batch: dict[str, Any], task: ScoringTask, records: dict[str, ShardRecord]
) -> Iterator[dict[str, Any]]:
    for number in batch["group"]:
        for shard in cut_shards(task, int(number), records):
            yield {"shard": _column(shard)}


class _Score:
    """Stage: score shards, in an actor with its own classifier."""

    def __init__(self, bundle: list[ray.ObjectRef[Bundle]], task: ScoringTask, cores: int) -> None:
        self._classifier = Classifier(ray.get(bundle[0]), threads=cores)
        self._task = task

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for shard in batch["shard"]:
            scored = score_shard(self._classifier, self._task, shard) if shard.rows else None
            yield {"scored": _column((replace(shard, rows=()), scored))}


def _store(
    batch: dict[str, Any], folder: OutputFolder, task: ScoringTask
) -> Iterator[dict[str, Any]]:
    for shard, scored in batch["scored"]:
        if scored:
            try:
                write_shard(folder, task, scored)
            except OSError as error:  # Ray would retry it again and again
                path = error.filename2 or error.filename
                raise DatasetError(
                    f"{path} cannot be written: {error.strerror}", code="unwritable-file"
                ) from error
        yield {"stored": _column(_StoredShard(shard, scored.record if scored else None))}


def _column(value: object) -> Any:
    """Return a column that contains one Python object."""
    column = np.empty(1, dtype=object)
    column[0] = value
    return column


def _this_machine_if_local(address: str) -> dict[str, str] | None:
    """Return the label selector of a stage that uses `address`: other machines lack local files."""
    if not storage.is_local(address):
        return None
    return {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
