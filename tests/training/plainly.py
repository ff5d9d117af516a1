"""`reelsense` with plain gradient descent in 64 bits in the place of AdamW, to compare runs by.

AdamW takes the same step for a gradient of twice the length, and 32 bits make differences of their
own, which grow from step to step: mistakes hide in them.

SAVE_EVERY in the environment are the seconds between two saved states, SLOW_SAVE those that saving
takes longer, PIDS is a folder for a file named after each process, with its id.
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
from reelsense.training import finetune, pretrain, sources
from reelsense.training.examples import Example, hard_examples
from reelsense.training.model import load_masked_lm, load_model
from tests.training.conftest import STARS


def precisely(patch: pytest.MonkeyPatch) -> None:
    """Let training compute so, until `patch` is undone. The default type is the caller's to set."""
    patch.setattr(torch.optim, "AdamW", _descend)
    patch.setattr(torch.Tensor, "float", lambda tensor: tensor)
    patch.setattr(finetune, "load_model", _double(load_model))
    patch.setattr(pretrain, "load_masked_lm", _double(load_masked_lm))


def _descend(groups: Any, lr: float, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=lr)


def _double(load: Callable[..., torch.nn.Module]) -> Callable[..., torch.nn.Module]:
    return lambda *arguments: load(*arguments).double()


def _rated(reviews: Sequence[Review], labels: Sequence[str]) -> list[Example]:
    """The examples of a table, which has no stars, with those that the first word gives away."""
    examples = hard_examples(reviews, labels)
    return [replace(each, rating=STARS[each.text.split()[0]]) for each in examples]


def _slow(save: Callable[..., None], seconds: float) -> Callable[..., None]:
    def slowly(*arguments: Any) -> None:
        time.sleep(seconds)
        save(*arguments)

    return slowly


def run() -> None:
    for way in (finetune.finetune, pretrain.pretrain):
        defaults: Any = way.__kwdefaults__
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
