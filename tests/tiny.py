"""A tokenizer, networks and classifiers small enough to build in memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from reelsense.bundle import Bundle, Calibration, LengthGroup, Manifest, RiskControl, Threshold
from reelsense.inference.classifier import Classifier

WORDS = ["good", "bad", "great", "awful", "film", "the", "a", "was", "not", "mask", "[", "]"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = {token: n for n, token in enumerate([*SPECIAL, *WORDS])}

_MOOD = np.zeros(len(VOCABULARY), dtype=np.float32)
_MOOD[[VOCABULARY["good"], VOCABULARY["great"]]] = 1
_MOOD[[VOCABULARY["bad"], VOCABULARY["awful"]]] = -1


def tokenizer_json(unknown: str = "the", vocabulary: dict[str, int] = VOCABULARY) -> str:
    """Return the tokenizer.json of a BERT with `vocabulary`; other words become `unknown`."""
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIAL)
    ends = [(token, vocabulary[token]) for token in ("[SEP]", "[CLS]")]
    tokenizer.post_processor = processors.BertProcessing(*ends)
    return tokenizer.to_str()


def count_moods(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    """A network whose positive logit is the number of good words minus that of bad ones."""
    mood = (_MOOD[ids] * mask).sum(axis=1)
    return np.stack([-mood, mood], axis=1)


STARS = (1, 5, 10)


def count_stars(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    """A network with logits for labels and STARS."""
    moods = count_moods(ids, mask)
    negative, positive = moods[:, :1], moods[:, 1:]
    return np.concatenate([moods, negative, 0 * negative, positive], axis=1)


def bundle(
    labels: tuple[str, ...] = ("negative", "positive"), window: int = 16, network: bytes = b"none"
) -> Bundle:
    """Return a bundle with a dummy network; pass `count_moods` to the classifier."""
    manifest = Manifest(name="tiny", version="0", labels=labels, window=window)
    return Bundle(manifest, network, tokenizer_json(), "# tiny\n")


def classifier(labels: tuple[str, ...] = ("negative", "positive")) -> Classifier:
    """Return a classifier that counts good and bad words and is never unsure."""
    return Classifier(bundle(labels), network=count_moods)


RISKS = RiskControl(
    method="by hand",
    confidence=0.95,
    reviews=100,
    default_risk=0.02,
    thresholds=(Threshold(0.01, None), Threshold(0.02, 0.9), Threshold(0.1, 0.0)),
)


def cautious_classifier() -> Classifier:
    """Return a classifier with the thresholds RISKS: one good word is 88 %, two are 98 %."""
    base = bundle()
    manifest = replace(base.manifest, risk_control=RISKS)
    return Classifier(replace(base, manifest=manifest), network=count_moods)


def star_classifier() -> Classifier:
    """Return a classifier that predicts STARS: one good word is 8.0."""
    base = bundle()
    manifest = replace(base.manifest, ratings=STARS)
    return Classifier(replace(base, manifest=manifest), network=count_stars)


SENTENCES = LengthGroup(
    name="sentence",
    max_tokens=4,
    calibration=Calibration(temperature=2.0),
    thresholds=(Threshold(0.01, None), Threshold(0.02, None), Threshold(0.1, 0.7)),
)


def grouped_bundle() -> Bundle:
    """Return a bundle with RISKS, and SENTENCES for texts of up to four words.

    In short texts one good word is 73 %, two are 88 %.
    """
    base = bundle()
    manifest = replace(base.manifest, risk_control=RISKS, length_groups=(SENTENCES,))
    return replace(base, manifest=manifest)


def grouped_classifier() -> Classifier:
    """Return a classifier of `grouped_bundle`."""
    return Classifier(grouped_bundle(), network=count_moods)
