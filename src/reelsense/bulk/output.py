"""Store scored shards until the output is complete.

    scored.csv                    one file; its shards are in scored.csv.parts until it is complete
    scored.csv.bad-rows.jsonl     the rows that could not be scored, if any

    scored/                       a folder, if the name ends with /
        part-000000-000000.csv    the shards; sorting them by name restores the row order
        bad-000000-000000.jsonl   the rows of the same shard that could not be scored
        manifest.json             the inputs, settings and shards of the run; written last

While a run is in progress, the folder of the shards also contains run.json, which identifies the
run, and one record per completed shard. An interrupted run resumes from them.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO, Any

from reelsense import __version__
from reelsense.bulk.plan import ScoringTask
from reelsense.bulk.shards import ScoredShard, ShardRecord
from reelsense.errors import DatasetError
from reelsense.tables import storage
from reelsense.tables.storage import OutputFolder
from reelsense.tables.writing import count_rows, empty, join

_RUN, MANIFEST, _LOCK = "run.json", "manifest.json", ".lock"
_RECORD = re.compile(r"record-(\d+-\d+)\.json")
_UNFINISHED = re.compile(rf"\..*{re.escape(storage.UNFINISHED)}")
_OWN_FILES = re.compile(
    rf"(part|bad|record)-\d+-\d+\..+|run\.json|manifest\.json|{_UNFINISHED.pattern}|\.lock"
)

_log = logging.getLogger(__name__)


class Output:
    """The output of one task: a folder of shards, or a file that is joined from shards.

    A context manager: it locks the output and loads the records of completed shards. Raises
    DatasetError if the output contains something else, was made with other settings, or is being
    written by another run.
    """

    def __init__(self, address: str, task: ScoringTask) -> None:
        self.address, self._task = address, task
        self.is_folder = storage.is_folder(address)
        absolute = storage.absolute(address)
        self.folder = OutputFolder(absolute if self.is_folder else f"{absolute}.parts")
        self.records: dict[str, ShardRecord] = {}  # completed shards by name
        self._is_complete = False  # always false for a file, whose shards are removed at the end
        self._lock: IO[str] | None = None

    def __enter__(self) -> Output:
        try:
            self._open()
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._unlock()

    @property
    def bad_rows(self) -> str:
        """Location of the rows that could not be scored, for messages."""
        if self.is_folder:
            return f"{self.address.rstrip('/')}/bad-*"
        return bad_rows_address(self.address)

    def begin_changes(self) -> None:
        """Mark a complete output as incomplete, until `finish`."""
        if self._is_complete:
            for name, record in self.records.items():
                self.folder.write(_record_name(name), _json(asdict(record)))
            self.folder.write(_RUN, _json(self._run()))
            self.folder.remove(MANIFEST)
            self._is_complete = False

    def write(self, scored: ScoredShard) -> None:
        """Write a shard and its record."""
        self.begin_changes()
        write_shard(self.folder, self._task, scored)
        self.records[scored.name] = scored.record

    def finish(self, names: Sequence[str]) -> None:
        """Complete the output: it consists of the shards `names`, in this order.

        Raises DatasetError if a local output does not have as many rows as were read.
        """
        if self.is_folder:
            self._check_rows(names, self._parts(names), header=self._task.shard_header)
            self.folder.write(MANIFEST, _json(self._manifest(names), indent=1))
            self._remove_except(names)
        else:
            self._join(names)
            with storage.open_file(self.address) as file:
                self._check_rows(names, [file], header=self._task.schema.has_columns)
            self._remove_except(())

    def _check_rows(
        self, names: Sequence[str], files: Iterable[IO[bytes]], *, header: bool
    ) -> None:
        if not names or not storage.is_local(self.address):  # not transferred back from a store
            return
        written_rows = sum(count_rows(self._task.schema, file, header=header) for file in files)
        rows = sum(self.records[name].rows for name in names)
        if written_rows != rows:
            raise DatasetError(
                f"{self.address} has {written_rows:,} rows, but {rows:,} rows were read: please "
                "report this as a bug",
                code="rows-lost",
            )

    def discard_if_empty(self) -> None:
        """Remove the folder of the shards if no shard was completed."""
        with suppress(DatasetError):  # called while another error is raised
            if not self.records and not self._is_complete:
                self._remove_except(())

    def _manifest(self, names: Sequence[str]) -> dict[str, object]:
        records = [(name, self.records[name]) for name in names]
        return {
            "run": self._run(),
            "files": [file.name for file in self._task.files],
            "dialects": self._task.dialects,
            "rows": sum(record.rows for _, record in records),
            "bad_rows": sum(record.bad_rows for _, record in records),
            "shards": [
                {"file": _part_name(self._task, name), "name": name, **asdict(record)}
                for name, record in records
            ],
        }

    def _join(self, names: Sequence[str]) -> None:
        """Write the file of bad rows, then the output file."""
        bad_rows = bad_rows_address(self.address)
        if shards_with_errors := [name for name in names if self.records[name].bad_rows]:
            with storage.replace_file(bad_rows) as file:
                for name in shards_with_errors:
                    file.write(self.folder.read(_bad_name(name)))
        else:
            storage.remove(bad_rows)
        with storage.replace_file(self.address) as file:
            if names:
                join(self._task.schema, self._parts(names), file)
            else:
                file.write(empty(self._task.schema))

    def _parts(self, names: Sequence[str]) -> Iterator[IO[bytes]]:
        for name in names:
            with storage.open_file(self.folder.at(_part_name(self._task, name))) as part:
                yield part

    def _open(self) -> None:
        is_local = storage.is_local(self.address)
        parent = Path(self.folder.address).parent
        if is_local and not self.is_folder and not parent.is_dir():
            raise DatasetError(
                f"{self.address}: folder {parent} does not exist: create it", code="no-such-folder"
            )
        names = {name for name in self.folder.names() if not _UNFINISHED.fullmatch(name)} - {_LOCK}
        self._is_complete = MANIFEST in names
        if names and not self._is_complete and _RUN not in names:
            raise DatasetError(
                f"{self.folder.address} contains other files: choose another output",
                code="output-not-empty",
            )
        if is_local:
            self._lock_folder()
        try:
            self._load(names)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DatasetError(
                f"{self.folder.address} is damaged ({error!r}): delete it, or choose another "
                "output",
                code="output-damaged",
            ) from error
        if not names:
            self.folder.write(_RUN, _json(self._run()))

    def _lock_folder(self) -> None:
        self.folder.create()
        # Neither through a link nor truncated: another user may have prepared the folder.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        try:
            lock = os.fdopen(os.open(Path(self.folder.address) / _LOCK, flags, 0o644), "r+")
        except OSError as error:
            raise DatasetError(
                f"{self.folder.address}/{_LOCK} cannot be opened: {error.strerror}: choose another "
                "output",
                code="unwritable-file",
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released when the process ends
        except BlockingIOError:
            lock.close()
            raise DatasetError(
                f"{self.address} is being written by another run: wait for it, or choose another "
                "output",
                code="output-locked",
            ) from None
        except OSError:
            _log.debug("the file system of %s does not support locks", self.folder.address)
        self._lock = lock

    def _unlock(self) -> None:
        if self._lock:
            with self._lock, suppress(DatasetError):  # another error may be being raised
                self.folder.remove(_LOCK)

    def _load(self, names: set[str]) -> None:
        """Load the records of the shards whose files exist."""
        records: dict[str, ShardRecord] = {}
        if self._is_complete:
            manifest = json.loads(self.folder.read(MANIFEST))
            self._check_run(manifest["run"])
            records = {shard["name"]: _record(shard) for shard in manifest["shards"]}
        elif names:
            self._check_run(json.loads(self.folder.read(_RUN)))
            for name in names:
                if match := _RECORD.fullmatch(name):
                    records[match[1]] = _record(json.loads(self.folder.read(name)))
        self.records = {
            name: record
            for name, record in records.items()
            if self._files_of(name, record) <= names
        }

    def _files_of(self, name: str, record: ShardRecord) -> set[str]:
        return {_part_name(self._task, name)} | ({_bad_name(name)} if record.bad_rows else set())

    def _check_run(self, run: dict[str, object]) -> None:
        own = self._run()
        if different := [key for key in own if run.get(key) != own[key]]:
            values = ", ".join(f"{key} {run.get(key)!r}, now {own[key]!r}" for key in different)
            raise DatasetError(
                f"{self.folder.address} contains shards scored with other settings ({values}): use "
                "the same settings, choose another output, or delete it",
                code="output-of-other-settings",
            )

    def _run(self) -> dict[str, object]:
        """Return the settings that determine the content of the shards."""
        task = self._task
        return {
            "reelsense": __version__,
            "model": task.model_version,
            "risk": task.risk,
            "explain": task.explain,
            "column": task.column,
            "columns": [*task.schema.columns] if task.schema.has_columns else [],
            "added": [*task.schema.added],
            "format": str(task.schema.format),
            "types": str(task.schema.types or ""),
            "shard_rows": task.shard_rows,
        }

    def _remove_except(self, shards: Iterable[str]) -> None:
        """Remove the files of the run, except the manifest of a folder and the given shards."""
        kept = {MANIFEST} if self.is_folder else set()
        for name in shards:
            kept |= self._files_of(name, self.records[name])
        # Records go first and the files that identify the run last: an interruption must not leave
        # a record whose shard is gone, or shards that nothing identifies.
        order = {_RUN: 2, MANIFEST: 3, _LOCK: 4}
        own = {name for name in self.folder.names() if _OWN_FILES.fullmatch(name)}
        self.folder.remove(
            *sorted(
                own - kept,
                key=lambda name: order.get(name, 0 if _RECORD.fullmatch(name) else 1),
            )
        )


def write_shard(folder: OutputFolder, task: ScoringTask, scored: ScoredShard) -> None:
    """Write a shard into `folder`. Its record is written last and marks it as complete."""
    folder.remove(_record_name(scored.name))  # may be of a shard with other rows
    if scored.bad_rows:
        folder.write(_bad_name(scored.name), "".join(scored.bad_rows).encode())
    folder.write(_part_name(task, scored.name), scored.table)
    folder.write(_record_name(scored.name), _json(asdict(scored.record)))


def written(address: str) -> tuple[str, ...]:
    """Return all absolute paths or URLs that an output may write; those of folders end with /."""
    absolute = storage.absolute(address.rstrip("/"))
    return (f"{absolute}/", f"{absolute}.parts/", absolute, bad_rows_address(absolute))


def _record(content: dict[str, Any]) -> ShardRecord:
    return ShardRecord(**{field.name: content[field.name] for field in fields(ShardRecord)})


def _json(content: dict[str, object], indent: int | None = None) -> bytes:
    return (json.dumps(content, indent=indent) + "\n").encode()


def _part_name(task: ScoringTask, shard: str) -> str:
    return f"part-{shard}{task.schema.format}"


def _record_name(shard: str) -> str:
    return f"record-{shard}.json"


def _bad_name(shard: str) -> str:
    return f"bad-{shard}.jsonl"


def bad_rows_address(address: str) -> str:
    """Return where the rows of an output that could not be scored are collected."""
    return f"{address}.bad-rows.jsonl"
