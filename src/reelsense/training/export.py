"""Export of a fine-tuned checkpoint to a bundle: ONNX, int8 weights, parity check, calibration.

If int8 activations change too many labels, the bundle uses int8 weights alone, which is slower and
more exact.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
from transformers import PreTrainedModel

from reelsense.bundle import (
    Bundle,
    Manifest,
    Provenance,
    ValidationMetrics,
    check_target,
    write_bundle,
)
from reelsense.bundle.validation import check
from reelsense.datasets.reviews import Review
from reelsense.errors import TrainingError
from reelsense.evaluation.calibrate import ValidationSet, calibrate
from reelsense.evaluation.scorer import likeliest_labels
from reelsense.evaluation.unseen import check_unseen
from reelsense.inference.classifier import Classifier
from reelsense.training import checkpoint
from reelsense.training.model import load_model
from reelsense.training.onnx_network import to_onnx, torch_network
from reelsense.training.outcome import read_outcome
from reelsense.training.quantize import quantize

MIN_AGREEMENT = 0.995
"""The share of validation reviews on which bundle and checkpoint must give the same label."""

NETWORK_TYPES = {True: "int8 weights and activations", False: "int8 weights"}
"""Names of the kinds of network by `Manifest.int8_activations`, the fastest first."""

_HISTORY = ("read", "earlier_recipes", "extra_examples")
"""Metadata about earlier training of a checkpoint, which the bundle keeps."""

_PARITY_REVIEWS = 1000

# Of an example: characters, and the number of texts of a label to choose from, shortest first.
_MIN_EXAMPLE, _MAX_EXAMPLE, _CANDIDATES = 40, 500, 50


@dataclass(frozen=True, slots=True)
class Parity:
    """Comparison of the int8 bundle with the fp32 checkpoint on the same validation reviews."""

    reviews: int
    agreement: float  # the share of equal labels
    accuracy_fp32: float
    accuracy_int8: float


@dataclass(frozen=True, slots=True)
class Presentation:
    """What the pages say about a model: see `Manifest`."""

    title: str = ""
    unit: str = ""
    examples: Mapping[str, str] | None = None  # None: `example_texts` of the validation set


def export(
    folder: Path,
    validation: Sequence[Review],
    labels: Sequence[str],
    output: Path,
    *,
    data: str,
    calibrate_on: Sequence[ValidationSet] = (),
    default_risk: float | None = None,
    presentation: Presentation = Presentation(),
    force: bool = False,
) -> Parity:
    """Write the checkpoint in `folder` as a bundle to `output`.

    Args:
        folder: A checkpoint of `reelsense train`.
        validation: The validation set, for calibration and the parity check.
        labels: Labels of the training data.
        output: Folder of the bundle.
        data: Name of the training data.
        calibrate_on: Further sets for calibration.
        default_risk: As for `calibrate`.
        presentation: Title, unit and examples of the bundle.
        force: Accept a useless model, and calibration on training texts.

    Raises:
        TrainingError: The checkpoint has other labels, is not clearly better than the majority
            class, or its labels agree with those of the bundle on less than MIN_AGREEMENT of the
            reviews. Nothing is written.
        InputError: A set for calibration contains training texts.
    """
    check_target(output)
    metadata = checkpoint.read_classifier_metadata(folder)
    _check_checkpoint(folder, metadata, labels, force=force)
    model = load_model(folder, labels, ratings=metadata.get("ratings", ())).train(False)
    curves = checkpoint.training_curves(folder)
    manifest = _manifest(metadata, data, model.config.model_type, curves)
    manifest = replace(
        manifest,
        title=presentation.title,
        unit=presentation.unit,
        examples=dict(presentation.examples or {}),
    )
    check(manifest)
    tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
    bundle = Bundle(
        manifest, b"", tokenizer, card="", training_texts=checkpoint.read_training_texts(folder)
    )
    sets = [ValidationSet(f"the validation set of {data}", validation), *calibrate_on]
    for part in () if force else sets:
        check_unseen(bundle, part.name, part.reviews)
    bundle = replace(bundle, network=quantize(to_onnx(model)))
    bundle, parity = _fastest_exact_bundle(bundle, _Comparison(model, bundle, validation))
    classifier = Classifier(bundle, gpu=False)
    # `force`: the sets were checked above, before the export
    bundle = calibrate(bundle, classifier, sets, default_risk=default_risk, force=True)
    if presentation.examples is None:
        examples = example_texts(classifier, validation)
        bundle = replace(bundle, manifest=replace(bundle.manifest, examples=examples))
    write_bundle(output, replace(bundle, card=_card(bundle.manifest)))
    return parity


def _check_checkpoint(
    folder: Path, metadata: dict[str, Any], labels: Sequence[str], *, force: bool
) -> None:
    """Raise TrainingError if the checkpoint has other labels, or is useless and not `force`."""
    if metadata["labels"] != list(labels):
        raise TrainingError(
            f"{folder} has the labels {metadata['labels']}, the data {list(labels)}: pass the data "
            "that it was trained on",
            code="labels-differ",
        )
    outcome = read_outcome(metadata)
    if outcome and not outcome.is_useful and not force:
        raise TrainingError(
            f"{folder} is not clearly better than the majority class: accuracy "
            f"{outcome.accuracy.value:.1%} (95 % interval from {outcome.accuracy.low:.1%}), "
            f"majority class {outcome.majority.value:.1%} of {outcome.accuracy.total:,} validation "
            "texts: check the labels, add texts, or pass --force",
            code="not-better-than-majority",
        )


def _manifest(
    metadata: dict[str, Any], data: str, architecture: str, curves: dict[str, list[Any]]
) -> Manifest:
    recipe = metadata["recipe"]
    provenance = {
        "recipe": recipe,
        "data": data,
        **{name: metadata[name] for name in _HISTORY if name in metadata},
        "base_sha256": metadata["base_sha256"],
        "architecture": architecture,
        "curves": curves,
        "training_validation": metadata["validation"],
        "versions": {name: version(name) for name in ("onnx", "torch", "transformers")},
    }
    return Manifest(
        name=recipe["name"],
        labels=tuple(metadata["labels"]),
        ratings=tuple(metadata.get("ratings", ())),
        window=int(recipe["window"]),
        provenance=cast(Provenance, provenance),
    )


def _fastest_exact_bundle(bundle: Bundle, compare: _Comparison) -> tuple[Bundle, Parity]:
    """Return `bundle` with the fastest network type that keeps the checkpoint's labels."""
    for int8_activations, network_type in NETWORK_TYPES.items():
        manifest = replace(bundle.manifest, int8_activations=int8_activations)
        parity = compare(network_type, replace(bundle, manifest=manifest))
        print(f"{network_type}: same label as the checkpoint on {parity.agreement:.2%}")
        if parity.agreement >= MIN_AGREEMENT:
            break
    else:
        raise TrainingError(
            f"the int8 network gives the label of the checkpoint on {parity.agreement:.2%} of "
            f"{parity.reviews} validation reviews: expected {MIN_AGREEMENT:.1%} or more",
            code="parity",
        )
    measured: ValidationMetrics = {
        "reviews": parity.reviews,
        "label_agreement_with_fp32": parity.agreement,
        "accuracy_fp32": parity.accuracy_fp32,
        "accuracy_int8": parity.accuracy_int8,
    }
    provenance = manifest.provenance | {"network": network_type}
    manifest = replace(manifest, metrics={"validation": measured}, provenance=provenance)
    return replace(bundle, manifest=manifest), parity


