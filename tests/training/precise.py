"""The command `reelsense` with plain gradient descent in 64 bits instead of AdamW, to compare runs.

AdamW takes the same step for a gradient of twice the length, and rounding to 32 bits makes
differences that grow from step to step: both hide mistakes.

Environment: SAVE_EVERY is the number of seconds between two saved states, SLOW_SAVE the number of
seconds by which saving is delayed, PIDS a folder for a file with the id of each process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from reelsense.cli import main
from reelsense.datasets.reviews import Review
from reelsense.training import finetune, loop, pretrain, sources
from reelsense.training.examples import Example, hard_examples
from reelsense.training.model import load_masked_lm, load_model
from tests.training.conftest import STARS


def precisely(patch: pytest.MonkeyPatch) -> None:
    """Make training compute in this way until `patch` is undone; the caller sets the type."""
    patch.setattr(torch.optim, "AdamW", _descend)
    patch.setattr(torch.Tensor, "float", lambda tensor: tensor)
    patch.setattr(finetune, "load_model", _double(load_model))
    patch.setattr(pretrain, "load_masked_lm", _double(load_masked_lm))


def _descend(groups: Any, lr: float, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=lr)


def _double(load: Callable[..., torch.nn.Module]) -> Callable[..., torch.nn.Module]:
    return lambda *arguments: load(*arguments).double()


def _rated(reviews: Sequence[Review], labels: Sequence[str]) -> list[Example]:
    """Return the examples of a table with the stars of the first word; tables have no stars."""
    examples = hard_examples(reviews, labels)
    return [replace(example, rating=STARS[example.text.split()[0]]) for example in examples]


def _slow(save: Callable[..., None], seconds: float) -> Callable[..., None]:
    def slowly(*arguments: Any) -> None:
        time.sleep(seconds)
        save(*arguments)

    return slowly


def run() -> None:
    defaults: Any = loop.train.__kwdefaults__
    defaults["checkpoint_every"] = float(os.environ.get("SAVE_EVERY", "180"))
    if "PIDS" in os.environ:
        name = os.environ.get("RANK", "0")
        Path(os.environ["PIDS"], name).write_text(str(os.getpid()))
    torch.set_default_dtype(torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        precisely(patch)
        for module in (finetune, sources):
            patch.setattr(module, "hard_examples", _rated)
        patch.setattr(os, "replace", _slow(os.replace, float(os.environ.get("SLOW_SAVE", "0"))))
        main()


if __name__ == "__main__":
    run()
