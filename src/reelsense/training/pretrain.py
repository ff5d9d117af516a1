"""Masked language modelling: continued pre-training of an encoder on the texts of the task.

Devlin et al. (2019) hid 15 % of the tokens; Wettig et al. (2023, "Should You Mask 15% in Masked
Language Modeling?") found more to be better. Sun et al. (2019) found that pre-training on the
task's own texts helped fine-tuning more than anything else they tried. Every text is cut into even
windows, and each is read once per epoch; the result is a base model like the one it began with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from reelsense.errors import TrainingError
from reelsense.inference.batching import stack
from reelsense.inference.tokenizer import ReviewTokenizer, windows
from reelsense.training import checkpoint, loop
from reelsense.training.batches import plan_epoch
from reelsense.training.distributed import Processes
from reelsense.training.finetune import sha256, tokenize
from reelsense.training.model import load_masked_lm, masked_logits, max_length
from reelsense.training.pretrained import read_tokenizer
from reelsense.training.recipe import Stage, check_lengths

_SHORTEST = 12
"""Windows of fewer tokens are left out: there is little to predict a word from."""

_VALIDATION = 200
"""Maximum number of windows that the loss is measured on and not learned from, and their share."""
_VALIDATION_SHARE = 0.02


def pretrain(
    stage: Stage,
    base: Path,
    texts: Sequence[str],
    output: Path,
    *,
    resume: bool = False,
    checkpoint_every: float = loop.CHECKPOINT_EVERY,
    processes: Processes | None = None,
) -> list[dict[str, float]]:
    """Continue the pre-training of the encoder in `base` on `texts`; leave it in `output`.

    Args:
        stage: Settings of the stage.
        base: Folder of the pre-trained model.
        texts: What to read; labels are not needed.
        output: Folder for the new base, the state and the metrics.
        resume: Continue from the state saved in `output`.
        checkpoint_every: Seconds between two saved states.
        processes: By default those that a launcher has started.

    Returns:
        The loss on a few windows that are not learned from, after every epoch.

    Raises:
        StoppedError: The user interrupted the run.
        TrainingError: The run cannot continue.
    """
    processes = loop.start(stage, output, processes, resume=resume)
    task = _MaskedModelling(stage, base, texts, output, processes)
    return loop.train(
        task, stage, output, processes, resume=resume, checkpoint_every=checkpoint_every
    )


class _MaskedModelling:
    """The task of the training loop: an encoder that predicts hidden tokens."""

    def __init__(
        self, stage: Stage, base: Path, texts: Sequence[str], output: Path, processes: Processes
    ) -> None:
        self.stage, self.base, self.output, self.processes = stage, base, output, processes
        self.tokenizer = read_tokenizer(base)
        self.texts = len(texts)
        self.model = load_masked_lm(base)
        longest = max(stage.lengths)
        check_lengths(max_length(self.model), lengths=longest)
        rows = _rows(texts, longest, self.tokenizer, processes)
        apart = min(_VALIDATION, int(_VALIDATION_SHARE * len(rows)))
        self.validation, self.rows = rows[:apart], rows[apart:]
        lengths = [len(row) for row in self.rows]
        self.plans = loop.limit_steps(
            [
                plan_epoch(
                    lengths, stage.tokens_per_batch, stage.seed, epoch, stage.texts_per_batch
                )
                for epoch in range(len(stage.lengths))
            ],
            stage.max_steps,
        )
        content = [asdict(stage), sha256(base / "model.safetensors"), rows]
        self.fingerprint = hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def logits(self, model: Any, *inputs: Tensor) -> Tensor:
        return masked_logits(model, *inputs)

    def prepare(self, batch: list[int], progress: checkpoint.TrainingProgress) -> _Batch:
        return self._batch([self.rows[n] for n in batch], progress.steps_done)

    def _batch(self, rows: list[list[int]], step: int) -> _Batch:
        ids, mask = stack(rows, self.tokenizer.pad)
        shown, hidden = self.hide(ids, step)
        return _Batch(self, list(map(len, rows)), ids, mask, shown, hidden)

    def hide(
        self, ids: NDArray[np.int64], step: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return what is read in place of `ids`, and which of them are to be predicted.

        Of these 80 % become the mask token, 10 % another word, 10 % stay (Devlin et al. 2019, A.1).
        """
        random = np.random.default_rng([self.stage.seed, step])
        frame = self.tokenizer.frame
        special = [frame.first, frame.last, self.tokenizer.pad]
        hidden = (random.random(ids.shape) < self.stage.mask_share) & ~np.isin(ids, special)
        hidden[0, 1] = True  # there is always one
        fate = random.random(ids.shape)
        shown = ids.copy()
        # load_masked_lm has checked that there is one
        shown[hidden & (fate < 0.8)] = cast("int", self.tokenizer.mask)
        others = hidden & (fate >= 0.9)
        shown[others] = random.integers(0, self.model.config.vocab_size, int(others.sum()))
        return shown, hidden

    @torch.no_grad()
    def evaluate(self, model: PreTrainedModel) -> dict[str, float]:
        """Return the mean loss over the hidden tokens of the windows that are kept apart."""
        if not self.validation:
            return {"loss": 0.0}
        model.train(False)
        forward = partial(self.logits, model)
        size = max(1, self.stage.tokens_per_batch // max(self.stage.lengths))
        loss = tokens = 0.0
        for start in range(0, len(self.validation), size):
            batch = self._batch(self.validation[start : start + size], step=start)
            count = int(batch.hidden.sum())
            loss += batch.loss(forward, list(range(len(batch.tokens)))).item() * count
            tokens += count
        return {"loss": loss / tokens}

    def save(self, model: Any, metrics: dict[str, float]) -> None:
        read = {"texts": self.texts, "steps": sum(map(len, self.plans))}
        facts = {"recipe": asdict(self.stage), "read": read, "validation": metrics}
        checkpoint.save_model(self.output, model.base_model, self.tokenizer, facts)


@dataclass(frozen=True, slots=True)
class _Batch:
    task: _MaskedModelling
    tokens: list[int]
    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    shown: NDArray[np.int64]
    hidden: NDArray[np.bool_]

    def loss(self, forward: Any, part: list[int]) -> Tensor:
        """Return what the rows `part` add to the mean loss over all hidden tokens of the batch."""
        some = part or [0]  # an empty part passes through with nothing to predict
        hidden = self.hidden[some] if part else np.zeros_like(self.hidden[some])
        accelerator = self.task.processes.accelerator
        inputs = (
            torch.from_numpy(array).to(accelerator.device)
            for array in (self.shown[some], self.mask[some], hidden)
        )
        with accelerator.autocast():
            guesses = forward(*inputs)
        targets = torch.from_numpy(self.ids[some][hidden]).to(accelerator.device)
        loss = functional.cross_entropy(guesses.float(), targets, reduction="sum")
        return loss / int(self.hidden.sum())


def _rows(
    texts: Sequence[str], length: int, tokenizer: ReviewTokenizer, processes: Processes
) -> list[list[int]]:
    rows = [
        row
        for ids in tokenize(texts, tokenizer, processes)
        for row in windows(ids, length, tokenizer.frame)
        if len(row) >= _SHORTEST
    ]
    if not rows:
        raise TrainingError("there are no texts to read")
    return rows
