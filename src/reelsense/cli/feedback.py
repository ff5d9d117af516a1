"""The commands `reelsense feedback ...`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reelsense.cli import options, table_options
from reelsense.cli.output import PRIVATE, STDOUT, json_output, write_result
from reelsense.cli.setting_flags import config_file, effective_settings
from reelsense.errors import StoreError
from reelsense.files import atomic_bytes
from reelsense.text.urls import without_secrets

if TYPE_CHECKING:
    from reelsense.feedback.records import Feedback
    from reelsense.jobs.database import Database
    from reelsense.tables.reading import ReadOptions

_MAX_TEXT = 60  # characters in the list


class _Time(click.ParamType[float]):
    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        from reelsense.feedback.records import seconds_from

        try:
            return seconds_from(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_FILTERS = (
    click.option("--label", help="Only feedback with this label."),
    click.option("--source", help="Only feedback from this source."),
    click.option("--version", help="Only feedback on predictions of this version of the model."),
    click.option("--since", type=_Time(), help="Only feedback from this time on."),
    click.option("--before", type=_Time(), help="Only feedback before this time."),
    click.option(
        "--differs", is_flag=True, help="Only feedback whose label differs from the prediction."
    ),
)


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    """Add options that select feedback; the command gets their values by name."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def _with_database(
    command: Callable[..., None], *, must_exist: bool = False
) -> Callable[..., None]:
    """Add options for the database; the command gets the opened one."""

    @click.option(
        "--database",
        help="Database of the server. Default: that of the settings (REELSENSE_DATABASE, or the "
        "settings file), otherwise the default of `reelsense serve`.",
    )
    @config_file
    @wraps(command)
    def with_database(database: str | None, file: Path | None, **values: Any) -> None:
        url = effective_settings(file, {"database": database}).settings.database
        from reelsense.jobs.database import Database, stored_revision
        from reelsense.jobs.engine import default_url

        url = url or default_url()
        if must_exist and stored_revision(url) is None:
            raise StoreError(
                f"database {without_secrets(url)} does not exist: pass that of the server as "
                "--database",
                code="no-such-database",
            )
        with closing(Database(url)) as opened:
            command(opened, **values)

    return with_database


@click.group()
def feedback() -> None:
    """Read, exchange and delete the feedback that a server has stored."""


@feedback.command("list")
@_filters
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True)
@click.option("--offset", type=click.IntRange(min=0), default=0, show_default=True)
@json_output
@_with_database
def list_feedback(database: Database, json_file: Path | None, **query: Any) -> None:
    """List feedback, latest first."""
    from reelsense.feedback.queries import FeedbackQuery, page

    found = page(database, FeedbackQuery(**query))
    lines = list(map(_line, found.feedback))
    shown = f"{len(lines):,} of {found.total:,}"
    result = {"total": found.total, "feedback": [_as_dict(entry) for entry in found.feedback]}
    write_result(json_file, result, *lines, shown, mode=PRIVATE)


def _line(entry: Feedback) -> str:
    given = [entry.label, None if entry.stars is None else f"{entry.stars:g} stars"]
    parts = [
        entry.id,
        f"{_time(entry.created):%Y-%m-%d %H:%M}",
        ", ".join(filter(None, given)),
        f"(predicted {entry.predicted.label})" if entry.predicted else "",
        f"[{entry.source}]",
        (entry.text or "")[:_MAX_TEXT],
        f"- {entry.comment[:_MAX_TEXT]}" if entry.comment else "",
    ]
    return "  ".join(filter(None, parts))


def _as_dict(entry: Feedback) -> dict[str, Any]:
    return asdict(entry) | {"created": _time(entry.created).isoformat()}


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@feedback.command("export")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    required=True,
    help="Table to write: .csv, .tsv or .jsonl (each also .gz), or - for .jsonl on standard "
    "output.",
)
@click.option(
    "--for-training",
    is_flag=True,
    help="Only feedback with a label whose text is stored: --data of `reelsense train`. Labels "
    "from the review queue replace others.",
)
@_filters
@json_output
@_with_database
def export_feedback(database: Database, output: Path, json_file: Path | None, **query: Any) -> None:
    """Export feedback as a table, oldest first. `feedback import` reads it."""
    options.require(
        output != STDOUT or json_file != STDOUT,
        "only one of --output and --json can be standard output",
    )
    from reelsense.feedback.exchange import export_format, write_table
    from reelsense.feedback.queries import FeedbackQuery, each

    entries = each(database, FeedbackQuery(**query))
    if output == STDOUT:
        count = write_table(entries, export_format("feedback.jsonl"), sys.stdout.buffer)
        lines = []
    else:
        file_format = export_format(str(output))
        with atomic_bytes(output, PRIVATE) as file:
            count = write_table(entries, file_format, file)
        lines = [f"{output}: {count:,} rows"]
    write_result(json_file, {"exported": count}, *lines)


