"""Continued pre-training of an encoder on texts of the task, by masked language modelling.

Devlin et al. (2019) masked 15 % of the tokens; Wettig et al. (2023, "Should You Mask 15% in Masked
Language Modeling?") found higher rates to be better. Sun et al. (2019) found that pre-training on
the task's own texts helped fine-tuning more than anything else they tried. Every text is cut into
even windows, each of which is used once per epoch. The result is a base model for fine-tuning.
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
from reelsense.inference.tokenizer import windows
from reelsense.training import checkpoint, loop
from reelsense.training.batches import plan_epoch, tokenize
from reelsense.training.distributed import Processes
from reelsense.training.model import load_masked_lm, masked_logits, max_length
from reelsense.training.pretrained import read_tokenizer
from reelsense.training.recipe import Stage, check_lengths

_MIN_LENGTH = 12
"""Windows with fewer tokens are skipped: they give too little context for a prediction."""

_MAX_VALIDATION_WINDOWS = 200
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
    """Continue the pre-training of the encoder in `base` on `texts`; write it to `output`.

    Args:
        stage: Settings of the stage.
        base: Folder of the pre-trained model.
        texts: What to train on, without labels.
        output: Folder for the new base model, the state and the metrics.
        resume: Continue from the state saved in `output`.
        checkpoint_every: Seconds between two saved states.
        processes: By default those that a launcher has started.

    Returns:
        The loss on a few validation windows after every epoch.

    Raises:
        StoppedError: The user interrupted the run.
        TrainingError: The run cannot continue.
    """
    processes = loop.prepare_run(stage, output, processes, resume=resume)
    task = _MaskedLanguageModelling(stage, base, texts, output, processes)
    return loop.train(
        task, stage, output, processes, resume=resume, checkpoint_every=checkpoint_every
    )


class _MaskedLanguageModelling:
    """The task of the training loop: an encoder that predicts masked tokens."""

    def __init__(
        self, stage: Stage, base: Path, texts: Sequence[str], output: Path, processes: Processes
    ) -> None:
        self.stage, self.output, self.processes = stage, output, processes
        self.tokenizer = read_tokenizer(base)
        self.text_count = len(texts)
        self.model = load_masked_lm(base)
        longest = max(stage.lengths)
        check_lengths(max_length(self.model), lengths=longest)
        rows = [
            row
            for ids in tokenize(texts, self.tokenizer, processes)
            for row in windows(ids, longest, self.tokenizer.frame)
            if len(row) >= _MIN_LENGTH
        ]
        if not rows:
            raise TrainingError("there are no texts to pre-train on", code="no-training-data")
        held_out = min(_MAX_VALIDATION_WINDOWS, int(_VALIDATION_SHARE * len(rows)))
        self.validation, self.rows = rows[:held_out], rows[held_out:]
        lengths = [len(row) for row in self.rows]
        budget, max_texts = stage.tokens_per_batch, stage.texts_per_batch
        self.epochs = loop.limit_steps(
            [
                plan_epoch(lengths, budget, stage.seed, epoch, max_texts)
                for epoch in range(len(stage.lengths))
            ],
            stage.max_steps,
        )
        content = [asdict(stage), checkpoint.weights_sha256(base), rows]
        self.fingerprint = hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def forward(self, model: Any, *inputs: Tensor) -> Tensor:
        return masked_logits(model, *inputs)

    def batch(self, indices: list[int], progress: checkpoint.TrainingProgress) -> _Batch:
        return self._mask_rows([self.rows[n] for n in indices], progress.steps_done)

    def _mask_rows(self, rows: list[list[int]], seed: int) -> _Batch:
        ids, attention_mask = stack(rows, self.tokenizer.pad)
        inputs, masked = self.mask_tokens(ids, seed)
        return _Batch(self, list(map(len, rows)), ids, attention_mask, inputs, masked)

    def mask_tokens(
        self, ids: NDArray[np.int64], seed: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Choose tokens to predict and replace them.

        80 % of them become the mask token, 10 % another token, 10 % stay (Devlin et al. 2019,
        A.1).

        Args:
            ids: Token ids, (rows, length).
            seed: Decides together with the seed of the stage.

        Returns:
            The ids to read instead, and which of them to predict (bool), both (rows, length).
        """
        random = np.random.default_rng([self.stage.seed, seed])
        frame = self.tokenizer.frame
        special = [frame.first, frame.last, self.tokenizer.pad]
        masked = (random.random(ids.shape) < self.stage.mask_share) & ~np.isin(ids, special)
        masked[0, 1] = True  # at least one
        choice = random.random(ids.shape)
        inputs = ids.copy()
        # load_masked_lm has checked that there is a mask token
        inputs[masked & (choice < 0.8)] = cast("int", self.tokenizer.mask)
        replaced = masked & (choice >= 0.9)
        inputs[replaced] = random.integers(0, self.model.config.vocab_size, int(replaced.sum()))
        return inputs, masked

    @torch.no_grad()
    def evaluate(self, model: PreTrainedModel) -> dict[str, float]:
        """Return the mean loss over the masked tokens of the validation windows."""
        if not self.validation:
            return {"loss": 0.0}
        model.train(False)
        forward = partial(self.forward, model)
        size = max(1, self.stage.tokens_per_batch // max(self.stage.lengths))
        loss = tokens = 0.0
        for start in range(0, len(self.validation), size):
            batch = self._mask_rows(self.validation[start : start + size], seed=start)
            count = int(batch.masked.sum())
            loss += batch.loss(forward, list(range(len(batch.lengths)))).item() * count
            tokens += count
        return {"loss": loss / tokens}

    def save(self, model: Any, metrics: dict[str, float]) -> None:
        read = {"texts": self.text_count, "steps": sum(map(len, self.epochs))}
        metadata = {"recipe": asdict(self.stage), "read": read, "validation": metrics}
        checkpoint.save_model(self.output, model.base_model, self.tokenizer, metadata)


@dataclass(frozen=True, slots=True)
class _Batch:
    task: _MaskedLanguageModelling
    lengths: list[int]
    ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    inputs: NDArray[np.int64]
    masked: NDArray[np.bool_]

    def loss(self, forward: Any, indices: list[int]) -> Tensor:
        """Return what the rows at `indices` add to the mean loss over all masked tokens."""
        rows = indices or [0]  # without indices, `forward` is called with nothing to predict
        masked = self.masked[rows] if indices else np.zeros_like(self.masked[rows])
        accelerator = self.task.processes.accelerator
        arguments = (
            torch.from_numpy(array).to(accelerator.device)
            for array in (self.inputs[rows], self.attention_mask[rows], masked)
        )
        with accelerator.autocast():
            logits = forward(*arguments)
        targets = torch.from_numpy(self.ids[rows][masked]).to(accelerator.device)
        loss = functional.cross_entropy(logits.float(), targets, reduction="sum")
        return loss / int(self.masked.sum())
