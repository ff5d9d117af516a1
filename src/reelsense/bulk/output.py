"""Where the shards of scored tables are kept, until they are whole.

    scored.csv                   one file; until it is whole, its shards are in scored.csv.parts
    scored.csv.bad-rows.jsonl    the rows that could not be scored, where there are any

    scored/              a folder, if its name ends with /
        part-000000-000000.csv    the shards, in the order of their names
        bad-000000-000000.jsonl   the rows of the same shard that could not be scored
        manifest.json            what was scored, how, and what is in each shard: written last

Beside its shards a folder holds run.json, which says what they are of, and a note for each that is
complete: with these a run that was cut off goes on.
"""

from __future__ import annotations

import fcntl
import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from reelsense import __version__
from reelsense.bulk.shards import ScoredShard, ScoringTask
from reelsense.errors import DatasetError
from reelsense.tables import storage
from reelsense.tables.storage import OutputFolder
from reelsense.tables.writing import empty, join

_RUN, MANIFEST = "run.json", "manifest.json"
_LOCK = ".lock"
_NOTE = re.compile(r"note-(\d+-\d+)\.json")
_UNFINISHED = re.compile(rf"\..*{re.escape(storage.UNFINISHED)}")
_OURS = re.compile(rf"(part|bad|note)-\d+-\d+\..+|run\.json|{_UNFINISHED.pattern}|\.lock")


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """What is known of a shard that is complete."""

    digest: str
    rows: int
    bad: int
    """Of its rows, how many could not be scored."""
    undecoded: int = 0
    """Of these, how many are not UTF-8 text."""


