"""Continued pre-training of an encoder on texts of the task, by masked language modelling.

Every text is cut into even windows, which are used once per epoch. The result is a base model for
fine-tuning (Sun et al. 2019 found that this helps more than anything else they tried).
"""

from __future__ import annotations

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
from reelsense.training import checkpoint
from reelsense.training.examples import plan_epoch, tokenize
from reelsense.training.model import load_masked_lm, masked_logits, max_length
from reelsense.training.pretrained import read_tokenizer
from reelsense.training.processes import Processes
from reelsense.training.recipe import Stage, check_lengths

_MIN_LENGTH = 12
"""Windows with fewer tokens are skipped: they give too little context for a prediction."""

_MAX_VALIDATION_WINDOWS = 200
_VALIDATION_SHARE = 0.02


class MaskedLanguageModelling:
    """A `TrainingTask`: an encoder that predicts masked tokens."""

    def __init__(
        self,
        stage: Stage,
        output: Path,
        processes: Processes,
        *,
        base: Path,
        texts: Sequence[str],
    ) -> None:
        """Load the model in the folder `base` and tokenize the texts."""
        self.stage, self.output, self.processes = stage, output, processes
        self.labelled_texts = checkpoint.read_training_texts(base)
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
        count = min(_MAX_VALIDATION_WINDOWS, int(_VALIDATION_SHARE * len(rows)))
        self.validation, self.rows = rows[:count], rows[count:]
        lengths = list(map(len, self.rows))
        self.epochs = [
            plan_epoch(lengths, stage, epoch) for epoch in range(len(stage.epoch_lengths))
        ]
        self.fingerprint = checkpoint.fingerprint(
            asdict(stage), checkpoint.weights_sha256(base), *rows
        )

    def forward(self, model: Any, *inputs: Tensor) -> Tensor:
        """Return logits (masked tokens, vocabulary)."""
        return masked_logits(model, *inputs)

    def batch(self, indices: list[int], progress: checkpoint.TrainingProgress) -> _Batch:
        """Return the windows at `indices` with newly masked tokens."""
        return self._mask_rows([self.rows[n] for n in indices], progress.steps_done)

    def _mask_rows(self, rows: list[list[int]], seed: int) -> _Batch:
        ids, attention_mask = stack(rows, self.tokenizer.pad)
        inputs, masked = self.mask_tokens(ids, seed)
        return _Batch(self, list(map(len, rows)), ids, attention_mask, inputs, masked)

    def mask_tokens(
        self, ids: NDArray[np.int64], seed: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the ids to read instead of `ids` (rows, length), and which tokens to predict.

        80 % of these become the mask token, 10 % another token, 10 % stay (Devlin et al. 2019,
        A.1). The choice depends on `seed` and on the seed of the stage.
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
        """Write the encoder without the head."""
        read = {"texts": self.text_count, "steps": sum(map(len, self.epochs))}
        metadata = {"recipe": asdict(self.stage), "read": read, "validation": metrics}
        checkpoint.save_model(
            self.output, model.base_model, self.tokenizer, metadata, self.labelled_texts
        )


@dataclass(frozen=True, slots=True)
class _Batch:
    task: MaskedLanguageModelling
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
