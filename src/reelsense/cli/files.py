"""Score files of texts: what goes in comes out, with the answers beside it.

Memory does not grow with the files. A bad row gets an error and the rest goes on; a run that is cut
off goes on where it was when it is started again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import click

from reelsense.bulk.output import Output, written
from reelsense.bulk.shards import (
    SHARD_ROWS,
    STEP,
    STEP_EXPLAINED,
    ScoringTask,
    plan,
    score,
    shards,
    with_columns_of,
)
from reelsense.bundle import Bundle, Manifest
from reelsense.cli.progress import ProgressBar
from reelsense.errors import DatasetError
from reelsense.inference.classifier import Classifier
from reelsense.tables import parquet, storage
from reelsense.tables.reading import PARQUET, STANDARD_INPUT, FileFormat, file_format_of, is_table
from reelsense.tables.storage import FileInfo
from reelsense.tables.writing import empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be scored, and how."""

    source: str
    """A file, a folder, a pattern, an address that fsspec knows; "-": standard input."""
    output: str | None = None
    """A file or, if it ends with /, a folder; None: standard output."""
    column: str | None = None
    """Of the texts; None: the only one, or text."""
    encoding: str | None = None
    """Of the files; None: UTF-8."""
    risk: float | None = None
    explain: bool = False
    shard_rows: int = SHARD_ROWS
    format: str | None = None
    """Of a folder or standard output, as jsonl.gz; None: that of the input."""


def check(request: Request) -> None:
    """Raise what is wrong with `request` that can be seen before a model is loaded."""
    kind = _format(request)
    if kind and kind.suffix == PARQUET:
        parquet.imported()
    for address in (request.source, request.output):
        if address and not storage.is_local(address):
            storage.whole(address)


def score_files(classifier: Classifier, request: Request) -> bool:
    """Add label, score, positive, verdict and stars to every row of what is asked for.

    With `explain`, because (the sentence that speaks most for the answer) and explanation (all of
    it; in a table, as JSON) too. Where the input already has a column of that name, ours is called
    predicted_label and so on. Returns whether any row could be scored, or there was none. Raises
    DatasetError if a file cannot be used.
    """
    found = inputs(request)
    once = any(each.size is None for each in found)
    kept = request.output is not None and not once
    if once and request.output and storage.is_folder(request.output):
        raise DatasetError(f"{request.source} cannot be read again: name one file as --output")
    if not kept:
        step = STEP_EXPLAINED if request.explain else STEP
        request = replace(request, shard_rows=min(request.shard_rows, step))
    task = task_of(request, classifier.manifest, found)
    if kept:
        return _keep(classifier, task, request.output or "")
    if task.layout.kind.suffix == PARQUET:
        raise DatasetError(
            "Parquet is written from files to a file: name them as --input and --output"
        )
    return _stream(classifier, task, request.output)


def inputs(request: Request) -> list[FileInfo]:
    """Return the files to be read, in order. Raises DatasetError if there are none.

    What is written is none of them, nor is in a folder what is no table.
    """
    if request.output == "":
        raise DatasetError("--output is blank: name a file, or a folder/")
    if request.source == STANDARD_INPUT:
        return [FileInfo(STANDARD_INPUT, STANDARD_INPUT, None)]
    found = storage.find(request.source)
    ours = written(request.output) if request.output else ()
    kept = [each for each in found if not _is_written(each, ours)]
    if is_one_file(request, found):
        if not kept:
            raise DatasetError(f"{request.source} would be read and written: name another --output")
        return kept
    tables = [each for each in kept if is_table(each.name)]
    if not tables:
        raise DatasetError(f"{request.source}: there are no tables")
    if others := [each.name for each in kept if not is_table(each.name)]:
        more = f" and {len(others) - 5:,} more" if len(others) > 5 else ""
        click.echo(f"left out, being no tables: {', '.join(others[:5])}{more}", err=True)
    return tables


def is_one_file(request: Request, found: Sequence[FileInfo]) -> bool:
    """Say whether a file was named, and no folder or pattern."""
    return len(found) == 1 and found[0].name == request.source


def _is_written(found: FileInfo, ours: Sequence[str]) -> bool:
    address = storage.whole(found.address)
    return address in ours or address.startswith(tuple(each for each in ours if each.endswith("/")))


def task_of(request: Request, manifest: Manifest, found: Sequence[FileInfo]) -> ScoringTask:
    """Return how the files `found` become shards of what is asked for."""
    return plan(
        found,
        manifest,
        kind=FileFormat(".txt") if request.source == STANDARD_INPUT else None,
        to=_format(request),
        encoding=request.encoding,
        column=request.column,
        shard_rows=request.shard_rows,
        risk=request.risk,
        explain=request.explain,
        header=request.output is not None and storage.is_folder(request.output),
        many=request.source != STANDARD_INPUT and not is_one_file(request, found),
    )


