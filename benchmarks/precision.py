"""Measure the accuracy cost of int8: a bundle against its checkpoint in PyTorch, fp32.

    python benchmarks/precision.py --data data/aclImdb

Both get the same windows of tokens. Takes two minutes on two cores, or twenty with --split test,
which must be noted in docs/test-set-uses.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from reelsense import Classifier
from reelsense.bundle import DEFAULT_BUNDLE, read_bundle
from reelsense.datasets.labelled import LabelledData
from reelsense.evaluation.scorer import likeliest_labels
from reelsense.training.onnx_network import torch_network
from reference import CHECKPOINT, load_checkpoint


def main() -> None:
    """Print the accuracy of both and their agreement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--model", type=Path, default=DEFAULT_BUNDLE, help="a bundle")
    options = parser.parse_args()

    bundle = read_bundle(options.model)
    reviews = LabelledData(options.data).part(options.split)
    texts = [review.text for review in reviews]
    targets = np.array([review.label for review in reviews])
    int8 = likeliest_labels(Classifier(bundle), texts, "bundle")
    exact = Classifier(bundle, network=torch_network(load_checkpoint(bundle, options.checkpoint)))
    fp32 = likeliest_labels(exact, texts, "fp32")
    print(f"accuracy on {len(texts):,} reviews")
    print(f"bundle {bundle.manifest.version}: {(int8 == targets).mean():.3%}")
    print(f"its checkpoint in PyTorch, fp32: {(fp32 == targets).mean():.3%}")
    print(f"agreement: {(int8 == fp32).mean():.3%}")


if __name__ == "__main__":
    main()
