"""From a fine-tuned checkpoint to a bundle: ONNX, int8, and proof that it still says the same.

Where rounding the inputs of linear layers as well does not give the checkpoint's labels, int8
weights alone are tried: slower, and more faithful.
"""

from __future__ import annotations

import random
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from reelsense.bundle import (
    Bundle,
    Manifest,
    Provenance,
    ValidationMetrics,
    check_target,
    write_bundle,
)
from reelsense.datasets.reviews import Review
from reelsense.errors import TrainingError
from reelsense.evaluation.calibrate import ValidationSet, calibrate, check_unseen
from reelsense.evaluation.scorer import likeliest_labels
from reelsense.inference.batching import Network, padded
from reelsense.inference.classifier import Classifier
from reelsense.training import checkpoint
from reelsense.training.encoders import tabulate_positions
from reelsense.training.model import load_model, logits, max_length
from reelsense.training.quantize import quantize

LEAST_AGREEMENT = 0.995
"""The share of held-out reviews on which bundle and checkpoint must give the same label."""

FORMS = {True: "int8 weights and activations", False: "int8 weights"}
"""What a network is called, by `Manifest.int8_activations`; the fastest first."""

HISTORY = ("read", "earlier_recipes", "extra_examples")
"""What a checkpoint notes of the way to it, and the bundle passes on."""

_PARITY_REVIEWS = 1000


@dataclass(frozen=True, slots=True)
class Parity:
    """How alike the int8 bundle and the fp32 checkpoint answer on the same held-out reviews."""

    reviews: int
    agreement: float
    """The share of equal labels."""
    accuracy_fp32: float
    accuracy_int8: float


def export(
    folder: Path,
    validation: Sequence[Review],
    labels: Sequence[str],
    out: Path,
    *,
    data: str,
    calibrate_on: Sequence[ValidationSet] = (),
) -> Parity:
    """Write the checkpoint in `folder` as a bundle to `out`; return the measured parity.

    `data` names what it was trained on, with these `labels`; the `validation` part of it calibrates
    and checks. The sets `calibrate_on` calibrate as well. Raises TrainingError, and writes nothing,
    if labels agree on less than LEAST_AGREEMENT of them.
    """
    check_target(out)
    facts = checkpoint.facts_with_labels(folder)
    if facts["labels"] != list(labels):
        raise TrainingError(f"{folder} knows the labels {facts['labels']}, the data {list(labels)}")
    window = int(facts["recipe"]["window"])
    ratings = facts.get("ratings", ())
    model = load_model(folder, labels, dropout=0.0, attention_dropout=0.0, ratings=ratings)
    model.train(False)
    serialized = (folder / "tokenizer.json").read_text(encoding="utf-8")
    manifest = Manifest(
        name=facts["recipe"]["name"],
        labels=tuple(labels),
        ratings=tuple(ratings),
        window=window,
        provenance=cast(
            Provenance,
            {
                "recipe": facts["recipe"],
                "data": data,
                **{name: facts[name] for name in HISTORY if name in facts},
                "base_sha256": facts["base_sha256"],
                "architecture": model.config.model_type,
                "curves": checkpoint.curves(folder),
                "training_validation": facts["validation"],
                "versions": {name: version(name) for name in ("onnx", "torch", "transformers")},
            },
        ),
    )
    check_unseen(manifest, calibrate_on)
    frame = Bundle(manifest, quantize(to_onnx(model)), serialized, card="")
    compare = _Comparison(model, frame, validation)
    for int8_activations, form in FORMS.items():
        bundle = replace(frame, manifest=replace(manifest, int8_activations=int8_activations))
        parity = compare(form, bundle)
        print(f"{form}: the label of the checkpoint on {parity.agreement:.2%}")
        if parity.agreement >= LEAST_AGREEMENT:
            break
    else:
        raise TrainingError(
            f"the int8 network gives the label of the checkpoint on {parity.agreement:.2%} of "
            f"{parity.reviews} held-out reviews; at least {LEAST_AGREEMENT:.1%} are needed"
        )
    bundle = replace(bundle, manifest=_with_metrics(bundle.manifest, parity))
    sets = [ValidationSet(f"the held-out part of {data}", validation), *calibrate_on]
    bundle = calibrate(bundle, Classifier(bundle, gpu=False), sets)
    write_bundle(out, replace(bundle, card=_card(bundle.manifest)))
    return parity