@feedback.command("import")
@click.argument("table", type=options.PATH)
@click.option("--text-column", help="Column with the texts, by name or number. Default: text.")
@click.option("--label-column", help="Column with the labels. Default: label.")
@click.option(
    "--source", default="import", show_default=True, help="Source of rows without a column source."
)
@table_options.reading
@json_output
@_with_database
def import_feedback(
    database: Database,
    table: Path,
    text_column: str | None,
    label_column: str | None,
    source: str,
    json_file: Path | None,
    reading: Callable[[str], ReadOptions],
) -> None:
    """Import feedback from TABLE, an exported or another labelled table, with its texts.

    Rows that are stored already are skipped. If a row is invalid, nothing is imported.
    """
    from reelsense.feedback.exchange import add_records, read_records

    records = read_records(table, text_column, label_column, reading(str(table)), source)
    added = add_records(database, records)
    counts = {"imported": added, "skipped": len(records) - added}
    line = f"{added:,} rows imported, {counts['skipped']:,} were stored already"
    write_result(json_file, counts, line)


@feedback.command()
@json_output
@_with_database
def stats(database: Database, json_file: Path | None) -> None:
    """Count the stored feedback and predictions, and measure the accuracy.

    The accuracy is measured on the random items of the review queue, and therefore without bias.
    """
    from reelsense.feedback.queries import stats as count

    counts = count(database)
    lines = [f"feedback: {counts.total:,} ({counts.with_text:,} with text)"]
    for title, values in (("label", counts.labels), ("source", counts.sources)):
        lines += [f"  {title} {name}: {number:,}" for name, number in values.items()]
    lines.append(f"correct predictions: {counts.correct:,} of {counts.compared:,} with feedback")
    lines.append(f"stored predictions: {counts.predictions:,}")
    for measured in counts.measured:
        lines.append(
            f"accuracy of {measured.model} {measured.version}: {measured.accuracy}, from "
            f"{measured.accuracy.total:,} random items ({measured.source})"
        )
    if not counts.measured:
        lines.append("accuracy: not measured, 0 random items reviewed (page /queue)")
    write_result(json_file, asdict(counts), *lines)


@feedback.command()
@click.option(
    "--id", "ids", multiple=True, help="Id of feedback or of a prediction; can be repeated."
)
@click.option("--before", type=_Time(), help="Everything from before this time.")
@click.option(
    "--text",
    help="Everything about this text, in any case and spacing; - to read it from standard input.",
)
@json_output
@partial(_with_database, must_exist=True)  # a mistyped name must not look like a deletion
def forget(
    database: Database,
    ids: tuple[str, ...],
    before: float | None,
    text: str | None,
    json_file: Path | None,
) -> None:
    """Delete feedback and stored predictions permanently.

    In SQLite, the data is also erased from the write-ahead log and from free pages. Backups and the
    texts of jobs are not changed.
    """
    options.require(ids or before is not None or text is not None, "pass --id, --before or --text")
    from reelsense.feedback import queries

    deleted = [queries.forget_id(database, stored_id) for stored_id in ids]
    if before is not None:
        deleted.append(queries.forget_before(database, before))
    if text is not None:
        content = sys.stdin.read() if text == "-" else text
        deleted.append(queries.forget_text(database, content))
    queries.purge(database)  # also if nothing was deleted: an earlier attempt may have been killed
    counts = {
        name: sum(getattr(part, name) for part in deleted) for name in ("predictions", "feedback")
    }
    line = f"deleted: predictions {counts['predictions']:,}, feedback {counts['feedback']:,}"
    write_result(json_file, counts, line)
