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
    "given",
    type=options.PATH,
    help="What you have: of imdb, aclImdb_v1.tar.gz or its folder; else the folder "
    "data/evaluation-sets of another machine.",
)
@click.option("--output", type=options.PATH, default=Path("data"), show_default=True)
def fetch(dataset: str, given: Path | None, output: Path) -> None:
    """Download and verify a dataset.

    imdb: the Large Movie Review Dataset (84 MB), unpacked, to train and to test on.

    evaluation-sets: what `reelsense evaluate` measures robustness on (8 MB). Each has its own
    terms: IMDb contrast sets (no licence file), counterfactually augmented reviews (Apache-2.0),
    the audit of IMDb's test labels (Apache-2.0), SST-2 (the terms of GLUE).
    """
    from reelsense.datasets.fetch import fetch_evaluation_sets, fetch_imdb

    if dataset == "imdb":
        click.echo(f"imdb is ready: --data {fetch_imdb(output, given)}")
    else:
        folder = fetch_evaluation_sets(output, given)
        click.echo(f"evaluation-sets are ready: --evaluation-sets {folder}")
