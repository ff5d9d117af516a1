"""The command `reelsense models`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from reelsense.text.controls import escape_controls

if TYPE_CHECKING:
    from reelsense.registry import InstalledModel


@click.command(short_help="List the installed models.")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def models(as_json: bool) -> None:
    """List the installed models and verify their files. --model accepts their names.

    ACCURACY: accuracy on the official IMDb test set, if measured.
    """
    from reelsense.registry import installed

    found = installed()
    if as_json:
        click.echo(json.dumps(list(map(_as_dict, found)), indent=2))
        return
    lines = [("NAME", "MODEL", "VERSION", "SIZE", "ACCURACY", "LABELS", "FOLDER")]
    for model in found:
        if model.bundle:
            manifest, accuracy = model.bundle.manifest, model.bundle.manifest.test_accuracy
            lines.append(
                (
                    model.name,
                    manifest.name,
                    manifest.version,
                    f"{model.bundle.size / 1e6:.0f} MB",
                    "-" if accuracy is None else f"{accuracy:.2%}",
                    ", ".join(manifest.labels),
                    str(model.folder),
                )
            )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (f"{cell:{width}}" for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
    for model in found:
        if model.error:
            click.echo(f"\n{escape_controls(f'{model.name} cannot be loaded: {model.error}')}")


def _as_dict(model: InstalledModel) -> dict[str, object]:
    manifest = model.bundle.manifest if model.bundle else None
    return {
        "name": model.name,
        "model": manifest and manifest.name,
        "version": manifest and manifest.version,
        "size": model.bundle and model.bundle.size,
        "labels": manifest.labels if manifest else [],
        "test_accuracy": manifest and manifest.test_accuracy,
        "folder": str(model.folder) if model.folder else None,
        "error": model.error,
    }