class Output:
    """The shards of one task, in a folder or on their way to one file.

    It is this process's alone within a `with` block, whose begin looks at what is there already.
    That raises DatasetError if it is something else, was made in another way, or is another's.
    """

    def __init__(self, address: str, task: ScoringTask) -> None:
        self.address, self._task = address, task
        self.is_folder = storage.is_folder(address)
        whole = storage.whole(address)
        self.folder = OutputFolder(whole if self.is_folder else f"{whole}.parts")
        """Where the shards are."""
        self.notes: dict[str, ShardRecord] = {}
        """Of the shards that are there, by their names."""
        self._is_whole = False
        self._lock: IO[str] | None = None

    def __enter__(self) -> Output:
        """Begin."""
        try:
            self._begin()
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Let others in."""
        self._unlock()

    @property
    def bad_rows(self) -> str:
        """Where the rows are that could not be scored, for people."""
        if self.is_folder:
            return f"{self.address.rstrip('/')}/bad-*"
        return bad_rows_address(self.address)

    def is_known(self, name: str, digest: str) -> bool:
        """Say whether the shard of that name is there, with the same rows."""
        return is_known(self.notes, name, digest)

    def open(self) -> None:
        """Begin to change what is there: from now on it is not whole, until it is finished."""
        if not self._is_whole:
            return
        if not self.is_folder:  # whole, and cut off while its shards were removed
            self._tidy(set())
            raise DatasetError(
                f"{self.address} was whole, and the files it came from have changed since: the "
                "same command scores them anew"
            )
        for name, note in self.notes.items():
            self.folder.write(_note_name(name), json.dumps(asdict(note)).encode())
        self.folder.write(_RUN, self._run_file())
        self.folder.remove(MANIFEST)
        self._is_whole = False

    def keep(self, scored: ScoredShard) -> None:
        """Keep a shard: from now on it is known."""
        self.open()
        self.notes[scored.name] = keep(self.folder, self._task, scored)

    def finish(self, names: list[str]) -> None:
        """Make the output whole: it is the shards `names`, in this order, and nothing else."""
        if not (self.is_folder or self._is_whole):
            self._join(names)
        self.folder.write(MANIFEST, (json.dumps(self._manifest(names), indent=1) + "\n").encode())
        self._tidy(set(names) if self.is_folder else set())

    def _manifest(self, names: list[str]) -> dict[str, object]:
        kept = [self.notes[name] for name in names]
        return {
            "run": self._run(),
            "files": [each.name for unit in self._task.input_groups for each in unit],
            "rows": sum(note.rows for note in kept),
            "bad_rows": sum(note.bad for note in kept),
            "shards": [
                {
                    "file": part_name(self._task, name),
                    "name": name,
                    "rows": note.rows,
                    "bad_rows": note.bad,
                    "undecoded_rows": note.undecoded,
                    "digest": note.digest,
                }
                for name, note in zip(names, kept, strict=True)
            ],
        }

    def _join(self, names: list[str]) -> None:
        """Write the one file, and the one of the bad rows before it."""
        side = bad_rows_address(self.address)
        bad = [name for name in names if self.notes[name].bad]
        if bad:
            with storage.replacing(side) as file:
                for name in bad:
                    file.write(self.folder.read(_bad_name(name)))
        else:
            storage.remove(side)
        with storage.replacing(self.address) as file:
            if names:
                join(self._task.layout, self._pieces(names), file)
            else:
                file.write(empty(self._task.layout))

    def _pieces(self, names: list[str]) -> Iterator[IO[bytes]]:
        for name in names:
            with storage.reading(self.folder.at(part_name(self._task, name))) as piece:
                yield piece

    def discard_if_empty(self) -> None:
        """Leave no trace where no shard was completed."""
        with suppress(DatasetError):  # there is another error to tell
            if not self.notes and not self._is_whole:
                self._tidy(set())

    def _begin(self) -> None:
        local = storage.is_local(self.address)
        if local and not self.is_folder and not Path(self.folder.address).parent.is_dir():
            raise DatasetError(f"{self.address}: there is no such folder")
        names = self.folder.names()
        kept = {name for name in names if not _UNFINISHED.fullmatch(name)} - {_LOCK}
        self._is_whole = MANIFEST in kept
        if kept and not self._is_whole and _RUN not in kept:
            raise DatasetError(f"{self.folder.address} holds something else: name another --output")
        if local:
            self._lock_folder()
        try:
            self._read(kept)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DatasetError(
                f"{self.folder.address} is damaged: delete it, or name another --output ({error!r})"
            ) from error
        if not kept:
            self.folder.write(_RUN, self._run_file())

    def _lock_folder(self) -> None:
        """Keep others out until this process ends, however it does."""
        folder = Path(self.folder.address)
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise DatasetError(f"{self.address} is being written by another run") from None
        except OSError:  # a file system without locks
            _log.debug("%s cannot be locked", folder)
        self._lock = lock

    def _unlock(self) -> None:
        if self._lock:
            with self._lock, suppress(DatasetError):  # there may be another error to tell
                self.folder.remove(_LOCK)

    def _read(self, names: set[str]) -> None:
        """Read what is known of the shards that are there."""
        if self._is_whole:
            manifest = json.loads(self.folder.read(MANIFEST))
            self._check_same(dict(manifest["run"]))
            for each in manifest["shards"]:
                note = ShardRecord(
                    each["digest"], each["rows"], each["bad_rows"], each.get("undecoded_rows", 0)
                )
                self.notes[each["name"]] = note
            if not self.is_folder:  # its shards may be gone: the file is all there is to it
                return
        elif names:
            self._check_same(dict(json.loads(self.folder.read(_RUN))))
            for name in names:
                if shard := _NOTE.fullmatch(name):
                    self.notes[shard[1]] = ShardRecord(**json.loads(self.folder.read(name)))
        for shard_name, note in list(self.notes.items()):
            wanted = {part_name(self._task, shard_name)}
            wanted |= {_bad_name(shard_name)} if note.bad else set()
            if not wanted <= names:  # someone has removed it
                del self.notes[shard_name]

    def _check_same(self, run: dict[str, object]) -> None:
        own = self._run()
        others = [key for key in own if run.get(key) != own[key]]
        if others:
            differ = ", ".join(f"{key} {run.get(key)!r}, now {own[key]!r}" for key in others)
            raise DatasetError(
                f"{self.folder.address} holds shards that were scored in another way ({differ}): "
                "go on in that way, name another --output, or delete it"
            )

    def _run_file(self) -> bytes:
        return (json.dumps(self._run()) + "\n").encode()

    def _run(self) -> dict[str, object]:
        """What decides the answers, and how they are cut."""
        task = self._task
        return {
            "reelsense": __version__,
            "model": task.model,
            "risk": task.risk,
            "explain": task.explain,
            "column": task.column,
            "columns": [*task.layout.columns] if task.layout.has_columns else [],
            "added": [*task.layout.added],
            "format": str(task.layout.kind),
            "types": str(task.layout.schema or ""),
            "shard_rows": task.shard_rows,
        }

    def _tidy(self, wanted: set[str]) -> None:
        """Remove what is of no use any more: of a folder, all but the shards `wanted`."""
        kept = {MANIFEST} if self.is_folder else set()
        for name in wanted:
            kept |= {part_name(self._task, name)}
            kept |= {_bad_name(name)} if self.notes[name].bad else set()
        ours = {name for name in self.folder.names() if name == MANIFEST or _OURS.fullmatch(name)}
        gone = list(ours - kept)
        # The notes first and what says whose they are last: cut off, nothing is known that is gone.
        last = [_RUN, MANIFEST, _LOCK]
        gone.sort(
            key=lambda name: last.index(name) if name in last else -1 - bool(_NOTE.match(name))
        )
        self.folder.remove(*gone)


def is_known(notes: Mapping[str, ShardRecord], name: str, digest: str) -> bool:
    """Say whether `notes` tell of the shard of that name, with the same rows."""
    return name in notes and notes[name].digest == digest


def keep(folder: OutputFolder, task: ScoringTask, scored: ScoredShard) -> ShardRecord:
    """Write a shard into `folder`: its note last, which says that it is complete."""
    folder.remove(_note_name(scored.name))  # of a shard of other rows, perhaps
    if scored.bad:
        folder.write(_bad_name(scored.name), "".join(scored.bad).encode())
    folder.write(part_name(task, scored.name), scored.table)
    note = ShardRecord(scored.digest, scored.rows, len(scored.bad), scored.undecoded)
    folder.write(_note_name(scored.name), json.dumps(asdict(note)).encode())
    return note


def part_name(task: ScoringTask, shard: str) -> str:
    """Return the name of the file of a shard."""
    return f"part-{shard}{task.layout.kind}"


def bad_rows_address(address: str) -> str:
    """Return where the rows of the file `address` go that could not be scored."""
    return f"{address}.bad-rows.jsonl"


def written(address: str) -> tuple[str, ...]:
    """Return all that is written for the output `address`: files, and folders with a / at the end.

    They are spelled as `places.whole` does.
    """
    whole = storage.whole(address.rstrip("/"))
    return (f"{whole}/", f"{whole}.parts/", whole, bad_rows_address(whole))


def _note_name(shard: str) -> str:
    return f"note-{shard}.json"


def _bad_name(shard: str) -> str:
    return f"bad-{shard}.jsonl"
