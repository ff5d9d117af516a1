"""The reference for all comparisons: the checkpoint in PyTorch, fp32, and its labels."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from reelsense.bundle import DEFAULT_BUNDLE, NETWORK, Bundle, read_bundle
from reelsense.datasets.labelled import LabelledData
from reelsense.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINT = ROOT / "checkpoints" / "default"


def sample_texts(dataset: Path, part: str, count: int) -> list[str]:
    """Return a fixed sample of at most `count` reviews of a part of the dataset."""
    texts = [review.text for review in LabelledData(dataset).part(part)]
    return random.Random(0).sample(texts, min(count, len(texts)))


def digest(parts: Iterable[bytes]) -> str:
    """Return a hexadecimal digest of `parts`."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()


def weights() -> str:
    """Return a digest of the weights of checkpoint and bundle."""
    files = (CHECKPOINT / "model.safetensors", DEFAULT_BUNDLE / NETWORK)
    return digest(path.read_bytes() for path in files)


def load_checkpoint(bundle: Bundle, checkpoint: Path = CHECKPOINT) -> Any:
    """Return the PyTorch network that `bundle` was made from."""
    # Importing PyTorch takes seconds and memory, which would disturb other measurements.
    from reelsense.training.checkpoint import read_metadata
    from reelsense.training.model import load_model

    ratings, labels = read_metadata(checkpoint)["ratings"], bundle.manifest.labels
    model = load_model(checkpoint, labels, dropout=0, attention_dropout=0, ratings=ratings)
    return model.train(False)


def reference_labels(texts: Sequence[str], folder: Path) -> list[str]:
    """Return the labels of the checkpoint for `texts`, without truncation.

    They are cached in `folder`: 1,500 reviews take some minutes.
    """
    key = digest([weights().encode(), *(text.encode() for text in texts)])[:16]
    path = folder / f"reference-{key}.json"
    if not path.exists():
        from reelsense.evaluation.scorer import likeliest_labels
        from reelsense.inference.classifier import Classifier
        from reelsense.training.onnx_network import torch_network

        bundle = read_bundle(DEFAULT_BUNDLE)
        exact = Classifier(bundle, network=torch_network(load_checkpoint(bundle)))
        labels = likeliest_labels(exact, texts, "reference, PyTorch fp32")
        write_atomically(path, json.dumps(labels.tolist()) + "\n")
    cached: list[str] = json.loads(path.read_text())
    return cached
