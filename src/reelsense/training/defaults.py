"""Settings of a training run without a recipe, derived from the data and the model."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from reelsense.datasets.reviews import Review
from reelsense.training.checkpoint import read_metadata
from reelsense.training.model import load_encoder, max_length, supports_mean
from reelsense.training.pretrained import find_base, read_tokenizer
from reelsense.training.recipe import Recipe, Stage

ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
SENTIMENT_CHECKPOINT = Path(__file__).parents[3] / "checkpoints" / "default"  # in a clone

_POSITIVE, _NEGATIVE = {"positive", "pos"}, {"negative", "neg"}
_OTHER_SENTIMENT = {"neutral", "mixed", "very positive", "very negative"}
_STARS = re.compile(r"(10|[1-9])( stars?)?")

_SAMPLE = 2000  # texts whose tokens are counted
# Training steps are this number times the square root of the number of texts: 24 for 16 texts, 190
# for 1,000, 950 for 25,000. Early stopping ends a run that needs fewer.
_STEPS = 6
_MIN_PASSES = 2
_EVALUATIONS = 6  # at most: on few texts they take more time than the steps
_TEXTS_PER_BATCH = (8, 64)
_TOKENS_PER_BATCH = 6144
_MAX_LENGTH = 512  # longer texts are cut: a step takes time in proportion
_MIN_WINDOW = 128
_FEW = 2000  # texts: with fewer, word embeddings are not trained
_IMBALANCE = 3  # ratio of the most to the least frequent label from which labels are weighted

# MiniLM-L6 with this many weights is trained best with this learning rate. Larger models need a
# lower one: by this rule MPNet (110M) gets 3e-5 and a BERT-large (335M) 2e-5.
_WEIGHTS, _RATE, _RATE_EXPONENT, _MAX_RATE = 22.7e6, 8e-5, 0.6, 1e-3


def default_base(labels: Sequence[str]) -> tuple[str, str]:
    """Return the pre-trained model for `labels`, and why it was chosen.

    For labels of sentiment it is the checkpoint of the default model, if this is a clone.
    """
    if names_sentiment(labels) and (SENTIMENT_CHECKPOINT / "config.json").is_file():
        return str(SENTIMENT_CHECKPOINT), "the labels are sentiments, and it knows movie reviews"
    return ENCODER, "small and fast"


def names_sentiment(labels: Sequence[str]) -> bool:
    """Return whether `labels` are positive and negative, or three or more star ratings."""
    names = {re.sub(r"[\s_-]+", " ", label).strip().casefold() for label in labels}
    if len(names) >= 3 and all(map(_STARS.fullmatch, names)):
        return True
    both = names & _POSITIVE and names & _NEGATIVE
    return bool(both) and names <= _POSITIVE | _NEGATIVE | _OTHER_SENTIMENT


def derive_recipe(name: str, base: str, train: Sequence[Review]) -> Recipe:
    """Return a recipe of one stage that fine-tunes `base` on the training set `train`.

    Args:
        name: Of the model.
        base: A hub id or a folder.
        train: The training set.

    Raises:
        ReelsenseError: `base` cannot be loaded.
    """
    folder = find_base(base)
    encoder = load_encoder(folder)
    limit = min(max_length(encoder), _MAX_LENGTH)
    sample = random.Random(0).sample(train, min(_SAMPLE, len(train)))
    tokens = [len(ids) + 2 for ids in read_tokenizer(folder).encode([r.text for r in sample])]
    length = min(limit, 16 * math.ceil(np.percentile(tokens, 95) / 16))
    texts = _between(_TEXTS_PER_BATCH, 2 ** round(math.log2(len(train)) / 2))  # about its root
    batch = max(length, min(_TOKENS_PER_BATCH, texts * length))
    mean = np.minimum(tokens, length).mean()
    steps_per_pass = math.ceil(len(train) * max(1 / texts, mean / batch))
    passes = max(_MIN_PASSES, math.ceil(_STEPS * math.sqrt(len(train)) / steps_per_pass))
    passes_per_epoch = math.ceil(passes / _EVALUATIONS)
    epochs = math.ceil(passes / passes_per_epoch)
    counts = Counter(review.label for review in train).values()
    reads_mean = supports_mean(encoder.config) and not _is_classifier(folder, encoder)
    stage = Stage(
        name=name,
        base=base,
        lengths=(length,),
        epochs=epochs,
        data={"reviews": float(passes_per_epoch)},
        tokens_per_batch=batch,
        texts_per_batch=texts,
        learning_rate=_learning_rate(encoder.num_parameters()),
        warmup=0.1,
        class_weights=0.5 if max(counts) >= _IMBALANCE * min(counts) else 0.0,
        patience=max(2, math.ceil(epochs / 3)),
        window=min(limit, max(length, _MIN_WINDOW)),
        sentence_vector="mean" if reads_mean else "",
        fit_output_layer=True,
        frozen_embeddings=len(train) < _FEW,
    )
    return Recipe((stage,))


def _is_classifier(folder: Path, encoder: PreTrainedModel) -> bool:
    """Return whether the model in `folder` has learned a vector of the first token for labels."""
    names = encoder.config.architectures or []
    return "labels" in read_metadata(folder) or any("SequenceClass" in name for name in names)


def _between(bounds: tuple[int, int], value: int) -> int:
    return min(max(value, bounds[0]), bounds[1])


def _learning_rate(weights: int) -> float:
    rate = min(_MAX_RATE, _RATE * (_WEIGHTS / weights) ** _RATE_EXPONENT)
    return float(f"{rate:.0e}")  # one significant digit


def describe_settings(stage: Stage, reason: str, texts: int) -> list[str]:
    """Return lines about the settings of `stage` for `texts` training texts."""
    steps = math.ceil(texts / stage.texts_per_batch)
    weighted = f"label weights (inverse frequency) ** {stage.class_weights:g}, "
    return [
        f"model {stage.name}, from {stage.base} ({reason})",
        f"texts of up to {stage.lengths[0]} tokens, batches of up to {stage.texts_per_batch} texts "
        f"and {stage.tokens_per_batch:,} tokens",
        f"up to {stage.epochs} epochs of {steps:,} steps or more, until the validation loss has "
        f"not fallen for {stage.patience} epochs",
        f"learning rate {stage.learning_rate:g}, warm-up {stage.warmup:.0%}, "
        f"{weighted if stage.class_weights else ''}seed {stage.seed}",
        "options such as --epochs and --learning-rate, or a --recipe, change these settings",
    ]
