"""Fine-tuning of a pre-trained encoder on labelled texts, and distillation from teachers.

Each epoch cuts every text to its beginning and end and fills batches by token budget. After each
epoch the validation set is scored. The loss of a text is the cross-entropy with its label; where a
teacher has scored it, the distillation loss of Hinton et al. (2015, "Distilling the Knowledge in a
Neural Network") takes `teacher_weight` of that. Star ratings add a loss of their own.
"""

from __future__ import annotations

import hashlib
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
from reelsense.training.batches import Encoded, plan_epoch
from reelsense.training.distributed import Processes
from reelsense.training.examples import Example, hard_examples
from reelsense.training.identities import equalize_identities
from reelsense.training.model import load_model, logits, max_length
from reelsense.training.pretrained import read_tokenizer
from reelsense.training.recipe import Stage, check_lengths

_SLICE = 1000
"""Texts tokenized between two updates of the progress bar."""


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
    """Train as `stage` describes and leave the best epoch in `output`.

    Args:
        stage: Settings of the stage.
        base: Folder of the pre-trained model.
        split: Labelled reviews; `split.validation` is the validation set.
        labels: Names of the labels, in the order of the outputs.
        output: Folder for checkpoint, state and metrics.
        examples: What to learn from, by default `split.train`.
        resume: Continue from the state saved in `output`.
        checkpoint_every: Seconds between two saved states.
        processes: By default those that a launcher has started.

    Returns:
        Metrics on the validation set after every epoch.

    Raises:
        StoppedError: The user interrupted the run.
        TrainingError: The run cannot continue.
    """
    processes = loop.start(stage, output, processes, resume=resume)
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
        with_stars = {example.rating for example in examples if stage.stars_weight}
        self.ratings = sorted(rating for rating in with_stars if rating)
        self.model = load_model(
            base, labels, stage.dropout, stage.attention_dropout, self.ratings, stage.pool_after
        )
        check_lengths(max_length(self.model), lengths=max(stage.lengths), window=stage.window)
        self.tokenizer = read_tokenizer(base)
        if stage.shared_identity_embeddings:
            equalize_identities(self.model, self.tokenizer)
        self.train = _encode(examples, self.tokenizer, processes)
        self.validation = _encode(
            hard_examples(split.validation, labels), self.tokenizer, processes
        )
        self.sources = Counter(
            source for source, _ in {(each.source, each.text) for each in examples if each.source}
        )
        self.plans = loop.limit_steps(
            [self._plan(epoch) for epoch in range(len(stage.lengths))], stage.max_steps
        )
        self.base_sha256 = sha256(base / "model.safetensors")
        self.fingerprint = checkpoint.fingerprint(
            asdict(stage) | {"base_sha256": self.base_sha256},
            self.labels,
            self.train,
            self.validation,
        )

    def _plan(self, epoch: int) -> list[list[int]]:
        stage = self.stage
        lengths = [_length(ids, stage.lengths[epoch]) for ids in self.train.ids]
        return plan_epoch(lengths, stage.tokens_per_batch, stage.seed, epoch, stage.texts_per_batch)

    def logits(self, model: Any, *inputs: Tensor) -> Tensor:
        return logits(model, *inputs)

    def prepare(self, batch: list[int], progress: checkpoint.TrainingProgress) -> _Batch:
        return _Batch(self, batch, self.stage.lengths[progress.epoch])

    def scores(self, forward: Any, texts: Encoded, numbers: Sequence[int], length: int) -> Tensor:
        """Return the logits (texts, labels + ratings) of some of `texts`, in float32."""
        share, accelerator = self.stage.head_share, self.processes.accelerator
        frame = self.tokenizer.frame
        rows = [head_and_tail(texts.ids[n], length, share, frame) for n in numbers]
        ids, mask = (
            torch.from_numpy(array).to(accelerator.device)
            for array in stack(rows, self.tokenizer.pad)
        )
        with accelerator.autocast():
            scores: Tensor = forward(ids, mask)
        return scores.float()

    @torch.no_grad()
    def evaluate(self, model: PreTrainedModel) -> dict[str, float]:
        """Score the validation set, a share of it in each process."""
        model.train(False)
        longest = max(self.stage.lengths)
        lengths = [_length(ids, longest) for ids in self.validation.ids]
        order = sorted(range(len(lengths)), key=lambda n: lengths[n])
        batches = fill(order, lengths, self.stage.tokens_per_batch)
        loss = correct = 0.0
        errors: list[float] = []
        scored = 0
        for batch in self.processes.bar(iterable=self.processes.share(batches), desc="validation"):
            scores = self.scores(partial(logits, model), self.validation, batch, longest)
            scores = scores.cpu()
            targets = torch.tensor([self.validation.targets[n] for n in batch]).argmax(1)
            of_labels = scores[:, : len(self.labels)]
            loss += functional.cross_entropy(of_labels, targets, reduction="sum").item()
            correct += (of_labels.argmax(1) == targets).sum().item()
            scored += len(batch)
            if self.ratings:
                stars = scores[:, len(self.labels) :].softmax(1) @ scores.new_tensor(self.ratings)
                known = [self.validation.ratings[n] for n in batch]
                errors += [abs(s - r) for s, r in zip(stars.tolist(), known, strict=True) if r]
        sums = self.processes.sum([loss, correct, sum(errors), len(errors), scored])
        loss, correct, star_error, rated, reviews = sums
        if reviews != len(lengths):
            raise TrainingError(f"{reviews:.0f} of {len(lengths)} validation texts were scored")
        metrics = {"loss": loss / reviews, "accuracy": correct / reviews}
        return metrics | ({"star_mae": star_error / rated} if rated else {})

    def save(self, model: PreTrainedModel, metrics: dict[str, float]) -> None:
        facts = {
            "recipe": asdict(self.stage),
            "base_sha256": self.base_sha256,
            "labels": self.labels,
            "ratings": self.ratings,
            "validation": metrics,
            **self._history(),
        }
        checkpoint.save_model(self.output, model, self.tokenizer, facts)

    def _history(self) -> dict[str, Any]:
        """Return what the model has learned from, before this stage and in it."""
        before = checkpoint.facts(self.base)
        recipe = [before["recipe"]] if "recipe" in before else []
        return {
            "read": before.get("read", {}),
            "earlier_recipes": [*before.get("earlier_recipes", []), *recipe],
            "extra_examples": self.sources | Counter(before.get("extra_examples", {})),
        }


