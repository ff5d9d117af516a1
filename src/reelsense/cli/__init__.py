"""The command line. Knows options and messages; every command imports what it needs itself."""

from __future__ import annotations

import sys

import click

from reelsense import __version__
from reelsense.cli.baseline import baseline
from reelsense.cli.calibrate import calibrate
from reelsense.cli.cascade import cascade
from reelsense.cli.config import config
from reelsense.cli.data import data
from reelsense.cli.doctor import doctor
from reelsense.cli.drift import drift
from reelsense.cli.evaluate import evaluate
from reelsense.cli.explain import explain
from reelsense.cli.export import export
from reelsense.cli.feedback import feedback
from reelsense.cli.hub import pull, push
from reelsense.cli.key import key
from reelsense.cli.mcp import mcp
from reelsense.cli.models import models
from reelsense.cli.predict import predict
from reelsense.cli.report import report
from reelsense.cli.retrain import retrain
from reelsense.cli.serve import serve
from reelsense.cli.train import train
from reelsense.errors import ReelsenseError
from reelsense.files import NO_ROOM
from reelsense.text.controls import escape_controls


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="reelsense")
def cli() -> None:
    """Classify texts with a BERT model, by default the sentiment of movie reviews."""


for _command in (
    predict,
    explain,
    report,
    serve,
    config,
    key,
    mcp,
    models,
    doctor,
    feedback,
    push,
    pull,
    evaluate,
    calibrate,
    cascade,
    drift,
    data,
    train,
    retrain,
    export,
    baseline,
):
    cli.add_command(_command)


def main() -> None:
    """Run the command line. Errors of reelsense and of files are one line, with exit code 1."""
    try:
        cli(prog_name="reelsense")
    except ReelsenseError as error:
        _exit(str(error))
    except OSError as error:
        if error.filename is None and error.errno not in NO_ROOM:
            raise
        _exit(f"{error.filename or 'cannot write the output'}: {error.strerror}")


def _exit(reason: str) -> None:
    click.echo(f"reelsense: {escape_controls(reason)}", err=True)
    sys.exit(1)
