"""The commands `reelsense models ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reelsense.cli import options
from reelsense.cli.output import STDOUT, json_output, table, write_result
from reelsense.cli.promote import promote
from reelsense.text.controls import escape_controls

if TYPE_CHECKING:
    from reelsense.model_directory import ModelDirectory
    from reelsense.registry import InstalledModel


@click.group(invoke_without_command=True, short_help="List installed models, manage versions.")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List the installed models, or manage the versions in a model directory.

    A model directory contains versions (bundles that never change) and two aliases: champion, which
    `reelsense serve --models` follows, and challenger. Without a command: `reelsense models list`.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_models, directory=None, json_file=STDOUT if as_json else None)


models.add_command(promote)


@models.command("list")
@options.optional_models_directory
@json_output
def list_models(directory: ModelDirectory | None, json_file: Path | None) -> None:
    """List and verify the models of a directory or, without --models, the installed ones.

    --model accepts the names of installed models. ACCURACY: accuracy on the official IMDb test set,
    if measured.
    """
    from reelsense.registry import installed

    found = directory.models() if directory else installed()
    if json_file != STDOUT:
        for line in _table(found, directory):
            click.echo(escape_controls(line))
        for model in found:
            if model.error:
                reason = f"{model.name} cannot be loaded: {model.error}"
                click.echo(f"\n{escape_controls(reason)}")
    if json_file:
        write_result(
            json_file,
            [_entry(model, directory) if directory else _as_dict(model) for model in found],
        )


@models.command()
@click.argument("version", default="champion")
@options.models_directory
@json_output
def show(directory: ModelDirectory, version: str, json_file: Path | None) -> None:
    """Show a version of a model directory, and the decisions on it.

    VERSION is a version or an alias. Default: champion.
    """
    version = directory.find(version)
    entry = _entry(directory.load(version), directory)
    entry["decisions"] = [
        decision
        for decision in directory.decisions()
        if version in (decision["version"], decision["champion"])
    ]
    lines = [f"{name:14} {_shown(value)}" for name, value in entry.items() if name != "decisions"]
    lines += [f"{'decision':14} {_describe(decision)}" for decision in entry["decisions"]]
    write_result(json_file, entry, *lines)


@models.command()
@click.argument("bundle", type=options.PATH)
@click.option("--challenger", is_flag=True, help="Let the alias challenger refer to it.")
@options.models_directory
@json_output
def add(directory: ModelDirectory, bundle: Path, challenger: bool, json_file: Path | None) -> None:
    """Copy a bundle to a model directory, which is created if it does not exist.

    BUNDLE is the folder of a bundle. Its version is a hash of all that affects its predictions.
    """
    from reelsense.model_directory import CHALLENGER

    version = directory.add(bundle, CHALLENGER if challenger else None)
    aliases = directory.aliases_of(version)
    lines = [f"added {version}", *(f"{alias}: {version}" for alias in aliases)]
    write_result(json_file, {"version": version, "aliases": aliases}, *lines)


@models.command()
@click.argument("names", metavar="[VERSION]...", nargs=-1)
@options.models_directory
@json_output
def verify(directory: ModelDirectory, names: Sequence[str], json_file: Path | None) -> None:
    """Verify that versions are complete and unchanged; by default all, and the aliases.

    The exit code is 1 if one of them is not.
    """
    versions = [directory.find(name) for name in names] or directory.versions()
    errors = {version: directory.load(version).error for version in versions}
    for alias, version in directory.aliases().items():
        if not names and version not in errors:
            errors[alias] = f"refers to version {version}, which does not exist"
    result = [{"name": name, "error": error} for name, error in errors.items()]
    write_result(json_file, result, *(f"{name}  {e or 'valid'}" for name, e in errors.items()))
    if any(errors.values()):
        sys.exit(1)


@models.command()
@options.models_directory
@json_output
def rollback(directory: ModelDirectory, json_file: Path | None) -> None:
    """Return to the previous champion. A running server follows within about two seconds."""
    version = directory.rollback()
    write_result(json_file, {"champion": version}, f"champion: {version}")


@models.command()
@click.argument("version")
@options.models_directory
@json_output
def remove(directory: ModelDirectory, version: str, json_file: Path | None) -> None:
    """Delete a version that neither an alias nor the next rollback needs."""
    version = directory.find(version)
    directory.remove(version)
    write_result(json_file, {"removed": version}, f"removed {version}")


def _table(models: Sequence[InstalledModel], directory: ModelDirectory | None) -> list[str]:
    """Return the lines of a table of the models that can be loaded."""
    first = "ALIAS" if directory else "NAME"
    rows = [(first, "MODEL", "VERSION", "SIZE", "ACCURACY", "LABELS", "FOLDER")]
    for model in models:
        if model.bundle:
            manifest, accuracy = model.bundle.manifest, model.bundle.manifest.test_accuracy
            rows.append(
                (
                    _shown(directory.aliases_of(model.name)) if directory else model.name,
                    manifest.name,
                    manifest.version,
                    f"{model.bundle.size / 1e6:.0f} MB",
                    "-" if accuracy is None else f"{accuracy:.2%}",
                    ", ".join(manifest.labels),
                    str(model.folder),
                )
            )
    return table(rows)


def _entry(model: InstalledModel, directory: ModelDirectory) -> dict[str, Any]:
    """Return the description of a version of `directory`."""
    entry = _as_dict(model)
    return {"version": entry.pop("name"), "aliases": directory.aliases_of(model.name)} | {
        key: value for key, value in entry.items() if key != "version"
    }


def _as_dict(model: InstalledModel) -> dict[str, Any]:
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


def _shown(value: object) -> str:
    return ", ".join(value) if isinstance(value, list | tuple) and value else str(value or "-")


def _describe(decision: dict[str, Any]) -> str:
    """Return a decision in one line."""
    change = f"{decision['champion'] or 'none'} -> {decision['version']}"
    outcome = "" if decision.get("accepted", True) else ", rejected"
    forced = ", forced" if decision.get("forced") else ""
    return f"{decision['time']}  {decision['action']} {change}{outcome}{forced}"