@dataclass(frozen=True, slots=True)
class _Batch:
    task: _FineTuning
    examples: list[int]
    length: int

    @property
    def tokens(self) -> list[int]:
        return [_length(self.task.train.ids[n], self.length) for n in self.examples]

    def loss(self, forward: Any, part: list[int]) -> Tensor:
        """Return what `part` adds to the mean loss of the batch."""
        task, texts = self.task, self.task.train
        numbers = [self.examples[n] for n in part]
        # an empty part passes through with a text that is dropped
        scores = task.scores(forward, texts, numbers or self.examples[:1], self.length)
        scores = scores[: len(part)]
        losses = _label_losses(scores, texts, numbers, len(task.labels), task.stage)
        if task.ratings:
            stars = _star_losses(scores, texts, numbers, task)
            losses = losses + task.stage.stars_weight * stars
        return losses.sum() / len(self.examples)


def _label_losses(
    scores: Tensor, texts: Encoded, numbers: Sequence[int], labels: int, stage: Stage
) -> Tensor:
    """Return the loss (texts) over the labels: cross-entropy, mixed with distillation."""
    targets = scores.new_tensor([texts.targets[n] for n in numbers]).reshape(-1, labels)
    losses = functional.cross_entropy(scores[:, :labels], targets, reduction="none")
    taught = [row for row, n in enumerate(numbers) if texts.teachers[n]]
    if not taught or stage.kind != "distill":
        return losses
    teacher = scores.new_tensor([texts.teachers[numbers[row]][:labels] for row in taught])
    distilled = _distillation(scores[taught, :labels], teacher, stage.temperature)
    weight = stage.teacher_weight
    return losses.index_put(
        (torch.tensor(taught, device=scores.device),),
        (1 - weight) * losses[taught] + weight * distilled,
    )


def _star_losses(
    scores: Tensor, texts: Encoded, numbers: Sequence[int], task: _FineTuning
) -> Tensor:
    """Return the loss (texts) over the star ratings; 0 for texts without any.

    A teacher that has learned the same ratings takes the place of a rating that is not known.
    """
    labels, ratings = len(task.labels), task.ratings
    targets = scores.new_zeros(len(numbers), len(ratings))
    for row, n in enumerate(numbers):
        rating, teacher = texts.ratings[n], texts.teachers[n]
        if rating in ratings:
            targets[row, ratings.index(rating)] = 1.0
        elif len(teacher) == labels + len(ratings):
            targets[row] = scores.new_tensor(teacher[labels:]).softmax(0)
    return functional.cross_entropy(scores[:, labels:], targets, reduction="none")


def _distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy (texts) with the teacher's softened probabilities.

    Times the squared temperature, so that its gradient is of the size of the hard loss.
    """
    soft = (teacher / temperature).softmax(1)
    losses = functional.cross_entropy(student / temperature, soft, reduction="none")
    return losses * temperature**2


def sha256(weights: Path) -> str | None:
    """Return the SHA-256 of `weights`, or None if a base stores them in another file."""
    if not weights.is_file():
        return None
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _length(ids: list[int], limit: int) -> int:
    """Return how many tokens a text has, special tokens included, once it is cut."""
    return min(len(ids) + 2, limit)


def _encode(
    examples: Sequence[Example], tokenizer: ReviewTokenizer, processes: Processes
) -> Encoded:
    if not examples:
        raise TrainingError("there are no labelled texts to train or to validate on")
    ids = tokenize([example.text for example in examples], tokenizer, processes)
    return Encoded(
        ids,
        [example.target for example in examples],
        [example.rating for example in examples],
        [example.teacher for example in examples],
    )


def tokenize(
    texts: Sequence[str], tokenizer: ReviewTokenizer, processes: Processes
) -> list[list[int]]:
    """Return the token ids of `texts`, whole, under a progress bar. Repeated texts share theirs."""
    distinct = list(dict.fromkeys(texts))
    ids: list[list[int]] = []
    with processes.bar(total=len(distinct), desc="tokenizing", unit=" texts") as bar:
        for start in range(0, len(distinct), _SLICE):
            ids += tokenizer.encode(distinct[start : start + _SLICE])
            bar.update(len(ids) - bar.n)
    known = dict(zip(distinct, ids, strict=True))
    return [known[text] for text in texts]
