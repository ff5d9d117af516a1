"""The command `reelsense models`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from reelsense.registry import InstalledModel


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """An installed model; the field names are those of --json."""

    name: str
    model: str | None = None
    version: str | None = None
    size: int | None = None
    labels: tuple[str, ...] = ()
    test_accuracy: float | None = None
    folder: str | None = None
    error: str | None = None


@click.command(short_help="List the installed models.")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def models(as_json: bool) -> None:
    """List the installed models and verify their files. --model accepts their names.

    ACCURACY is that on the official test set, if the model was evaluated on it.
    """
    from reelsense.registry import installed

    rows = [_row(model) for model in installed()]
    if as_json:
        click.echo(json.dumps(list(map(asdict, rows)), indent=2))
        return
    header = ("NAME", "MODEL", "VERSION", "SIZE", "ACCURACY", "LABELS", "FOLDER")
    lines = [header, *(_cells(row) for row in rows if not row.error)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (f"{cell:{width}}" for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
    for row in rows:
        if row.error:
            click.echo(f"\n{row.name} cannot be loaded: {row.error}")


def _row(model: InstalledModel) -> _Row:
    folder = str(model.folder) if model.folder else None
    if model.bundle is None:
        return _Row(name=model.name, folder=folder, error=model.error)
    manifest = model.bundle.manifest
    return _Row(
        name=model.name,
        model=manifest.name,
        version=manifest.version,
        size=model.bundle.size,
        labels=manifest.labels,
        test_accuracy=manifest.test_accuracy,
        folder=folder,
    )


def _cells(row: _Row) -> tuple[str, ...]:
    accuracy = "-" if row.test_accuracy is None else f"{row.test_accuracy:.2%}"
    size = f"{(row.size or 0) / 1e6:.0f} MB"
    labels = ", ".join(row.labels)
    return (row.name, row.model or "", row.version or "", size, accuracy, labels, row.folder or "")
