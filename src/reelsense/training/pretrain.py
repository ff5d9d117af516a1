"""Masked language modelling: an encoder reads the reviews before it is fine-tuned.

Devlin et al. (2019) hid 15 % of the tokens; Wettig et al. (2023, "Should You Mask 15% in Masked
Language Modeling?") found more to be better. Sun et al. (2019) found that reading on in the task's
own texts helped fine-tuning more than anything else they tried. Every text is cut into even
windows, each is read once; the result is a base model like the one it began with. The state is
saved every few minutes, so that an interrupted run goes on exactly where it was.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import set_seed

from reelsense.errors import TrainingError
from reelsense.inference.batching import stack
from reelsense.inference.tokenizer import ReviewTokenizer, windows
from reelsense.training import checkpoint
from reelsense.training.batches import plan_epoch
from reelsense.training.finetune import CHECKPOINT_EVERY, read_tokenizer, sha256
from reelsense.training.machine import interruptible, keep_freed_memory
from reelsense.training.model import (
    load_masked_lm,
    masked_logits,
    max_length,
    parameter_groups,
)
from reelsense.training.optimize import rate_at, take_step
from reelsense.training.processes import Processes
from reelsense.training.recipe import Recipe, check_lengths
from reelsense.training.speed import Speed, told

_SHORTEST = 12
"""Windows of fewer tokens are left out: there is little to guess a word from."""

_SLICE = 1000


def pretrain(
    recipe: Recipe,
    base: Path,
    texts: Sequence[str],
    out: Path,
    *,
    resume: bool = False,
    checkpoint_every: float = CHECKPOINT_EVERY,
    processes: Processes | None = None,
) -> float:
    """Let the encoder in `base` read `texts` as `recipe` says; leave it in `out` as a new base.

    Returns the mean loss over the last tenth of the steps. `processes` are by default those that a
    launcher has started. Raises StoppedError when interrupted and TrainingError when the run cannot
    go on.
    """
    processes = processes or Processes()
    if not resume:
        checkpoint.refuse_to_overwrite(out)
        processes.wait()  # the others may not have looked yet, and soon there is a run
    keep_freed_memory()
    set_seed(recipe.seed)
    run = _Run(recipe, base, texts, out, processes)
    if resume:
        run.progress = checkpoint.load_state(out, run.fingerprint, run.parts, processes)
    else:
        run.save_state()
    saved = time.monotonic()
    with interruptible() as interrupt:
        for _ in run.steps():
            late = time.monotonic() - saved > checkpoint_every
            stop, save = processes.any(interrupt.requested, late)
            if stop or save:
                run.save_state()
                saved = time.monotonic()
            if stop:
                processes.stop(f"stopped; the state is saved in {out}: go on with --resume")
    processes.say(f"read {told(run.speed.facts())}")
    run.save_state()
    if processes.main:
        run.save_model()
    last = run.progress.history[-max(1, len(run.plan) // 10) :]
    return sum(entry["loss"] for entry in last) / max(1, len(last))


class _Run:
    """Everything one run holds."""

    def __init__(
        self, recipe: Recipe, base: Path, texts: Sequence[str], out: Path, processes: Processes
    ) -> None:
        self.recipe, self.base, self.out = recipe, base, out
        self.tokenizer = read_tokenizer(base)
        self.texts = len(texts)
        self.processes = processes
        self.rows = _rows(texts, recipe.mlm_length, self.tokenizer, processes)
        model = load_masked_lm(base)
        check_lengths(max_length(model), mlm_length=recipe.mlm_length)
        optimizer = torch.optim.AdamW(
            parameter_groups(model, recipe.weight_decay), lr=recipe.mlm_learning_rate, fused=True
        )
        self.model = model
        self.forward, self.optimizer = processes.prepare(model, masked_logits, optimizer)
        self.speed = Speed(model, processes.count)
        lengths = [len(row) for row in self.rows]
        self.plan = plan_epoch(lengths, recipe.tokens_per_batch, recipe.seed, epoch=0)
        self.plan = self.plan[: recipe.most_steps or len(self.plan)]
        self.progress = checkpoint.Progress()
        content = [asdict(recipe), sha256(base / "model.safetensors"), self.rows]
        self.fingerprint = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        processes.check_same(self.fingerprint)

    @property
    def parts(self) -> dict[str, checkpoint.Stateful]:
        return {"model": self.model, "optimizer": self.optimizer}

    def steps(self) -> Iterator[None]:
        self.model.train()
        self.speed.start()
        progress, steps = self.progress, len(self.plan)
        bar = self.processes.bar(total=steps, initial=progress.step, desc="reading", unit="step")
        with bar:
            while progress.step < len(self.plan):
                loss = self._step(self.plan[progress.step])
                progress.step += 1
                progress.steps_done += 1
                progress.history.append({"loss": loss})
                bar.set_postfix(loss=f"{loss:.3f}")
                bar.update()
                yield

    def _step(self, batch: list[int]) -> float:
        """One batch forward and back; returns its mean loss."""
        self.speed.add(len(self.rows[n]) for n in batch)
        ids, mask = stack([self.rows[n] for n in batch], self.tokenizer.pad)
        read, hidden = self._hide(ids)
        accelerator = self.processes.accelerator

        def loss_of(part: list[int]) -> Tensor:
            """What some rows add to the mean loss over all hidden tokens of the batch."""
            some = part or [0]  # an empty part goes the way of the others, with nothing to guess
            guessed = hidden[some] if part else np.zeros_like(hidden[some])
            inputs = (
                torch.from_numpy(each).to(accelerator.device)
                for each in (read[some], mask[some], guessed)
            )
            with accelerator.autocast():
                guesses = self.forward(*inputs)
            wanted = torch.from_numpy(ids[some][guessed]).to(accelerator.device)
            loss = functional.cross_entropy(guesses.float(), wanted, reduction="sum")
            return loss / int(hidden.sum())

        return take_step(
            self.processes,
            self.forward,
            self.optimizer,
            range(len(batch)),
            loss_of,
            rate=self._rate(),
            rate_setting="mlm_learning_rate",
            max_gradient_norm=self.recipe.max_gradient_norm,
        )

    def _rate(self) -> float:
        recipe = self.recipe
        return rate_at(self.progress.step, len(self.plan), recipe.mlm_learning_rate, recipe.warmup)

    def _hide(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return what is read in the place of `ids`, and which of them are to be guessed.

        Of these 80 % become [MASK], 10 % another word, 10 % stay (Devlin et al. 2019, A.1).
        """
        random = np.random.default_rng([self.recipe.seed, self.progress.step])
        frame = self.tokenizer.frame
        special = [frame.first, frame.last, self.tokenizer.pad]
        hidden = (random.random(ids.shape) < self.recipe.mlm_share) & ~np.isin(ids, special)
        hidden[0, 1] = True  # never none at all
        fate = random.random(ids.shape)
        read = ids.copy()
        read[hidden & (fate < 0.8)] = cast("int", self.tokenizer.mask)  # load_masked_lm checks it
        others = hidden & (fate >= 0.9)
        read[others] = random.integers(0, self.model.config.vocab_size, int(others.sum()))
        return read, hidden

    def save_state(self) -> None:
        checkpoint.save_state(self.out, self.fingerprint, self.parts, self.progress, self.processes)

    def save_model(self) -> None:
        encoder: Any = self.model.base_model
        read = {"texts": self.texts, "steps": self.progress.steps_done}
        facts = {"recipe": asdict(self.recipe), "read": read}
        checkpoint.save_model(self.out, encoder, self.tokenizer, facts)


def _rows(
    texts: Sequence[str], length: int, tokenizer: ReviewTokenizer, processes: Processes
) -> list[list[int]]:
    rows: list[list[int]] = []
    with processes.bar(total=len(texts), desc="tokenizing", unit=" reviews") as bar:
        for start in range(0, len(texts), _SLICE):
            some = tokenizer.encode(texts[start : start + _SLICE])
            for ids in some:
                rows += windows(ids, length, tokenizer.frame)
            bar.update(len(some))
    rows = [row for row in rows if len(row) >= _SHORTEST]
    if not rows:
        raise TrainingError("there are no texts to read")
    return rows
