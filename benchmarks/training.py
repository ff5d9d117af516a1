"""Compare training speed with that of the original system.

    python benchmarks/training.py --data data/aclImdb --base PATH_OR_HUB_ID

The other way, that of VikasSingh-DS/Movies-Reviews-Bert-Sentiment-Flask-API: every review padded
to 512 tokens, fp32, batches of 8, AdamW at 2e-5, pooled output -> dropout 0.3 -> linear(1). Ours:
the loop of `reelsense train` at three cuts. 512 shows the same tokens as the other way does; 128
and 320 are the epochs of recipes/plain.toml.

Same model, same reviews, same cores; each measurement is a process of its own, and they take
turns, so that a machine whose speed drifts slows them all alike. Ours is timed as the whole call,
with loading, scoring of held-out reviews and saving; the other way as its steps alone.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from reelsense.datasets.labelled import LabelledData
from reelsense.datasets.reviews import Review
from reelsense.inference.engine import available_cores
from reelsense.training import loop
from reelsense.training.examples import hard_examples
from reelsense.training.finetune import FineTuning
from reelsense.training.pretrained import find_base
from reelsense.training.recipe import read_recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "plain.toml"
CUTS = (512, 320, 128)
OTHER = 0
"""Stands among the cuts for the other way."""


def ours(reviews: list[Review], validation: list[Review], base: Path, cut: int) -> float:
    """Reviews a second of `reelsense train` at `cut` tokens."""
    stage = replace(read_recipe(RECIPE).last, lengths=(cut,))
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        labels = ["negative", "positive"]
        examples = hard_examples(reviews, labels)
        task = partial(
            FineTuning, base=base, labels=labels, examples=examples, validation=validation
        )
        loop.train(task, stage, Path(out))
        return len(reviews) / (time.perf_counter() - started)


def the_other_way(reviews: list[Review], base: Path) -> float:
    """Reviews a second of the system that this one starts from, on this model."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    bert = AutoModel.from_pretrained(base)
    head = torch.nn.Sequential(torch.nn.Dropout(0.3), torch.nn.Linear(bert.config.hidden_size, 1))
    parameters = [*bert.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2e-5)
    bert.train()
    started = time.perf_counter()
    for first in range(0, len(reviews), 8):
        batch = reviews[first : first + 8]
        inputs = tokenizer(
            [review.text for review in batch],
            padding="max_length",
            truncation=True,
            max_length=512,
            return_tensors="pt",
        )
        wanted = torch.tensor([[float(review.label == "positive")] for review in batch])
        scores = head(bert(**inputs).pooler_output)
        functional.binary_cross_entropy_with_logits(scores, wanted).backward()
        optimizer.step()
        optimizer.zero_grad()
    return len(reviews) / (time.perf_counter() - started)


def measure(arguments: argparse.Namespace, cut: int) -> float:
    """Measure one way in this process."""
    split, _ = LabelledData(arguments.data).for_training()
    random.Random(0).shuffle(split.train)
    base = find_base(arguments.base)
    if cut == OTHER:
        return the_other_way(split.train[: arguments.reviews // 8], base)
    return ours(split.train[: arguments.reviews], split.validation[:8], base, cut)


def main() -> None:
    """Measure all ways in turn and print the ratios."""
    parser = argparse.ArgumentParser(description="Training speed against the starting system's.")
    parser.add_argument("--data", type=Path, required=True, help="the unpacked dataset")
    parser.add_argument("--base", required=True, help="the pre-trained BERT: folder or hub id")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reviews", type=int, default=512, help="ours; the other way an eighth")
    parser.add_argument("--only", type=int, choices=(OTHER, *CUTS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only is not None:
        print(json.dumps(measure(arguments, arguments.only)))
        return
    rates: dict[int, list[float]] = {cut: [] for cut in (OTHER, *CUTS)}
    for turn in range(arguments.rounds):
        for cut, found in rates.items():
            command = [sys.executable, __file__, *sys.argv[1:], "--only", str(cut)]
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
            found.append(float(answer.stdout.splitlines()[-1]))
        print(f"round {turn + 1} of {arguments.rounds} done", file=sys.stderr)
    print(f"torch {torch.__version__}, {available_cores()} cores; medians of {arguments.rounds}")
    print(f"{'':<34} {'reviews/s':>9} {'ratio':>7}  (least-most)")
    for cut, found in rates.items():
        title = f"reelsense, cut at {cut}" if cut else "fp32, batches of 8, padded to 512"
        ratios = [ours / other for ours, other in zip(found, rates[OTHER], strict=True)]
        print(
            f"{title:<34} {statistics.median(found):>9.2f} {statistics.median(ratios):>6.1f}x"
            f"  ({min(ratios):.1f}-{max(ratios):.1f})"
        )


if __name__ == "__main__":
    main()
