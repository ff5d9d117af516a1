"""The command `reelsense baseline`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reelsense.cli import table_options

if TYPE_CHECKING:
    from reelsense.datasets.labelled import LabelledData


@click.command()
@table_options.labelled_data
@click.option("--test", "on_test", is_flag=True, help="Evaluate on the official test set too.")
def baseline(source: LabelledData, on_test: bool) -> None:
    """Train and evaluate a bag-of-words baseline.

    It is trained on the same reviews as BERT, for comparison. `reelsense evaluate --compare-to
    bag-of-words` compares it with a model in detail.
    """
    from reelsense.evaluation.baseline import train_baseline
    from reelsense.evaluation.predictions import predict_labelled

    model = train_baseline(*source.for_training())
    click.echo(f"bag of 1- and 2-grams, tf-idf, logistic regression (C = {model.strength:g})")
    click.echo(f"validation accuracy {model.validation_accuracy:.2%}")
    if on_test:
        correct = predict_labelled(model, source.part("test")).correct
        click.echo(f"test accuracy       {correct.mean():.2%}")
