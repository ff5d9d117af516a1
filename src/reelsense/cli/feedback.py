"""The commands `reelsense feedback ...`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reelsense.cli import options, table_options
from reelsense.cli.setting_flags import config_file, effective_settings
from reelsense.files import atomic_bytes, write_atomically
from reelsense.text.controls import escape_controls

if TYPE_CHECKING:
    from reelsense.feedback.records import Feedback
    from reelsense.jobs.database import Database
    from reelsense.tables.reading import ReadOptions

STANDARD_OUTPUT = "-"

_MAX_TEXT = 60  # characters in the list


class _Time(click.ParamType[float]):
    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(
                f'invalid time "{value}": expected 2026-11-30 or 2026-11-30T12:00+01:00 (without '
                "an offset: UTC)",
                param,
                ctx,
            )
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


_json = click.option(
    "--json", "json_file", help="Write the result as JSON to this file; - for standard output."
)

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


def _with_database(command: Callable[..., None]) -> Callable[..., None]:
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
        from reelsense.jobs.database import Database
        from reelsense.jobs.engine import default_url

        with closing(Database(url or default_url())) as opened:
            command(opened, **values)

    return with_database


def _output(lines: list[str], value: object, json_file: str | None) -> None:
    """Print `lines`, and write `value` as JSON: to standard output instead, or to a file too."""
    document = json.dumps(value, indent=2)
    if json_file == STANDARD_OUTPUT:
        click.echo(document)
        return
    for line in lines:
        click.echo(line)
    if json_file:
        write_atomically(Path(json_file), f"{document}\n")


@click.group()
def feedback() -> None:
    """Read, exchange and delete the feedback that a server has stored."""


@feedback.command("list")
@_filters
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True)
@click.option("--offset", type=click.IntRange(min=0), default=0, show_default=True)
@_json
@_with_database
def list_feedback(database: Database, json_file: str | None, **query: Any) -> None:
    """List feedback, latest first."""
    from reelsense.feedback.queries import FeedbackQuery, page

    found = page(database, FeedbackQuery(**query))
    lines = list(map(_line, found.feedback))
    shown = f"{len(lines):,} of {found.total:,}"
    entries = [_as_dict(entry) for entry in found.feedback]
    _output([*lines, shown], {"total": found.total, "feedback": entries}, json_file)


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
    return escape_controls("  ".join(filter(None, parts)))


def _as_dict(entry: Feedback) -> dict[str, Any]:
    return asdict(entry) | {"created": _time(entry.created).isoformat()}


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@feedback.command("export")
@click.option(
    "--output",
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
@_json
@_with_database
def export_feedback(database: Database, output: str, json_file: str | None, **query: Any) -> None:
    """Export feedback as a table, oldest first. `feedback import` reads it."""
    options.require(
        STANDARD_OUTPUT not in (output, json_file) or output != json_file,
        "only one of --output and --json can be standard output",
    )
    from reelsense.feedback.exchange import write_table
    from reelsense.feedback.queries import FeedbackQuery, each
    from reelsense.tables.reading import FileFormat, file_format_of

    entries = each(database, FeedbackQuery(**query))
    if output == STANDARD_OUTPUT:
        count = write_table(entries, FileFormat(".jsonl"), sys.stdout.buffer)
    else:
        file_format = file_format_of(output)
        with atomic_bytes(Path(output), 0o600) as file:  # it may contain private texts
            count = write_table(entries, file_format, file)
    lines = [] if output == STANDARD_OUTPUT else [f"{output}: {count:,} rows"]
    _output(lines, {"exported": count}, json_file)


@feedback.command("import")
@click.argument("table", type=options.PATH)
@click.option("--text-column", help="Column with the texts, by name or number. Default: text.")
@click.option("--label-column", help="Column with the labels. Default: label.")
@click.option(
    "--source", default="import", show_default=True, help="Source of rows without a column source."
)
@table_options.reading
@_json
@_with_database
def import_feedback(
    database: Database,
    table: Path,
    text_column: str | None,
    label_column: str | None,
    source: str,
    json_file: str | None,
    reading: Callable[[str], ReadOptions],
) -> None:
    """Import feedback from TABLE, an exported or another labelled table, with its texts.

    Rows that are stored already are skipped. If a row is invalid, nothing is imported.
    """
    from reelsense.feedback.exchange import add_records, read_records

    records = read_records(table, text_column, label_column, reading(str(table)), source)
    added = add_records(database, records)
    counts = {"imported": added, "skipped": len(records) - added}
    _output(
        [f"{added:,} rows imported, {counts['skipped']:,} were stored already"], counts, json_file
    )


@feedback.command()
@_json
@_with_database
def stats(database: Database, json_file: str | None) -> None:
    """Count the stored feedback and predictions, and measure the accuracy.

    The accuracy is measured on the random items of the review queue, and therefore without bias.
    """
    from reelsense.feedback.queries import stats as count

    counts = count(database)
    lines = [f"feedback: {counts.total:,} ({counts.with_text:,} with text)"]
    for title, values in (("label", counts.labels), ("source", counts.sources)):
        lines += [
            escape_controls(f"  {title} {name}: {number:,}") for name, number in values.items()
        ]
    lines.append(f"correct predictions: {counts.correct:,} of {counts.compared:,} with feedback")
    lines.append(f"stored predictions: {counts.predictions:,}")
    for measured in counts.measured:
        lines.append(
            f"accuracy of {measured.model} {measured.version}: {measured.accuracy}, from "
            f"{measured.accuracy.total:,} random items ({measured.source})"
        )
    if not counts.measured:
        lines.append("accuracy: not measured, 0 random items reviewed (page /queue)")
    _output(lines, asdict(counts), json_file)


@feedback.command()
@click.option(
    "--id", "ids", multiple=True, help="Id of feedback or of a prediction; can be repeated."
)
@click.option("--before", type=_Time(), help="Everything from before this time.")
@click.option(
    "--text",
    help="Everything about this text, in any case and spacing; - to read it from standard input.",
)
@_json
@_with_database
def forget(
    database: Database,
    ids: tuple[str, ...],
    before: float | None,
    text: str | None,
    json_file: str | None,
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
        content = sys.stdin.read() if text == STANDARD_OUTPUT else text
        deleted.append(queries.forget_text(database, content))
    queries.purge(database)  # also if nothing was deleted: an earlier attempt may have been killed
    counts = {
        name: sum(getattr(part, name) for part in deleted) for name in ("predictions", "feedback")
    }
    line = f"deleted: predictions {counts['predictions']:,}, feedback {counts['feedback']:,}"
    _output([line], counts, json_file)
