"""The commands `reelsense data ...`."""

from __future__ import annotations

from pathlib import Path

import click

from reelsense.cli import options


@click.group()
def data() -> None:
    """Fetch datasets."""


@data.command()
@click.argument("dataset", type=click.Choice(["imdb", "evaluation-sets"]))
@click.option(
    "--from",
    "copy",
    type=options.PATH,
    help="Use a copy instead of downloading: for imdb, aclImdb_v1.tar.gz or its unpacked folder; "
    "for evaluation-sets, a copy of the folder data/evaluation-sets.",
)
@click.option(
    "--output",
    type=options.PATH,
    default=Path("data"),
    show_default=True,
    help="Folder in which the dataset folder is created.",
)
def fetch(dataset: str, copy: Path | None, output: Path) -> None:
    """Download and verify a dataset.

    imdb: the Large Movie Review Dataset (84 MB), for training and testing.

    evaluation-sets: further sets for `reelsense evaluate` and for training (8 MB). Each has its own
    terms: IMDb contrast sets (no licence file), counterfactually augmented reviews (Apache-2.0),
    the audit of IMDb's test labels (Apache-2.0), SST-2 (the terms of GLUE).
    """
    from reelsense.datasets.fetch import fetch_evaluation_sets, fetch_imdb

    if dataset == "imdb":
        click.echo(f"imdb is ready: --data {fetch_imdb(output, copy)}")
    else:
        folder = fetch_evaluation_sets(output, copy)
        click.echo(f"evaluation-sets are ready: --evaluation-sets {folder}")
