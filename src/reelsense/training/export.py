"""From a fine-tuned checkpoint to a bundle: ONNX, int8, and proof that it still says the same.

Weights and activations become int8 with scales fixed on calibration reviews (NNCF), so that a
review's answer cannot depend on what else is in its batch. Weights use 7 of the 8 bits: on
processors without VNNI two products are added in 16 bits, and with 8 bits that sum can overflow.
"""

from __future__ import annotations

import json
import logging
import random
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm
from transformers import BertForSequenceClassification

from reelsense import bundle as bundles
from reelsense.bundle import Bundle, Manifest
from reelsense.datasets.reviews import Review, Split
from reelsense.errors import TrainingError
from reelsense.inference.batching import Network
from reelsense.inference.classifier import Classifier
from reelsense.inference.engine import without_telemetry
from reelsense.inference.tokenizer import ReviewTokenizer, windows
from reelsense.training import checkpoint
from reelsense.training.model import load_model, logits

LEAST_AGREEMENT = 0.995
"""The share of held-out reviews on which bundle and checkpoint must give the same label."""

_PARITY_REVIEWS = 1000
_CALIBRATION_REVIEWS = 300


@dataclass(frozen=True, slots=True)
class Parity:
    """How alike the int8 bundle and the fp32 checkpoint answer on the same held-out reviews."""

    reviews: int
    agreement: float
    """The share of equal labels."""
    accuracy_fp32: float
    accuracy_int8: float


def export(folder: Path, split: Split, labels: Sequence[str], out: Path) -> Parity:
    """Write the checkpoint in `folder` as a bundle to `out`; return the measured parity.

    `split` and `labels` are those it was trained on: calibrates on reviews of `split.train`,
    checks on `split.held_out`. Raises TrainingError, and writes nothing, if labels agree on less
    than LEAST_AGREEMENT of them.
    """
    bundles.check_target(out)
    facts = _facts(folder)
    if facts["labels"] != list(labels):
        raise TrainingError(f"{folder} knows the labels {facts['labels']}, the data {list(labels)}")
    window = int(facts["recipe"]["window"])
    model = load_model(folder, labels, dropout=0.0, attention_dropout=0.0)
    model.train(False)
    serialized = (folder / "tokenizer.json").read_text(encoding="utf-8")
    tokenizer = ReviewTokenizer(serialized)
    calibration = _first_windows(split.train, window, tokenizer)
    manifest = Manifest(
        name=facts["recipe"]["name"],
        labels=tuple(labels),
        window=window,
        provenance={
            "recipe": facts["recipe"],
            "base_sha256": facts["base_sha256"],
            "held_out_of_training": facts["held_out"],
            "versions": {name: version(name) for name in ("nncf", "onnx", "torch", "transformers")},
        },
    )
    bundle = Bundle(manifest, _quantize(_to_onnx(model), calibration), serialized, card="")
    parity = _parity(model, bundle, split.held_out)
    if parity.agreement < LEAST_AGREEMENT:
        raise TrainingError(
            f"the int8 network gives the label of the checkpoint on {parity.agreement:.2%} of "
            f"{parity.reviews} held-out reviews; at least {LEAST_AGREEMENT:.1%} are needed"
        )
    measured = {
        "reviews": parity.reviews,
        "label_agreement_with_fp32": parity.agreement,
        "accuracy_fp32": parity.accuracy_fp32,
        "accuracy_int8": parity.accuracy_int8,
    }
    manifest = replace(manifest, metrics={"held_out": measured})
    bundles.write(out, replace(bundle, manifest=manifest, card=_card(manifest)))
    return parity


