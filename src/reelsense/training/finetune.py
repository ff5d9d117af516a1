"""Fine-tune a pre-trained BERT on labelled reviews: one loop, top to bottom.

Each epoch cuts every review to its beginning and end, fills batches by token budget and takes one
AdamW step a batch, under a learning rate that warms up and then falls linearly. After each epoch
the held-out reviews are scored; the folder always carries the best epoch so far, as an ordinary
transformers checkpoint. Every few minutes the whole state is saved, so that an interrupted run
goes on exactly where it was.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.nn import functional
from tqdm import tqdm
from transformers import BertForSequenceClassification, set_seed

from reelsense.datasets.reviews import Review, Split
from reelsense.errors import StoppedError, TrainingError
from reelsense.inference.batching import fill, stack
from reelsense.inference.tokenizer import ReviewTokenizer, head_and_tail
from reelsense.training import checkpoint
from reelsense.training.batches import Encoded, plan_epoch
from reelsense.training.machine import interruptible, keep_freed_memory, mixed_precision
from reelsense.training.model import load_model, logits, parameter_groups
from reelsense.training.recipe import Recipe, check_lengths

CHECKPOINT_EVERY = 180.0
"""Seconds between two saved states."""

_SLICE = 1000
"""Reviews tokenized between two moves of the progress bar."""


def finetune(
    recipe: Recipe,
    base: Path,
    split: Split,
    labels: Sequence[str],
    out: Path,
    *,
    resume: bool = False,
    checkpoint_every: float = CHECKPOINT_EVERY,
) -> list[dict[str, float]]:
    """Train as `recipe` says and leave the best epoch in `out`; return the held-out history.

    `base` is the folder of the pre-trained model. With `resume`, goes on from the state saved in
    `out`. Raises StoppedError when interrupted and TrainingError when the run cannot go on.
    """
    if not resume:
        checkpoint.refuse_to_overwrite(out)
    keep_freed_memory()
    set_seed(recipe.seed)
    model = load_model(base, labels, recipe.dropout, recipe.attention_dropout)
    check_lengths(recipe, model.config.max_position_embeddings)
    tokenizer = _tokenizer(base)
    train = _encode(split.train, labels, tokenizer)
    held_out = _encode(split.held_out, labels, tokenizer)
    run = _Run(recipe, base, labels, out, tokenizer, model, train, held_out)
    if resume:
        run.progress = checkpoint.load_state(out, run.fingerprint, model, run.optimizer)
    else:
        run.save_state()  # there is always one to resume from
    with interruptible() as interrupt:
        while run.progress.epoch < len(run.plans):
            for _ in run.steps_of_epoch(checkpoint_every):
                if interrupt.requested:
                    run.save_state()
                    raise StoppedError(f"stopped; the state is saved in {out}: go on with --resume")
            run.finish_epoch()
    return run.progress.history


class _Run:
    """Everything one run holds."""

    def __init__(
        self,
        recipe: Recipe,
        base: Path,
        labels: Sequence[str],
        out: Path,
        tokenizer: ReviewTokenizer,
        model: BertForSequenceClassification,
        train: Encoded,
        held_out: Encoded,
    ) -> None:
        self.recipe, self.base, self.labels, self.out = recipe, base, list(labels), out
        self.frame, self.train, self.held_out = tokenizer.frame, train, held_out
        self.pad = tokenizer.pad
        self.accelerator = Accelerator(mixed_precision=mixed_precision())
        optimizer = torch.optim.AdamW(
            parameter_groups(model, recipe.weight_decay), lr=recipe.learning_rate, fused=True
        )
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.progress = checkpoint.Progress()
        self.plans = self._plans()
        self.total = sum(map(len, self.plans))
        self.base_sha256 = _sha256(base / "model.safetensors")
        self.fingerprint = checkpoint.fingerprint(
            asdict(recipe) | {"base_sha256": self.base_sha256}, self.labels, train, held_out
        )

    def _plans(self) -> list[list[list[int]]]:
        """The batches of every epoch, `most_steps` in all."""
        plans = [self._plan(epoch) for epoch in range(len(self.recipe.lengths))]
        left = self.recipe.most_steps or sum(map(len, plans))
        shortened = []
        for plan in plans:
            shortened.append(plan[:left])
            left -= len(shortened[-1])
        return [plan for plan in shortened if plan]

    def _plan(self, epoch: int) -> list[list[int]]:
        longest = self.recipe.lengths[epoch]
        lengths = [min(len(ids) + 2, longest) for ids in self.train.ids]
        return plan_epoch(lengths, self.recipe.tokens_per_batch, self.recipe.seed, epoch)

    def steps_of_epoch(self, checkpoint_every: float) -> Iterator[None]:
        """Yield after every step of the epoch that `progress` stands in."""
        progress, plan = self.progress, self.plans[self.progress.epoch]
        self.model.train()
        saved = time.monotonic()
        title = f"epoch {progress.epoch + 1}/{len(self.plans)}"
        with tqdm(total=len(plan), initial=progress.step, desc=title, unit="step") as bar:
            while progress.step < len(plan):
                loss = self._step(plan[progress.step])
                progress.step += 1
                progress.steps_done += 1
                bar.set_postfix(loss=f"{loss:.3f}")
                bar.update()
                self._log({"step": progress.steps_done, "loss": loss, "rate": self._rate()})
                if time.monotonic() - saved > checkpoint_every:
                    self.save_state()
                    saved = time.monotonic()
                yield

    def _step(self, batch: list[int]) -> float:
        """One batch forward and back; returns its mean loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        scores = self._logits(self.train, batch, self.recipe.lengths[self.progress.epoch])
        wanted = torch.tensor([self.train.labels[n] for n in batch], device=scores.device)
        loss = functional.cross_entropy(scores.float(), wanted)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.max_gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        value = loss.item()
        if value != value:
            raise TrainingError("the loss is not a number any more: lower learning_rate")
        return value

    def _rate(self) -> float:
        """Learning rate of the next step: a linear rise, then a linear fall to zero."""
        warm = max(1, round(self.total * self.recipe.warmup))
        done = self.progress.steps_done
        up = (done + 1) / warm
        down = (self.total - done) / max(1, self.total - warm)
        return self.recipe.learning_rate * max(0.0, min(up, down, 1.0))

    def _logits(self, reviews: Encoded, batch: list[int], length: int) -> torch.Tensor:
        share = self.recipe.head_share
        rows = [head_and_tail(reviews.ids[n], length, share, self.frame) for n in batch]
        ids, mask = (
            torch.from_numpy(part).to(self.accelerator.device) for part in stack(rows, self.pad)
        )
        with self.accelerator.autocast():
            return logits(self.model, ids, mask)

    def finish_epoch(self) -> None:
        """Score the held-out part, keep the epoch if it is the best, and save the state."""
        result = self._score_held_out()
        best = min((past["loss"] for past in self.progress.history), default=float("inf"))
        self.progress.history.append(result)
        if result["loss"] < best:
            checkpoint.save_model(
                self.out,
                self.accelerator.unwrap_model(self.model),
                self.base / "tokenizer.json",
                {
                    "recipe": asdict(self.recipe),
                    "base_sha256": self.base_sha256,
                    "labels": self.labels,
                    "held_out": result,
                },
            )
        self._log({"epoch": self.progress.epoch + 1, **result, "step": self.progress.steps_done})
        print(
            f"epoch {self.progress.epoch + 1}: held-out accuracy {result['accuracy']:.2%}, "
            f"loss {result['loss']:.4f}{', the best so far' if result['loss'] < best else ''}"
        )
        self.progress.epoch += 1
        self.progress.step = 0
        self.save_state()

    @torch.no_grad()
    def _score_held_out(self) -> dict[str, float]:
        self.model.eval()
        longest = max(self.recipe.lengths)
        lengths = [min(len(ids) + 2, longest) for ids in self.held_out.ids]
        order = sorted(range(len(lengths)), key=lambda n: lengths[n])
        loss = correct = 0.0
        for batch in tqdm(fill(order, lengths, self.recipe.tokens_per_batch), desc="held-out"):
            scores = self._logits(self.held_out, batch, longest).float().cpu()
            wanted = torch.tensor([self.held_out.labels[n] for n in batch])
            loss += functional.cross_entropy(scores, wanted, reduction="sum").item()
            correct += (scores.argmax(1) == wanted).sum().item()
        return {"loss": loss / len(lengths), "accuracy": correct / len(lengths)}

    def save_state(self) -> None:
        checkpoint.save_state(self.out, self.fingerprint, self.model, self.optimizer, self.progress)

    def _log(self, entry: dict[str, float]) -> None:
        with (self.out / checkpoint.METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def _tokenizer(base: Path) -> ReviewTokenizer:
    try:
        return ReviewTokenizer((base / "tokenizer.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"{base} holds no tokenizer.json: {error.strerror}") from error


def _sha256(weights: Path) -> str | None:
    """The SHA-256 of `weights`; None where a base has them in another file."""
    if not weights.is_file():
        return None
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _encode(
    reviews: Sequence[Review], labels: Sequence[str], tokenizer: ReviewTokenizer
) -> Encoded:
    index = {label: n for n, label in enumerate(labels)}
    known = [(review.text, index[review.label]) for review in reviews if review.label in index]
    if not known:
        raise TrainingError("there are no labelled reviews to train on or to hold out")
    ids: list[list[int]] = []
    with tqdm(total=len(known), desc="tokenizing", unit=" reviews") as bar:
        for start in range(0, len(known), _SLICE):
            ids += tokenizer.encode([text for text, _ in known[start : start + _SLICE]])
            bar.update(len(ids) - bar.n)
    return Encoded(ids, [label for _, label in known])
