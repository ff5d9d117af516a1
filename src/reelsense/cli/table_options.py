"""Options for tables and labelled data sets that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reelsense.cli.options import PATH
from reelsense.text.controls import escape_controls

if TYPE_CHECKING:
    from reelsense.bundle import Manifest
    from reelsense.datasets.labelled import LabelledData
    from reelsense.evaluation.calibrate import ValidationSet
    from reelsense.tables.reading import ReadOptions
    from reelsense.tables.records import Quoting


split = click.option(
    "--split",
    type=click.Choice(["validation", "all"]),
    default="validation",
    show_default=True,
    help="Part of the data. Use all for a table that the model was not trained on.",
)


def validation_data(
    source: LabelledData, split: str, sets_folder: Path | None, manifest: Manifest
) -> list[ValidationSet]:
    """Return the sets to calibrate on: the part `split` of `source`, and single sentences.

    The validation set is that of the model with `manifest`.
    """
    from reelsense.evaluation.calibrate import ValidationSet, sentence_set

    source = source.split_as(manifest.provenance.get("recipe", {}))
    sets = [ValidationSet(source.title(split), source.part(split))]
    return [*sets, sentence_set(sets_folder)] if sets_folder else sets


def read_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add options on how tables are written; the command gets their values by name."""
    for option in reversed(_READ_OPTIONS):
        command = option(command)
    return command


_READ_OPTIONS = (
    click.option(
        "--input-format",
        help="Format of the files, for example csv.gz. Default: that of their names.",
    ),
    click.option(
        "--encoding", help="Encoding of text files, for example windows-1252. Default: UTF-8."
    ),
    click.option(
        "--delimiter",
        callback=lambda _context, _parameter, value: {"\\t": "\t", "tab": "\t"}.get(value, value),
        help="Character between the columns of a .csv or .tsv, for example ';' or tab. Default: "
        "detected.",
    ),
    click.option(
        "--quoting",
        type=click.Choice(["doubled", "backslash", "none"]),
        help='How a .csv or .tsv writes a quote inside a quoted field: doubled (""), with a '
        "backslash, or none if it has no quoted fields. Default: detected.",
    ),
    click.option(
        "--no-header",
        "header",
        flag_value=False,
        default=True,
        help="The first line is a row, not the names of the columns: select columns by number.",
    ),
    click.option("--sheet", help="Sheet of an .xlsx file. Default: the first."),
)


def reading(command: Callable[..., None]) -> Callable[..., None]:
    """Add `read_options`; the command gets `reading`, which returns the ReadOptions for a file."""

    @read_options
    @wraps(command)
    def with_reading(
        input_format: str | None,
        encoding: str | None,
        delimiter: str | None,
        quoting: Quoting | None,
        header: bool,  # an option
        sheet: str | None,
        **options: Any,
    ) -> None:
        from reelsense.bulk.locations import input_format_of
        from reelsense.tables.reading import ReadOptions

        def options_for(address: str) -> ReadOptions:
            file_format = input_format_of(address, input_format)
            return ReadOptions(file_format, encoding, delimiter, quoting, header, sheet)

        command(reading=options_for, **options)

    return with_reading


def labelled_data(command: Callable[..., None]) -> Callable[..., None]:
    """Add --data and options for its columns, labels and format; the command gets a `source`."""

    @wraps(command)
    def with_source(sources: Sequence[LabelledData], **options: Any) -> None:
        command(source=sources[0], **options)

    return _with_data(with_source, multiple=False)


def labelled_sets(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of `labelled_data`, with any number of --data; the command gets `sources`."""
    return _with_data(command, multiple=True)


def _with_data(command: Callable[..., None], *, multiple: bool) -> Callable[..., None]:
    @click.option(
        "--data",
        type=PATH,
        required=not multiple,
        multiple=multiple,
        help="Folder of the Large Movie Review Dataset, or a table (.csv, .tsv, .jsonl, .json, "
        ".xlsx or .parquet)." + " Repeatable." * multiple,
    )
    @click.option(
        "--text-column",
        help="Column that contains the texts, by name or number. Default: the one with a usual "
        "name, such as text or review.",
    )
    @click.option(
        "--label-column",
        help="Column that contains the labels. Default: the one with a usual name, such as label.",
    )
    @click.option(
        "--label-map",
        default="",
        help="Other names for labels, for example 1=positive,0=negative. A blank name (n/a=) "
        "means no label.",
    )
    @click.option(
        "--max-bad-rows",
        type=click.FloatRange(0, 1),
        default=0.01,
        show_default=True,
        help="Share of rows without a usable text up to which these rows are skipped.",
    )
    @reading
    @wraps(command)
    def with_sources(
        data: Path | tuple[Path, ...],
        text_column: str | None,
        label_column: str | None,
        label_map: str,
        max_bad_rows: float,
        reading: Callable[[str], ReadOptions],
        **options: Any,
    ) -> None:
        from reelsense.datasets.labelled import LabelledData
        from reelsense.datasets.labelled_table import Labels

        sources = [
            LabelledData(
                path,
                text_column,
                label_column,
                reading(str(path)),
                Labels.parse(label_map),
                max_bad_rows,
                on_message=lambda message: click.echo(escape_controls(message), err=True),
            )
            for path in (data if isinstance(data, tuple) else (data,))
        ]
        command(sources=sources, **options)

    return with_sources