def example_texts(classifier: Classifier, validation: Sequence[Review]) -> dict[str, str]:
    """Return a short text for each label that the classifier predicts with confidence, if any."""
    examples = {}
    for label in classifier.labels:
        texts = {" ".join(review.text.split()) for review in validation if review.label == label}
        fitting = sorted((text for text in texts if len(text) <= _MAX_EXAMPLE), key=len)
        texts_of_label = [text for text in fitting if len(text) >= _MIN_EXAMPLE] or fitting
        if candidates := texts_of_label[:_CANDIDATES]:
            probabilities = classifier.predict_proba(candidates)
            column = classifier.labels.index(label)
            best = int(probabilities[:, column].argmax())
            if probabilities[best].argmax() == column:
                examples[label] = candidates[best]
    return examples


class _Comparison:
    """Compares int8 networks with the checkpoint on the same validation reviews."""

    def __init__(
        self, model: PreTrainedModel, bundle: Bundle, validation: Sequence[Review]
    ) -> None:
        """Score the reviews with `model` in place of the network of `bundle`."""
        reviews = random.Random(1).sample(validation, min(_PARITY_REVIEWS, len(validation)))
        self._texts = [review.text for review in reviews]
        self._true_labels = np.array([review.label for review in reviews])
        exact = Classifier(bundle, network=torch_network(model))
        self._fp32 = likeliest_labels(exact, self._texts, "validation, fp32")

    def __call__(self, network_type: str, bundle: Bundle) -> Parity:
        classifier = Classifier(bundle, gpu=False)
        int8 = likeliest_labels(classifier, self._texts, f"validation, {network_type}")
        return Parity(
            reviews=len(self._texts),
            agreement=float((self._fp32 == int8).mean()),
            accuracy_fp32=float((self._fp32 == self._true_labels).mean()),
            accuracy_int8=float((int8 == self._true_labels).mean()),
        )


def _card(manifest: Manifest) -> str:
    provenance, measured = manifest.provenance, manifest.metrics["validation"]
    base, network = provenance["recipe"]["base"], provenance["network"]
    int8, fp32 = measured["accuracy_int8"], measured["accuracy_fp32"]
    warning = f"\n**{reason}**\n" if (reason := manifest.abstention()) else ""
    return f"""# {manifest.name}
Classifies {manifest.nouns} as {", ".join(manifest.labels)}.
{warning}
- **Network**: {base} ({provenance["architecture"]}), fine-tuned. ONNX, {network}.
- **Input**: texts of any length, in even windows of at most {manifest.window} tokens. The
  prediction is the mean of their logits, calibrated.
- **Measured at export** on {measured["reviews"]:,} validation texts: accuracy {int8:.2%}, before
  int8 {fp32:.2%}; the same label as before int8 on {measured["label_agreement_with_fp32"]:.2%}.
- **Limitations**: predictions for texts unlike the training data (mixed or neutral texts, other
  subjects, other languages) are unreliable.
- **Created by** `reelsense train` and `reelsense export`. manifest.json contains the recipe and
  the versions.
"""
