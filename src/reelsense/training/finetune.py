"""Fine-tuning of a pre-trained encoder on labelled texts, and distillation from teachers.

In each epoch every text is cut to its beginning and end, and batches are filled by token budget.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from reelsense.datasets.reviews import Review
from reelsense.datasets.text_hashes import hash_texts, merge_hashes
from reelsense.errors import TrainingError
from reelsense.inference.batching import fill, stack
from reelsense.inference.tokenizer import ReviewTokenizer, head_and_tail
from reelsense.training import checkpoint
from reelsense.training.examples import Example, hard_examples, plan_epoch, tokenize
from reelsense.training.losses import class_weights, label_losses, star_losses
from reelsense.training.model import (
    load_model,
    logits,
    max_length,
    output_layer,
    share_identity_embeddings,
)
from reelsense.training.output_layer import fit_output_layer, inputs_of
from reelsense.training.pretrained import read_tokenizer
from reelsense.training.processes import Processes
from reelsense.training.recipe import Stage, check_lengths

_FITTED = 4000  # texts that the output layer is fitted to
_TEMPERATURES = np.geomspace(0.5, 4, 13)  # 1 is one of them


class FineTuning:
    """A `TrainingTask`: a classifier, its texts and the loss over them."""

    def __init__(
        self,
        stage: Stage,
        output: Path,
        processes: Processes,
        *,
        base: Path,
        labels: Sequence[str],
        examples: Sequence[Example],
        validation: Sequence[Review],
    ) -> None:
        """Load the model in the folder `base` and tokenize the texts."""
        self.stage, self.base, self.output = stage, base, output
        self.labels, self.processes = list(labels), processes
        ratings = {example.rating for example in examples if stage.stars_weight}
        self.ratings = sorted(rating for rating in ratings if rating)
        self.model = load_model(
            base,
            labels,
            stage.dropout,
            stage.attention_dropout,
            self.ratings,
            stage.pool_after,
            stage.sentence_vector,
        )
        check_lengths(max_length(self.model), lengths=max(stage.lengths), window=stage.window)
        self.tokenizer = read_tokenizer(base)
        if stage.shared_identity_embeddings:
            share_identity_embeddings(self.model, self.tokenizer)
        self.texts = _tokenize(examples, self.tokenizer, processes)
        self._report_truncation(max(stage.lengths))
        targets = np.array([example.target for example in examples])
        self.class_weights = torch.from_numpy(class_weights(targets, stage.class_weights)).float()
        if stage.frozen_embeddings:
            self.model.base_model.embeddings.requires_grad_(False)
        if stage.fit_output_layer:
            self._fit_output_layer(targets)
        self.majority = int(targets.sum(axis=0).argmax())  # index of the most frequent label
        self.validation = _tokenize(hard_examples(validation, labels), self.tokenizer, processes)
        self.epochs = [
            plan_epoch(self.texts.lengths(limit), stage, epoch)
            for epoch, limit in enumerate(stage.epoch_lengths)
        ]
        self.base_sha256 = checkpoint.weights_sha256(base)
        content = [
            (example.target, example.rating, example.teacher, ids)
            for texts in (self.texts, self.validation)
            for example, ids in zip(texts.examples, texts.ids, strict=True)
        ]
        self.fingerprint = checkpoint.fingerprint(
            asdict(stage), self.base_sha256, self.labels, *content
        )

    @torch.no_grad()
    def _fit_output_layer(self, targets: NDArray[np.float64]) -> None:
        """Fit the output layer to the most likely labels of up to _FITTED texts."""
        labels = targets.argmax(axis=1)
        if len(set(labels)) < 2:
            return
        sample = np.random.default_rng(self.stage.seed).permutation(len(labels))[:_FITTED]
        texts = self.texts.select(sample.tolist())
        model, (_, layer) = self.model.train(False), output_layer(self.model)
        model.to(self.processes.accelerator.device)
        batches = self._batches(texts)
        with inputs_of(layer) as inputs:
            for indices in self.processes.progress_bar(iterable=batches, desc="output layer"):
                self._score(model, texts.select(indices))
        rows = sample[[n for indices in batches for n in indices]]
        fit_output_layer(layer, torch.cat(inputs).numpy(), labels[rows])

    def _report_truncation(self, limit: int) -> None:
        lengths = np.array([len(ids) for ids in self.texts.ids])
        lost = np.maximum(lengths + 2 - limit, 0).sum() / max(1, lengths.sum())
        if lost:
            cut = (lengths + 2 > limit).mean()
            self.processes.print(
                f"{cut:.1%} of the training texts are cut to {limit} tokens: {lost:.1%} of all "
                "text is not read"
            )

    @cached_property
    def text_hashes(self) -> bytes:
        """Hashes of the training texts, and of those of earlier training."""
        texts = {example.text for example in self.texts.examples}
        return merge_hashes(hash_texts(texts), checkpoint.read_training_texts(self.base) or b"")

    def forward(self, model: Any, *inputs: Tensor) -> Tensor:
        """Return logits (batch, labels + ratings)."""
        return logits(model, *inputs)

    def batch(self, indices: list[int], progress: checkpoint.TrainingProgress) -> _Batch:
        """Return the examples at `indices`, cut to the length of the epoch."""
        return _Batch(self, self.texts.select(indices), self.stage.epoch_lengths[progress.epoch])

    def compute_logits(self, forward: Any, texts: _Texts, length: int) -> Tensor:
        """Return float32 logits (texts, labels + ratings) of `texts`, cut to `length` tokens."""
        frame, accelerator = self.tokenizer.frame, self.processes.accelerator
        rows = [head_and_tail(ids, length, self.stage.head_share, frame) for ids in texts.ids]
        ids, mask = (
            torch.from_numpy(array).to(accelerator.device)
            for array in stack(rows, self.tokenizer.pad)
        )
        with accelerator.autocast():
            output: Tensor = forward(ids, mask)
        return output.float()

    @torch.no_grad()
    def evaluate(self, model: PreTrainedModel) -> dict[str, float]:
        """Return loss, accuracy and star MAE on the validation set; each process scores a share.

        The loss is computed at the best temperature, because export calibrates the model. Without
        this, an epoch that is more accurate but overconfident would be discarded.
        """
        model.train(False)
        texts = self.validation
        batches = self.processes.shard(self._batches(texts))
        sums = np.zeros(len(_TEMPERATURES) + 4)
        for indices in self.processes.progress_bar(iterable=batches, desc="validation"):
            batch = texts.select(indices)
            sums += self._sums(self._score(model, batch), batch)
        *losses, correct, star_error, rated, scored = self.processes.sum(sums.tolist())
        if scored != len(texts.ids):
            raise TrainingError(
                f"{scored:.0f} of {len(texts.ids)} validation texts were scored",
                code="validation-incomplete",
            )
        metrics = {"loss": min(losses) / scored, "accuracy": correct / scored}
        return metrics | ({"star_mae": star_error / rated} if rated else {})

    def _batches(self, texts: _Texts) -> list[list[int]]:
        """Return batches of indices of `texts` for scoring, from the shortest to the longest."""
        lengths = texts.lengths(max(self.stage.lengths))
        order = sorted(range(len(lengths)), key=lambda n: lengths[n])
        return fill(order, lengths, self.stage.tokens_per_batch)

    def _score(self, model: PreTrainedModel, texts: _Texts) -> Tensor:
        """Return the logits of a batch, (texts, labels + ratings), on the CPU."""
        length = max(self.stage.lengths)
        return self.compute_logits(partial(logits, model), texts, length).cpu()

    def _sums(self, outputs: Tensor, texts: _Texts) -> NDArray[np.float64]:
        """Return sums over `texts`: losses by temperature, correct labels, star errors, counts."""
        label_logits, star_logits = outputs.tensor_split([len(self.labels)], dim=1)
        targets = torch.tensor([example.target for example in texts.examples]).argmax(1)
        losses = [
            functional.cross_entropy(label_logits / temperature, targets, reduction="sum").item()
            for temperature in _TEMPERATURES
        ]
        correct = (label_logits.argmax(1) == targets).sum()
        star_errors: list[float] = []
        if self.ratings:
            stars = star_logits.softmax(1) @ outputs.new_tensor(self.ratings)
            star_errors = [
                abs(predicted - example.rating)
                for predicted, example in zip(stars.tolist(), texts.examples, strict=True)
                if example.rating
            ]
        sums = (*losses, correct.item(), sum(star_errors), len(star_errors), len(outputs))
        return np.array(sums, np.float64)

    def save(self, model: PreTrainedModel, metrics: dict[str, float]) -> None:
        """Write a sequence classifier, with its recipe and those of earlier training."""
        before = checkpoint.read_metadata(self.base)
        earlier_recipe = [before["recipe"]] if "recipe" in before else []
        named = {(each.source, each.text) for each in self.texts.examples if each.source}
        texts_by_source = Counter(source for source, _ in named)
        metadata = {
            "recipe": asdict(self.stage),
            "base_sha256": self.base_sha256,
            "labels": self.labels,
            "ratings": self.ratings,
            "validation": metrics,
            "validation_set": self._validation_set(),
            "read": before.get("read", {}),
            "earlier_recipes": [*before.get("earlier_recipes", []), *earlier_recipe],
            "extra_examples": texts_by_source | Counter(before.get("extra_examples", {})),
        }
        checkpoint.save_model(self.output, model, self.tokenizer, metadata, self.text_hashes)

    def _validation_set(self) -> dict[str, int]:
        """Return the rows of the validation set, and those with the label that is most frequent."""
        targets = np.array([example.target for example in self.validation.examples])
        majority = int((targets.argmax(axis=1) == self.majority).sum())
        return {"reviews": len(targets), "majority": majority}


@dataclass(frozen=True, slots=True)
class _Texts:
    """Examples and the token ids of their whole texts, without special tokens."""

    examples: Sequence[Example]
    ids: Sequence[list[int]]

    def select(self, indices: Sequence[int]) -> _Texts:
        return _Texts([self.examples[n] for n in indices], [self.ids[n] for n in indices])

    def lengths(self, limit: int) -> list[int]:
        """Return the tokens of each text with special tokens, once it is cut to `limit`."""
        return [min(len(ids) + 2, limit) for ids in self.ids]


def _tokenize(
    examples: Sequence[Example], tokenizer: ReviewTokenizer, processes: Processes
) -> _Texts:
    if not examples:
        raise TrainingError(
            "there are no labelled texts to train on or to validate with", code="no-training-data"
        )
    return _Texts(examples, tokenize([each.text for each in examples], tokenizer, processes))


@dataclass(frozen=True, slots=True)
class _Batch:
    task: FineTuning
    texts: _Texts
    limit: int  # tokens that texts are cut to

    @property
    def lengths(self) -> list[int]:
        return self.texts.lengths(self.limit)

    def loss(self, forward: Any, indices: list[int]) -> Tensor:
        task = self.task
        # without indices, `forward` is called with one text, whose row is dropped
        outputs = task.compute_logits(forward, self.texts.select(indices or [0]), self.limit)
        label_logits, star_logits = outputs[: len(indices)].tensor_split([len(task.labels)], dim=1)
        examples = self.texts.select(indices).examples
        losses = label_losses(label_logits, examples, task.stage)
        if task.stage.class_weights:
            targets = losses.new_tensor([example.target for example in examples])
            losses = losses * (targets.reshape(len(examples), -1) @ task.class_weights.to(losses))
        if task.ratings:
            stars = star_losses(star_logits, examples, task.ratings)
            losses = losses + task.stage.stars_weight * stars
        return losses.sum() / len(self.texts.ids)