def _format(request: Request) -> FileFormat | None:
    """Return what kind of table is written; None: what fits the input."""
    named = file_format_of(f"--format .{request.format.lstrip('.')}") if request.format else None
    if request.output is None or storage.is_folder(request.output):
        return named
    try:
        kind = file_format_of(request.output)
    except DatasetError as error:
        raise DatasetError(f"{error}; the name of a folder ends with /") from None
    if named not in (None, kind):
        raise DatasetError(f"{request.output} is no {named}: leave out --format, or name a folder/")
    return kind


def _keep(classifier: Classifier, task: ScoringTask, address: str) -> bool:
    """Score shard by shard, and keep each as soon as it is done."""
    names: list[str] = []
    with Output(address, task) as output, _kept(output), ProgressBar(task) as progress:
        for number in range(len(task.input_groups)):
            for shard in shards(task, number, output.is_known):
                names.append(shard.name)
                if shard.rows:
                    progress.begin(shard)
                    output.keep(score(classifier, task, shard, progress.scored))
                else:
                    progress.skip(shard, output.notes[shard.name].rows)
        output.finish(names)
    return _tell(task, progress, output, names)


def score_on_cluster(
    bundle: Bundle, request: Request, address: str | None = None, cores: int | None = None
) -> bool:
    """Do the same as `score_files` on the Ray cluster at `address`, by default this machine alone.

    Each classifier there has so many `cores`. Raises ClusterError if there is no such cluster.
    """
    from reelsense.cluster.machines import connected
    from reelsense.cluster.score_files import Done, score_on_ray

    found = inputs(request)
    if request.output is None or any(each.size is None for each in found):
        raise DatasetError("--cluster goes with files: --input and --output, none of them a pipe")
    task = task_of(request, bundle.manifest, found)
    seen: set[str] = set()
    with (
        Output(request.output, task) as output,
        _kept(output),
        connected(address, log_to_driver=False),
        ProgressBar(task) as progress,
    ):

        def note(done: Done) -> None:
            if done.shard.name in seen:  # in an earlier round
                return
            seen.add(done.shard.name)
            if done.note:
                progress.add(done.shard, done.note.rows)
            else:
                progress.skip(done.shard, output.notes[done.shard.name].rows)

        score_on_ray(bundle, task, output, cores=cores, on_done=note)
    return _tell(task, progress, output, seen)


@contextmanager
def _kept(output: Output) -> Iterator[None]:
    """Say what becomes of what is there if the block is cut off."""
    try:
        yield
    except BaseException as error:
        output.discard_if_empty()
        if output.notes and isinstance(error, Exception | KeyboardInterrupt):
            click.echo("what was scored is kept: the same command goes on from there", err=True)
        raise


def _tell(task: ScoringTask, progress: ProgressBar, output: Output, names: Iterable[str]) -> bool:
    progress.tell(output.address)
    notes = [output.notes[name] for name in names]
    rows, bad = sum(note.rows for note in notes), sum(note.bad for note in notes)
    _tell_none(task, rows)
    return _tell_bad(rows, bad, sum(note.undecoded for note in notes), output)


def _tell_none(task: ScoringTask, rows: int) -> None:
    """Say it where there were no rows."""
    if not rows:
        names = [each.name for unit in task.input_groups for each in unit]
        click.echo(f"{', '.join(names[:5])}: there are no rows in it", err=True)


def _tell_bad(rows: int, bad: int, undecoded: int, output: Output | None = None) -> bool:
    """Say how many rows could not be scored; return whether any could, or there was none."""
    if bad:
        which = "1 row" if bad == 1 else f"{bad:,} rows"
        said = f"{which} could not" if bad < rows else f"none of {which} could"
        where = f", and {output.bad_rows}" if output else ""
        click.echo(f"{said} be scored: see the column error{where}", err=True)
    if undecoded:
        which = "1 row is" if undecoded == 1 else f"{undecoded:,} rows are"
        click.echo(
            f"{which} not UTF-8 text: name the encoding, as --encoding windows-1252", err=True
        )
    return bad < rows or not rows


def _stream(classifier: Classifier, task: ScoringTask, output: str | None) -> bool:
    """Score what cannot be read again, or is not kept."""
    rows = bad = undecoded = 0
    target = nullcontext(sys.stdout.buffer) if output is None else storage.replacing(output)
    with ProgressBar(task) as progress, target as file:
        every = (
            shard for number in range(len(task.input_groups)) for shard in shards(task, number)
        )
        for n, shard in enumerate(every):
            if n == 0:
                task = with_columns_of(task, shard)
            progress.begin(shard)
            scored = score(classifier, replace(task, header=n == 0), shard, progress.scored)
            file.write(scored.table)
            file.flush()
            rows += scored.rows
            bad += len(scored.bad)
            undecoded += scored.undecoded
        if not rows:
            file.write(empty(task.layout))
    _tell_none(task, rows)
    return _tell_bad(rows, bad, undecoded)
