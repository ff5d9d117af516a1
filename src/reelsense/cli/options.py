"""Options and checks that several commands share."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from reelsense.bundle import Manifest
    from reelsense.model_directory import ModelDirectory

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
