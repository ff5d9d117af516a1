"""The commands `reelsense push` and `reelsense pull`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from reelsense.cli import options
from reelsense.cli.output import json_output, write_result
from reelsense.errors import BundleError, HubError

if TYPE_CHECKING:
    from reelsense.model_directory import ModelDirectory


@click.command(short_help="Upload a version to the Hugging Face hub.")
@click.argument("repository")
@click.argument("version", default="champion")
@options.models_directory
@click.option(
    "--checkpoint",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Upload this checkpoint too, from which the version was exported. Transformers loads it.",
)
@click.option("--branch", default="main", show_default=True, help="Branch to commit to.")
@click.option("--public", is_flag=True, help="Make a new repository visible to everybody.")
@json_output
def push(
    directory: ModelDirectory,
    repository: str,
    version: str,
    checkpoint: Path | None,
    branch: str,
    public: bool,
    json_file: Path | None,
) -> None:
    """Upload a version of a model directory to a repository of the Hugging Face hub.

    REPOSITORY is NAMESPACE/NAME. It is created, private, if it does not exist. VERSION is a version
    or an alias. Default: champion. The bundle includes the examples for the pages, and hashes of
    the training texts.
    """
    from reelsense import hub

    version = directory.find(version)
    bundle = directory.read(version)
    folder = directory.path / version
    commit = hub.push(
        bundle, folder, repository, checkpoint=checkpoint, branch=branch, public=public
    )
    write_result(json_file, {"version": version, "commit": commit}, f"pushed {version}: {commit}")


@click.command(short_help="Download a version from the Hugging Face hub.")
@click.argument("repository")
@options.models_directory
@click.option("--revision", help="Branch, tag or commit. Default: the default branch.")
@click.option("--challenger", is_flag=True, help="Let the alias challenger refer to it.")
@click.option(
    "--checkpoint",
    type=options.PATH,
    help="New folder for the checkpoint that the repository contains too. Default: not downloaded.",
)
@json_output
def pull(
    directory: ModelDirectory,
    repository: str,
    revision: str | None,
    challenger: bool,
    checkpoint: Path | None,
    json_file: Path | None,
) -> None:
    """Add a bundle in a repository of the Hugging Face hub to a model directory.

    REPOSITORY is NAMESPACE/NAME. The bundle is verified before it is added.
    """
    from reelsense import hub
    from reelsense.bundle import read_bundle
    from reelsense.model_directory import CHALLENGER

    if checkpoint and checkpoint.exists():
        raise HubError(
            f"{checkpoint} exists: choose a new folder for --checkpoint", code="output-exists"
        )
    with TemporaryDirectory(prefix="reelsense-") as temporary:
        folder = Path(temporary) / "bundle"
        hub.pull(repository, folder, revision=revision, checkpoint=checkpoint is not None)
        try:
            if checkpoint:
                hub.copy_checkpoint(read_bundle(folder), folder, repository, checkpoint)
            version = directory.add(folder, CHALLENGER if challenger else None)
        except BundleError as error:
            raise BundleError(
                f"{repository} contains no valid bundle: {error}", code=error.code
            ) from error
    aliases = directory.aliases_of(version)
    lines = [f"added {version}", *(f"{alias}: {version}" for alias in aliases)]
    if checkpoint:
        lines.append(f"checkpoint: {checkpoint}")
    write_result(json_file, {"version": version, "aliases": aliases}, *lines)