def _facts(folder: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads((folder / checkpoint.FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{folder} is not a checkpoint of `reelsense train`: {checkpoint.FACTS}: {error}"
        ) from error
    return facts


class _Inputs(nn.Module):
    """The network as the bundle has it: ids and mask in, logits out."""

    def __init__(self, model: BertForSequenceClassification) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return logits(self.model, input_ids, attention_mask)


def _to_onnx(model: BertForSequenceClassification) -> onnx.ModelProto:
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


def _quantize(network: onnx.ModelProto, calibration: Sequence[Sequence[int]]) -> bytes:
    without_telemetry()
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

    nncf.set_log_level(logging.WARNING)
    samples = [
        {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), dtype=np.int64)}
        for ids in calibration
    ]
    quantized = nncf.quantize(
        network,
        nncf.Dataset(samples),
        subset_size=len(samples),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        advanced_parameters=AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE),
    )
    return _without_notes(quantized)


def _without_notes(network: onnx.ModelProto) -> bytes:
    """Serialize `network` without the exporter's notes: they hold the paths of this machine."""
    graph = network.graph
    parts = [network, graph, *graph.node, *graph.initializer, *graph.value_info]
    for part in [*parts, *graph.input, *graph.output]:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    serialized: bytes = network.SerializeToString()
    return serialized


def _first_windows(
    reviews: Sequence[Review], window: int, tokenizer: ReviewTokenizer
) -> list[list[int]]:
    chosen = random.Random(0).sample(reviews, min(_CALIBRATION_REVIEWS, len(reviews)))
    encoded = tokenizer.encode([review.text for review in chosen])
    return [windows(ids, window, tokenizer.frame)[0] for ids in encoded]


def _parity(
    model: BertForSequenceClassification, bundle: Bundle, held_out: Sequence[Review]
) -> Parity:
    chosen = random.Random(1).sample(held_out, min(_PARITY_REVIEWS, len(held_out)))
    texts = [review.text for review in chosen]
    wanted = np.array([review.label for review in chosen])
    exact = Classifier(bundle, network=_torch_network(model))
    small = Classifier(bundle)
    answers = []
    for title, classifier in (("fp32", exact), ("int8", small)):
        steps = range(0, len(texts), 50)
        answers.append(
            [
                prediction.label
                for start in tqdm(steps, desc=f"held-out, {title}", unit_scale=50, unit="review")
                for prediction in classifier.predict(texts[start : start + 50])
            ]
        )
    fp32, int8 = np.array(answers[0]), np.array(answers[1])
    return Parity(
        reviews=len(texts),
        agreement=float((fp32 == int8).mean()),
        accuracy_fp32=float((fp32 == wanted).mean()),
        accuracy_int8=float((int8 == wanted).mean()),
    )


def _torch_network(model: BertForSequenceClassification) -> Network:
    @torch.no_grad()
    def run(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = logits(
            model, torch.from_numpy(ids), torch.from_numpy(mask)
        ).numpy()
        return scores

    return run


def _card(manifest: Manifest) -> str:
    recipe, measured = manifest.provenance["recipe"], manifest.metrics["held_out"]
    lines = [
        f"# {manifest.name}",
        f"Gives a text one of the labels {', '.join(manifest.labels)}.",
        "",
        f"- **Network**: {recipe['base']} (BERT), fine-tuned with an untrained layer on top. "
        "int8 ONNX: weights of 7 bits, activations of 8, scales fixed on calibration reviews.",
        f"- **Reads** texts of any length, in even windows of at most {manifest.window} tokens; "
        "the answer is the softmax of the mean of their logits.",
        f"- **Measured at export** on {measured['reviews']:,} texts held out of training: "
        f"accuracy {measured['accuracy_int8']:.2%}, before int8 "
        f"{measured['accuracy_fp32']:.2%}; the same label as before int8 on "
        f"{measured['label_agreement_with_fp32']:.2%}.",
        "- **Limits**: texts unlike those it learned from (mixed or neutral ones where it saw "
        "clear ones, other subjects, other languages) get an answer that means little. The "
        "probabilities are not calibrated.",
        "- **Made by** `reelsense train` and `reelsense export`; manifest.json has the recipe and "
        "the versions.",
    ]
    return "\n".join(lines) + "\n"
