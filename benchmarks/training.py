"""Compare training speed with that of the original system.

    python benchmarks/training.py --data data/aclImdb --base PATH_OR_HUB_ID

The original system (VikasSingh-DS/Movies-Reviews-Bert-Sentiment-Flask-API) pads every review to 512
tokens and trains in fp32, with batches of 8, AdamW at 2e-5, pooled output -> dropout 0.3 ->
linear(1). It is compared with the loop of `reelsense train` at three lengths: 512 has the same
tokens; 128 and 320 are the lengths of recipes/plain.toml.

Same model, reviews and cores. Every measurement is a separate process; they take turns, so that a
drift of the machine affects all of them. For reelsense the time includes loading, evaluation on
the validation set and saving; for the original system only the training steps.
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
LENGTHS = (512, 320, 128)
ORIGINAL = 0  # in the place of a length: the original system


def reelsense_rate(
    reviews: list[Review], validation: list[Review], base: Path, length: int
) -> float:
    """Return the reviews per second of `reelsense train`, truncated at `length` tokens."""
    stage = replace(read_recipe(RECIPE).last, lengths=(length,))
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        labels = ["negative", "positive"]
        examples = hard_examples(reviews, labels)
        task = partial(
            FineTuning, base=base, labels=labels, examples=examples, validation=validation
        )
        loop.train(task, stage, Path(out))
        return len(reviews) / (time.perf_counter() - started)


def original_rate(reviews: list[Review], base: Path) -> float:
    """Return the reviews per second of the original system, with the same model."""
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
        targets = torch.tensor([[float(review.label == "positive")] for review in batch])
        scores = head(bert(**inputs).pooler_output)
        functional.binary_cross_entropy_with_logits(scores, targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    return len(reviews) / (time.perf_counter() - started)


def measure(arguments: argparse.Namespace, length: int) -> float:
    """Run one measurement in this process."""
    split, _ = LabelledData(arguments.data).for_training()
    random.Random(0).shuffle(split.train)
    base = find_base(arguments.base)
    if length == ORIGINAL:
        return original_rate(split.train[: arguments.reviews // 8], base)
    return reelsense_rate(split.train[: arguments.reviews], split.validation[:8], base, length)


def main() -> None:
    """Run all measurements in turns and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the unpacked dataset")
    parser.add_argument("--base", required=True, help="the pre-trained BERT: folder or hub id")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--reviews", type=int, default=512, help="of reelsense; an eighth for the original"
    )
    parser.add_argument("--only", type=int, choices=(ORIGINAL, *LENGTHS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only is not None:
        print(json.dumps(measure(arguments, arguments.only)))
        return
    rates_by_length: dict[int, list[float]] = {length: [] for length in (ORIGINAL, *LENGTHS)}
    for turn in range(arguments.rounds):
        for length, rates in rates_by_length.items():
            command = [sys.executable, __file__, *sys.argv[1:], "--only", str(length)]
            process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
            rates.append(float(process.stdout.splitlines()[-1]))
        print(f"round {turn + 1} of {arguments.rounds} done", file=sys.stderr)
    print(f"torch {torch.__version__}, {available_cores()} cores; medians of {arguments.rounds}")
    print(f"{'':<34} {'reviews/s':>9} {'ratio':>7}  (min-max)")
    for length, rates in rates_by_length.items():
        title = f"reelsense, truncated at {length}" if length else "original, padded to 512"
        ratios = [
            ours / original for ours, original in zip(rates, rates_by_length[ORIGINAL], strict=True)
        ]
        print(
            f"{title:<34} {statistics.median(rates):>9.2f} {statistics.median(ratios):>6.1f}x"
            f"  ({min(ratios):.1f}-{max(ratios):.1f})"
        )


if __name__ == "__main__":
    main()
