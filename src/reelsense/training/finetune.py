"""Fine-tune a pre-trained BERT on labelled reviews: one loop, top to bottom.

Each epoch cuts every review to its beginning and end, fills batches by token budget and takes one
AdamW step a batch, under a learning rate that warms up and then falls linearly. After each epoch
the held-out reviews are scored; the folder always carries the best epoch so far, as an ordinary
transformers checkpoint. Every few minutes the whole state is saved, so that an interrupted run
goes on exactly where it was. Several processes take the same steps as one (`processes`).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import PreTrainedModel, set_seed

from reelsense.datasets.reviews import Split
from reelsense.errors import TrainingError
from reelsense.inference.batching import fill, stack
from reelsense.inference.tokenizer import ReviewTokenizer, head_and_tail
from reelsense.training import checkpoint
from reelsense.training.batches import Encoded, plan_epoch
from reelsense.training.examples import Example, hard_examples
from reelsense.training.identities import equalize_identities
from reelsense.training.machine import interruptible, keep_freed_memory
from reelsense.training.model import load_model, logits, max_length, parameter_groups
from reelsense.training.optimize import rate_at, take_step
from reelsense.training.processes import Processes
from reelsense.training.recipe import Recipe, check_lengths
from reelsense.training.speed import Speed, told

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
    extra: Sequence[Example] = (),
    resume: bool = False,
    checkpoint_every: float = CHECKPOINT_EVERY,
    processes: Processes | None = None,
) -> list[dict[str, float]]:
    """Train as `recipe` says and leave the best epoch in `out`; return the held-out history.

    `base` is the folder of the pre-trained model, `extra` what is learned from beside
    `split.train`. With `resume`, goes on from the state saved in `out`. `processes` are by default
    those that a launcher has started. Raises StoppedError when interrupted and TrainingError when
    the run cannot go on.
    """
    processes = processes or Processes()
    if not resume:
        checkpoint.refuse_to_overwrite(out)
        processes.wait()  # the others may not have looked yet, and soon there is a run
    keep_freed_memory()
    set_seed(recipe.seed)
    examples = [*hard_examples(split.train, labels), *extra]
    ratings = sorted({each.rating for each in examples if each.rating and recipe.stars_weight})
    model = load_model(base, labels, recipe.dropout, recipe.attention_dropout, ratings)
    check_lengths(max_length(model), lengths=max(recipe.lengths), window=recipe.window)
    tokenizer = read_tokenizer(base)
    if recipe.equal_identities:
        equalize_identities(model, tokenizer)
    train = _encode(examples, tokenizer, processes)
    held_out = _encode(hard_examples(split.held_out, labels), tokenizer, processes)
    sources = Counter(
        source for source, _ in {(each.source or "examples", each.text) for each in extra}
    )
    run = _Run(recipe, base, labels, out, tokenizer, model, train, held_out, sources, processes)
    if resume:
        run.load_state()
    else:
        run.save_state()  # there is always one to resume from
    saved = time.monotonic()
    with interruptible() as interrupt:
        while run.progress.epoch < len(run.plans):
            for _ in run.steps_of_epoch():
                late = time.monotonic() - saved > checkpoint_every
                stop, save = processes.any(interrupt.requested, late)
                if stop or save:
                    run.save_state()
                    saved = time.monotonic()
                if stop:
                    processes.stop(f"stopped; the state is saved in {out}: go on with --resume")
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
        model: PreTrainedModel,
        train: Encoded,
        held_out: Encoded,
        sources: Counter[str],
        processes: Processes,
    ) -> None:
        """`sources` says how many examples beside the reviews came from where: noted, not used."""
        self.recipe, self.base, self.labels, self.out = recipe, base, list(labels), out
        self.sources = sources
        self.tokenizer, self.train, self.held_out = tokenizer, train, held_out
        self.processes, self.model = processes, model
        optimizer = torch.optim.AdamW(
            parameter_groups(model, recipe.weight_decay), lr=recipe.learning_rate, fused=True
        )
        self.forward, self.optimizer = processes.prepare(model, logits, optimizer)
        self.ratings: list[int] = model.config.star_ratings
        self.begun = deepcopy(model.state_dict()) if recipe.base_share else {}
        self.averaged = _averaged(model, recipe.average)
        self.speed = Speed(model, processes.count)
        self.progress = checkpoint.Progress()
        self.plans = self._plans()
        self.total = sum(map(len, self.plans))
        self.base_sha256 = sha256(base / "model.safetensors")
        self.fingerprint = checkpoint.fingerprint(
            asdict(recipe) | {"base_sha256": self.base_sha256}, self.labels, train, held_out
        )
        processes.check_same(self.fingerprint)
        if processes.rank:  # from here on, each has its own noise
            torch.manual_seed(recipe.seed + processes.rank)

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
        recipe = self.recipe
        lengths = [_length(ids, recipe.lengths[epoch]) for ids in self.train.ids]
        return plan_epoch(
            lengths, recipe.tokens_per_batch, recipe.seed, epoch, recipe.texts_per_batch
        )

    def steps_of_epoch(self) -> Iterator[None]:
        """Yield after every step of the epoch that `progress` stands in."""
        progress, plan = self.progress, self.plans[self.progress.epoch]
        self.model.train()
        self.speed.start()
        title = f"epoch {progress.epoch + 1}/{len(self.plans)}"
        bar = self.processes.bar(total=len(plan), initial=progress.step, desc=title, unit="step")
        with bar:
            while progress.step < len(plan):
                loss = self._step(plan[progress.step])
                progress.step += 1
                progress.steps_done += 1
                bar.set_postfix(loss=f"{loss:.3f}")
                bar.update()
                self._log({"step": progress.steps_done, "loss": loss, "rate": self._rate()})
                yield

    def _step(self, batch: list[int]) -> float:
        """One batch forward and back; returns its mean loss."""
        loss = take_step(
            self.processes,
            self.forward,
            self.optimizer,
            batch,
            lambda part: self._loss(part, len(batch)),
            rate=self._rate(),
            rate_setting="learning_rate",
            max_gradient_norm=self.recipe.max_gradient_norm,
        )
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)
        length = self.recipe.lengths[self.progress.epoch]
        self.speed.add(_length(self.train.ids[n], length) for n in batch)
        return loss

    def _loss(self, part: list[int], size: int) -> Tensor:
        """What `part` adds to the mean loss of a batch of `size`.

        That is the cross-entropy of the labels, and of the stars of those reviews that have them.
        """
        labels, examples = len(self.labels), self.train
        some = part or [
            0
        ]  # an empty part goes the way of the others, with a review that is dropped
        length = self.recipe.lengths[self.progress.epoch]
        scores = self._logits(self.forward, examples, some, length).float()[: len(part)]
        wanted = torch.tensor([examples.targets[n] for n in part], device=scores.device)
        wanted = wanted.reshape(len(part), labels)
        loss = functional.cross_entropy(scores[:, :labels], wanted, reduction="sum") / size
        rated = [row for row, n in enumerate(part) if examples.ratings[n] in self.ratings]
        if not (self.ratings and rated):
            return loss
        stars = [self.ratings.index(examples.ratings[part[row]] or 0) for row in rated]
        off = functional.cross_entropy(
            scores[rated, labels:], torch.tensor(stars, device=scores.device), reduction="sum"
        )
        return loss + self.recipe.stars_weight * off / size

    def _rate(self) -> float:
        """Learning rate of the next step."""
        recipe = self.recipe
        return rate_at(self.progress.steps_done, self.total, recipe.learning_rate, recipe.warmup)

    def _logits(
        self, forward: Callable[..., Tensor], reviews: Encoded, batch: list[int], length: int
    ) -> Tensor:
        share, accelerator = self.recipe.head_share, self.processes.accelerator
        rows = [head_and_tail(reviews.ids[n], length, share, self.tokenizer.frame) for n in batch]
        ids, mask = (
            torch.from_numpy(part).to(accelerator.device) for part in stack(rows, self.tokenizer.pad)
        )
        with accelerator.autocast():
            return forward(ids, mask)

    def finish_epoch(self) -> None:
        """Score the held-out part, keep the epoch if it is the best, and save the state."""
        speed = self.speed.facts()
        result = self._score_held_out()
        best = min((past["loss"] for past in self.progress.history), default=float("inf"))
        self.progress.history.append(result)
        if result["loss"] < best and self.processes.main:
            checkpoint.save_model(
                self.out,
                self._best_model(),
                self.tokenizer,
                {
                    "recipe": asdict(self.recipe),
                    "base_sha256": self.base_sha256,
                    "labels": self.labels,
                    "ratings": self.ratings,
                    "held_out": result,
                    **self._history(),
                },
            )
        epoch = self.progress.epoch + 1
        self._log({"epoch": epoch, **result, "step": self.progress.steps_done, **speed})
        self.processes.say(
            f"epoch {epoch}: held-out accuracy {result['accuracy']:.2%}, loss {result['loss']:.4f}"
            f"{', the best so far' if result['loss'] < best else ''}; {told(speed)}"
        )
        self.progress.epoch += 1
        self.progress.step = 0
        self.save_state()

    def _history(self) -> dict[str, Any]:
        """What the model has learned from beside the reviews, before this run and in it."""
        before = checkpoint.facts(self.base)
        recipe = [before["recipe"]] if "recipe" in before else []
        return {
            "read": before.get("read", {}),
            "earlier_recipes": [*before.get("earlier_recipes", []), *recipe],
            "extra_examples": self.sources | Counter(before.get("extra_examples", {})),
        }

    def _best_model(self) -> PreTrainedModel:
        """The averaged weights where an average is kept, else the last ones.

        Where the recipe wants a `base_share`, a copy between them and those it began with: what
        was learned before keeps more of its strength (Wortsman et al. 2022, "Robust Fine-Tuning of
        Zero-Shot Models").
        """
        model: Any = self.model if self.averaged is None else self.averaged.module
        if self.begun:
            model = deepcopy(model)
            with torch.no_grad():
                for name, weights in model.state_dict().items():
                    weights.lerp_(self.begun[name].to(weights.device), self.recipe.base_share)
        return cast("PreTrainedModel", model)

    @torch.no_grad()
    def _score_held_out(self) -> dict[str, float]:
        """Each process scores its share of the batches; the result is that of all reviews."""
        forward = partial(logits, self._best_model().train(False))
        longest = max(self.recipe.lengths)
        lengths = [_length(ids, longest) for ids in self.held_out.ids]
        order = sorted(range(len(lengths)), key=lambda n: lengths[n])
        batches = fill(order, lengths, self.recipe.tokens_per_batch)
        loss = correct = 0.0
        off: list[float] = []
        scored = 0
        for batch in self.processes.bar(iterable=self.processes.share(batches), desc="held-out"):
            scores = self._logits(forward, self.held_out, batch, longest).float().cpu()
            labels = scores[:, : len(self.labels)]
            wanted = torch.tensor([self.held_out.targets[n] for n in batch]).argmax(1)
            loss += functional.cross_entropy(labels, wanted, reduction="sum").item()
            correct += (labels.argmax(1) == wanted).sum().item()
            scored += len(batch)
            if self.ratings:
                stars = scores[:, len(self.labels) :].softmax(1) @ scores.new_tensor(self.ratings)
                known = [self.held_out.ratings[n] for n in batch]
                off += [abs(s - r) for s, r in zip(stars.tolist(), known, strict=True) if r]
        sums = self.processes.sum([loss, correct, sum(off), len(off), scored])
        loss, correct, all_off, rated, reviews = sums
        if reviews != len(lengths):
            raise TrainingError(f"{reviews:.0f} of {len(lengths)} held-out reviews were scored")
        result = {"loss": loss / reviews, "accuracy": correct / reviews}
        return result | ({"stars_off": all_off / rated} if rated else {})

    def save_state(self) -> None:
        checkpoint.save_state(
            self.out, self.fingerprint, self._parts(), self.progress, self.processes
        )

    def load_state(self) -> None:
        self.progress = checkpoint.load_state(
            self.out, self.fingerprint, self._parts(), self.processes
        )

    def _parts(self) -> dict[str, checkpoint.Stateful]:
        parts: dict[str, checkpoint.Stateful] = {"model": self.model, "optimizer": self.optimizer}
        return parts if self.averaged is None else parts | {"averaged": self.averaged}

    def _log(self, entry: dict[str, float]) -> None:
        if not self.processes.main:
            return
        with (self.out / checkpoint.METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def read_tokenizer(base: Path) -> ReviewTokenizer:
    """Read the tokenizer of the pre-trained model in `base`. Raises TrainingError without one."""
    try:
        return ReviewTokenizer((base / "tokenizer.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"{base} holds no tokenizer.json: {error.strerror}") from error


def sha256(weights: Path) -> str | None:
    """The SHA-256 of `weights`; None where a base has them in another file."""
    if not weights.is_file():
        return None
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _averaged(model: PreTrainedModel, decay: float) -> AveragedModel | None:
    """A moving average of the weights of `model`, or None for a decay of 0."""
    if not decay:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))


def _length(ids: list[int], most: int) -> int:
    """How many tokens a review has, [CLS] and [SEP] among them, once it is cut."""
    return min(len(ids) + 2, most)


def _encode(
    examples: Sequence[Example], tokenizer: ReviewTokenizer, processes: Processes
) -> Encoded:
    if not examples:
        raise TrainingError("there are no labelled reviews to train on or to hold out")
    ids: list[list[int]] = []
    with processes.bar(total=len(examples), desc="tokenizing", unit=" reviews") as bar:
        for start in range(0, len(examples), _SLICE):
            ids += tokenizer.encode([each.text for each in examples[start : start + _SLICE]])
            bar.update(len(ids) - bar.n)
    return Encoded(ids, [each.target for each in examples], [each.rating for each in examples])