def _with_metrics(manifest: Manifest, parity: Parity) -> Manifest:
    measured: ValidationMetrics = {
        "reviews": parity.reviews,
        "label_agreement_with_fp32": parity.agreement,
        "accuracy_fp32": parity.accuracy_fp32,
        "accuracy_int8": parity.accuracy_int8,
    }
    provenance = manifest.provenance | {"network": FORMS[manifest.int8_activations]}
    return replace(manifest, metrics={"validation": measured}, provenance=provenance)


class _Inputs(nn.Module):
    """The network as the bundle has it: ids and mask in, logits out."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return logits(self.model, input_ids, attention_mask)


def to_onnx(model: PreTrainedModel) -> onnx.ModelProto:
    """Return `model` as an fp32 network over token ids and mask, of any batch and length.

    From here on, `model` itself reads no more tokens than `max_length` says.
    """
    tabulate_positions(model.base_model, padded(max_length(model)))
    ids = torch.zeros(2, 16, dtype=torch.int64)
    axes = {0: "batch", 1: "length"}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # the exporter's notes on itself
        program = torch.onnx.export(
            _Inputs(model),
            (ids, torch.ones_like(ids)),
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_shapes=(axes, axes),
            opset_version=18,
            dynamo=True,
            verbose=False,
        )
        if program is None:
            raise TrainingError("torch.onnx.export gave no program")
        path = Path(folder) / "model.onnx"
        program.save(path)
        return onnx.load(path)


class _Comparison:
    """Compares int8 networks with the checkpoint on the same held-out reviews."""

    def __init__(self, model: PreTrainedModel, frame: Bundle, validation: Sequence[Review]) -> None:
        """Of `frame`, what is around the network is used."""
        chosen = random.Random(1).sample(validation, min(_PARITY_REVIEWS, len(validation)))
        self._texts = [review.text for review in chosen]
        self._wanted = np.array([review.label for review in chosen])
        exact = Classifier(frame, network=torch_network(model))
        self._fp32 = likeliest_labels(exact, self._texts, "held-out, fp32")

    def __call__(self, form: str, bundle: Bundle) -> Parity:
        """Measure `bundle`."""
        int8 = likeliest_labels(Classifier(bundle, gpu=False), self._texts, f"held-out, {form}")
        return Parity(
            reviews=len(self._texts),
            agreement=float((self._fp32 == int8).mean()),
            accuracy_fp32=float((self._fp32 == self._wanted).mean()),
            accuracy_int8=float((int8 == self._wanted).mean()),
        )


def torch_network(model: PreTrainedModel) -> Network:
    """Return what a Classifier runs windows through: `model` in PyTorch, fp32."""

    @torch.no_grad()
    def run(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = logits(
            model, torch.from_numpy(ids), torch.from_numpy(mask)
        ).numpy()
        return scores

    return run


def _card(manifest: Manifest) -> str:
    recipe, measured = manifest.provenance["recipe"], manifest.metrics["validation"]
    architecture = manifest.provenance["architecture"]
    lines = [
        f"# {manifest.name}",
        f"Gives a text one of the labels {', '.join(manifest.labels)}.",
        "",
        f"- **Network**: {recipe['base']} ({architecture}), fine-tuned with an untrained layer "
        f"on top. ONNX, {manifest.provenance['network']}.",
        f"- **Reads** texts of any length, in even windows of at most {manifest.window} tokens; "
        "the answer is the mean of their logits, calibrated.",
        f"- **Measured at export** on {measured['reviews']:,} texts held out of training: "
        f"accuracy {measured['accuracy_int8']:.2%}, before int8 "
        f"{measured['accuracy_fp32']:.2%}; the same label as before int8 on "
        f"{measured['label_agreement_with_fp32']:.2%}.",
        "- **Limits**: texts unlike those it learned from (mixed or neutral ones where it saw "
        "clear ones, other subjects, other languages) get an answer that means little.",
        "- **Made by** `reelsense train` and `reelsense export`; manifest.json has the recipe and "
        "the versions.",
    ]
    return "\n".join(lines) + "\n"
