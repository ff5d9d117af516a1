"""Fine-tuning of a pre-trained encoder on labelled texts, and distillation from teachers.

In each epoch every text is cut to its beginning and end, and batches are filled by token budget.
After each epoch the validation set is scored. The losses are in `losses`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from reelsense.datasets.reviews import Split
from reelsense.errors import TrainingError
from reelsense.inference.batching import fill, stack
from reelsense.inference.tokenizer import ReviewTokenizer, head_and_tail
from reelsense.training import checkpoint, loop
from reelsense.training.batches import Encoded, plan_epoch, tokenize
from reelsense.training.distributed import Processes
from reelsense.training.examples import Example, hard_examples
from reelsense.training.identities import equalize_identities
from reelsense.training.losses import label_losses, star_losses
from reelsense.training.model import load_model, logits, max_length
from reelsense.training.pretrained import read_tokenizer
from reelsense.training.recipe import Stage, check_lengths


def finetune(
    stage: Stage,
    base: Path,
    split: Split,
    labels: Sequence[str],
    output: Path,
    *,
    examples: Sequence[Example] | None = None,
    resume: bool = False,
    checkpoint_every: float = loop.CHECKPOINT_EVERY,
    processes: Processes | None = None,
) -> list[dict[str, float]]:
    """Train a classifier as `stage` describes; write the best epoch's checkpoint to `output`.

    Args:
        stage: Settings of the stage.
        base: Folder of the pre-trained model.
        split: Labelled reviews; `split.validation` is the validation set.
        labels: Names of the labels, in the order of the outputs.
        output: Folder for checkpoint, state and metrics.
        examples: What to train on, by default `split.train`.
        resume: Continue from the state saved in `output`.
        checkpoint_every: Seconds between two saved states.
        processes: By default those that a launcher has started.

    Returns:
        Metrics on the validation set after every epoch.

    Raises:
        StoppedError: The user interrupted the run.
        TrainingError: The run cannot continue.
    """
    processes = loop.prepare_run(stage, output, processes, resume=resume)
    if examples is None:
        examples = hard_examples(split.train, labels)
    task = _FineTuning(stage, base, labels, output, examples, split, processes)
    return loop.train(
        task, stage, output, processes, resume=resume, checkpoint_every=checkpoint_every
    )


class _FineTuning:
    """The task of the training loop: a classifier, its texts and the loss over them."""

    def __init__(
        self,
        stage: Stage,
        base: Path,
        labels: Sequence[str],
        output: Path,
        examples: Sequence[Example],
        split: Split,
        processes: Processes,
    ) -> None:
        self.stage, self.base, self.output = stage, base, output
        self.labels, self.processes = list(labels), processes
        ratings = {example.rating for example in examples if stage.stars_weight}
        self.ratings = sorted(rating for rating in ratings if rating)
        self.model = load_model(
            base, labels, stage.dropout, stage.attention_dropout, self.ratings, stage.pool_after
        )
        check_lengths(max_length(self.model), lengths=max(stage.lengths), window=stage.window)
        self.tokenizer = read_tokenizer(base)
        if stage.shared_identity_embeddings:
            equalize_identities(self.model, self.tokenizer)
        self.texts = _encode(examples, self.tokenizer, processes)
        self.validation = _encode(
            hard_examples(split.validation, labels), self.tokenizer, processes
        )
        self.epochs = loop.limit_steps(
            [self._plan(epoch) for epoch in range(len(stage.lengths))], stage.max_steps
        )
        self.base_sha256 = checkpoint.weights_sha256(base)
        self.fingerprint = checkpoint.fingerprint(
            asdict(stage) | {"base_sha256": self.base_sha256},
            self.labels,
            self.texts,
            self.validation,
        )
        distinct = {(example.source, example.text) for example in examples if example.source}
        self.texts_by_source = Counter(source for source, _ in distinct)

    def _plan(self, epoch: int) -> list[list[int]]:
        stage = self.stage
        lengths = [_length(ids, stage.lengths[epoch]) for ids in self.texts.ids]
        return plan_epoch(lengths, stage.tokens_per_batch, stage.seed, epoch, stage.texts_per_batch)

    def forward(self, model: Any, *inputs: Tensor) -> Tensor:
        return logits(model, *inputs)

    def batch(self, indices: list[int], progress: checkpoint.TrainingProgress) -> _Batch:
        return _Batch(self, indices, self.stage.lengths[progress.epoch])

    def compute_logits(
        self, forward: Any, texts: Encoded, indices: Sequence[int], length: int
    ) -> Tensor:
        """Return float32 logits (texts, labels + ratings) of `texts` at `indices`."""
        share, accelerator = self.stage.head_share, self.processes.accelerator
        frame = self.tokenizer.frame
        rows = [head_and_tail(texts.ids[n], length, share, frame) for n in indices]
        ids, mask = (
            torch.from_numpy(array).to(accelerator.device)
            for array in stack(rows, self.tokenizer.pad)
        )
        with accelerator.autocast():
            output: Tensor = forward(ids, mask)
        return output.float()

    @torch.no_grad()
    def evaluate(self, model: PreTrainedModel) -> dict[str, float]:
        """Return loss, accuracy and star MAE on the validation set; each process scores a share."""
        model.train(False)
        texts, length, labels = self.validation, max(self.stage.lengths), len(self.labels)
        lengths = [_length(ids, length) for ids in texts.ids]
        order = sorted(range(len(lengths)), key=lambda n: lengths[n])
        batches = self.processes.shard(fill(order, lengths, self.stage.tokens_per_batch))
        loss = correct = star_error = 0.0
        scored = rated = 0
        for batch in self.processes.progress_bar(iterable=batches, desc="validation"):
            outputs = self.compute_logits(partial(logits, model), texts, batch, length).cpu()
            targets = torch.tensor([texts.targets[n] for n in batch]).argmax(1)
            loss += functional.cross_entropy(outputs[:, :labels], targets, reduction="sum").item()
            correct += (outputs[:, :labels].argmax(1) == targets).sum().item()
            scored += len(batch)
            if self.ratings:
                stars = outputs[:, labels:].softmax(1) @ outputs.new_tensor(self.ratings)
                for predicted, n in zip(stars.tolist(), batch, strict=True):
                    if rating := texts.ratings[n]:
                        star_error += abs(predicted - rating)
                        rated += 1
        loss, correct, star_error, all_rated, all_scored = self.processes.sum(
            [loss, correct, star_error, rated, scored]
        )
        if all_scored != len(lengths):
            raise TrainingError(
                f"{all_scored:.0f} of {len(lengths)} validation texts were scored",
                code="validation-incomplete",
            )
        metrics = {"loss": loss / all_scored, "accuracy": correct / all_scored}
        return metrics | ({"star_mae": star_error / all_rated} if all_rated else {})

    def save(self, model: PreTrainedModel, metrics: dict[str, float]) -> None:
        before = checkpoint.read_metadata(self.base)
        earlier_recipe = [before["recipe"]] if "recipe" in before else []
        metadata = {
            "recipe": asdict(self.stage),
            "base_sha256": self.base_sha256,
            "labels": self.labels,
            "ratings": self.ratings,
            "validation": metrics,
            "read": before.get("read", {}),
            "earlier_recipes": [*before.get("earlier_recipes", []), *earlier_recipe],
            "extra_examples": self.texts_by_source | Counter(before.get("extra_examples", {})),
        }
        checkpoint.save_model(self.output, model, self.tokenizer, metadata)


@dataclass(frozen=True, slots=True)
class _Batch:
    task: _FineTuning
    examples: list[int]
    length: int

    @property
    def lengths(self) -> list[int]:
        return [_length(self.task.texts.ids[n], self.length) for n in self.examples]

    def loss(self, forward: Any, indices: list[int]) -> Tensor:
        task, stage, texts = self.task, self.task.stage, self.task.texts
        examples = [self.examples[n] for n in indices]
        # without examples, `forward` is called with one text, whose row is dropped
        outputs = task.compute_logits(forward, texts, examples or self.examples[:1], self.length)
        outputs = outputs[: len(indices)]
        losses = label_losses(outputs, texts, examples, len(task.labels), stage)
        if task.ratings:
            stars = star_losses(outputs, texts, examples, len(task.labels), task.ratings)
            losses = losses + stage.stars_weight * stars
        return losses.sum() / len(self.examples)


def _length(ids: list[int], limit: int) -> int:
    """Return the tokens of a text with special tokens, once it is cut to `limit`."""
    return min(len(ids) + 2, limit)


def _encode(
    examples: Sequence[Example], tokenizer: ReviewTokenizer, processes: Processes
) -> Encoded:
    if not examples:
        raise TrainingError(
            "there are no labelled texts to train on or to validate with", code="no-training-data"
        )
    return Encoded(
        tokenize([example.text for example in examples], tokenizer, processes),
        [example.target for example in examples],
        [example.rating for example in examples],
        [example.teacher for example in examples],
    )
