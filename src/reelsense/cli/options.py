"""Options and checks that several commands share."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from reelsense.text.controls import escape_controls

if TYPE_CHECKING:
    from reelsense.bundle import Manifest
    from reelsense.datasets.labelled import LabelledData
    from reelsense.evaluation.calibrate import ValidationSet
    from reelsense.model_directory import ModelDirectory
    from reelsense.tables.records import Quoting

PATH = click.Path(path_type=Path)


def _complete_model(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete names of installed models; the shell completes folders."""
    from reelsense.registry import names

    found = [name for name in names() if name.startswith(incomplete)]
    # Folders first: in bash they discard the names before them.
    return [CompletionItem(incomplete, type="dir"), *map(CompletionItem, found)]


_model = click.option(
    "--model",
    shell_complete=_complete_model,
    help="Name of an installed model (see `reelsense models`) or folder of a bundle. Default: the "
    "bundled model.",
)

CASCADE_HELP = (
    "Short for --model cascade: the bundled model, and the accurate one for texts it finds "
    "difficult."
)


def model(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose a model; the command gets its name or folder as `model`."""
    return _model(
        click.option("--cascade", "model", flag_value="cascade", help=CASCADE_HELP)(command)
    )


risk = click.option(
    "--risk",
    type=float,
    help="Target error rate, for example 0.02: verdicts below the decision threshold become "
    "unsure. Default: the target error rate of the model.",
)

default_risk = click.option(
    "--default-risk",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Target error rate of requests that do not set one. Default: 0.02, or the next higher one "
    "up to 0.05 that the model can meet; if it cannot meet any, every verdict is unsure.",
)

overwrite = click.option(
    "--overwrite", is_flag=True, help="Replace the bundle in --output, in one step."
)

force = click.option(
    "--force",
    is_flag=True,
    help="Accept texts that the model was trained on: the results are too optimistic.",
)

address = click.option(
    "--address",
    metavar="HOST",
    help="With --cluster: HOST[:PORT] of the cluster's head node, or auto on a node of the "
    "cluster. Default: start a cluster on this machine.",
)

validation_sets = click.option(
    "--evaluation-sets",
    "sets_folder",
    type=PATH,
    help="Also calibrate single sentences, on the SST-2 validation set in this folder (see "
    "`reelsense data fetch evaluation-sets`).",
)


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


def _model_directory(
    _context: click.Context, _parameter: click.Parameter, path: Path | None
) -> ModelDirectory | None:
    from reelsense.model_directory import ModelDirectory

    return ModelDirectory(path) if path else None


def _models_option(required: bool) -> Callable[..., Any]:
    return click.option(
        "--models",
        "directory",
        metavar="DIR",
        type=PATH,
        envvar="REELSENSE_MODELS",
        show_envvar=True,
        required=required,
        callback=_model_directory,
        help="The model directory.",
    )


models_directory, optional_models_directory = _models_option(True), _models_option(False)


class TextCommand(click.Command):
    """A command whose argument is a text, which may start with a dash."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line. The error for an unknown option says how to pass a text."""
        candidates = [arg for arg in args if arg.startswith("-")]  # the parser consumes `args`
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = error.option_name
            text = max(candidates, key=lambda arg: (" " in arg, arg.startswith(name)))
            if error.possibilities and " " not in text:  # a typing error
                raise
            raise click.UsageError(
                f"{error.format_message()} If it is a text, put -- before it: {ctx.command_path} "
                f"-- {shlex.quote(text)}",
                ctx,
            ) from error


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
    @read_options
    @wraps(command)
    def with_sources(  # one argument per option
        data: Path | tuple[Path, ...],
        text_column: str | None,
        label_column: str | None,
        label_map: str,
        max_bad_rows: float,
        input_format: str | None,
        encoding: str | None,
        delimiter: str | None,
        quoting: Quoting | None,
        header: bool,  # an option
        sheet: str | None,
        **options: Any,
    ) -> None:
        from reelsense.bulk.locations import input_format_of
        from reelsense.datasets.labelled import LabelledData
        from reelsense.datasets.labelled_table import Labels
        from reelsense.tables.reading import ReadOptions

        sources = []
        for path in data if isinstance(data, tuple) else (data,):
            file_format = input_format_of(str(path), input_format)
            source = LabelledData(
                path,
                text_column,
                label_column,
                ReadOptions(file_format, encoding, delimiter, quoting, header, sheet),
                Labels.parse(label_map),
                max_bad_rows,
                on_message=lambda message: click.echo(escape_controls(message), err=True),
            )
            sources.append(source)
        command(sources=sources, **options)

    return with_sources


def require(condition: object, message: str) -> None:
    """Raise a usage error with `message` unless `condition` is true."""
    if not condition:
        raise click.UsageError(message)


def warn_if_unreachable(manifest: Manifest, risk: float | None) -> None:
    """Warn if the model of `manifest` cannot meet the target error rate `risk`; None: its own."""
    from reelsense.inference.calibration import decision_thresholds
    from reelsense.prediction import UNSURE

    thresholds = decision_thresholds(manifest, risk)
    unreachable = [
        group.name
        for group, threshold in zip(manifest.groups, thresholds, strict=True)
        if threshold is None
    ]
    if reason := manifest.abstention(risk):
        click.echo(f"warning: {reason} Choose another rate with --risk.", err=True)
    elif unreachable:
        rate = "its default" if risk is None else f"a target error rate of {risk:.2%}"
        click.echo(
            f"warning: the model cannot meet {rate}: every verdict in length group "
            f"{', '.join(unreachable)} is {UNSURE}; choose a higher --risk",
            err=True,
        )


def warn_if_always_unsure(manifest: Manifest) -> None:
    """Warn after calibration if every verdict is unsure by default."""
    if reason := manifest.abstention():
        click.echo(
            f"warning: {reason} Use more texts or a more accurate model, or choose a default with "
            "--default-risk.",
            err=True,
        )
