"""Compare training on few texts with SetFit, a bag of words and fixed settings.

    python benchmarks/small_data.py --data data/aclImdb --evaluation-sets data/evaluation-sets \
        --base PATH_OR_HUB_ID [--setfit build/rivals/setfit] [--results FILE]

Every method gets the same texts of each label, the same pre-trained model and the same cores. The
seeds draw other texts. Accuracy is measured on up to 1,000 validation texts, the time from loading
the model to its last training step. Results are appended to FILE: a run that is interrupted
continues there. `--table` prints the means of FILE.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from random import Random
from statistics import mean, stdev

from reelsense.datasets.evaluation_sets import read_training_sets
from reelsense.datasets.labelled import LabelledData
from reelsense.datasets.reviews import Review, Split
from reelsense.evaluation.baseline import train_baseline
from reelsense.evaluation.scorer import likeliest_labels
from reelsense.inference.engine import available_cores
from reelsense.training import loop
from reelsense.training.defaults import derive_recipe
from reelsense.training.examples import hard_examples
from reelsense.training.finetune import FineTuning
from reelsense.training.pretrained import find_base
from reelsense.training.processes import Processes
from reelsense.training.recipe import Stage, read_recipe
from rivals.install import DEFAULT_FOLDER, install

ROOT = Path(__file__).resolve().parents[1]
SIZES, SEEDS = (8, 64, 500), (1, 2, 3)
TEST_TEXTS = 1000
SETFIT_PAIRS = 5120  # at most: SetFit's default of 20 for each text takes hours for 500 texts


@dataclass(frozen=True, slots=True)
class Task:
    """Labelled texts to train on, and others to measure with."""

    labels: list[str]
    train: list[Review]
    test: list[Review]

    def sample(self, size: int, seed: int) -> Task:
        """Return the task with `size` training texts of each label."""
        random = Random(seed)
        by_label = [[r for r in self.train if r.label == label] for label in self.labels]
        train = [review for rows in by_label for review in random.sample(rows, size)]
        return replace(self, train=random.sample(train, len(train)))


def read_tasks(data: Path, sets: Path) -> dict[str, Task]:
    """Return the tasks by name: sentences, reviews, and reviews with their stars as labels."""
    reviews, _ = LabelledData(data).for_training()
    sentences = read_training_sets(sets)
    starred = [
        [replace(review, label=str(review.rating)) for review in part]
        for part in (reviews.train, reviews.validation)
    ]
    parts = {
        "SST-2": (sentences.sentences, sentences.validation_sentences),
        "reviews": (reviews.train, reviews.validation),
        "stars": starred,
    }
    return {
        name: Task(
            sorted({str(review.label) for review in train}),
            list(train),
            Random(0).sample(list(test), min(TEST_TEXTS, len(test))),
        )
        for name, (train, test) in parts.items()
    }


def fine_tune(task: Task, stage: Stage) -> dict[str, float]:
    """Train as `stage` says, without other texts for validation; keep the best epoch on these."""
    base = find_base(stage.base)
    with tempfile.TemporaryDirectory() as folder:
        examples = hard_examples(task.train, task.labels)
        make = partial(FineTuning, labels=task.labels, examples=examples)
        started, cpu_started = time.perf_counter(), time.process_time()
        loop.train(partial(make, base=base, validation=task.train), stage, Path(folder))
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu_started
        scoring = replace(stage, fit_output_layer=False)
        trained = make(scoring, Path(folder), Processes(), base=Path(folder), validation=task.test)
        accuracy = trained.evaluate(trained.model)["accuracy"]
    return {"accuracy": accuracy, "seconds": seconds, "cpu_seconds": cpu}


def reelsense(task: Task, base: str, seed: int) -> dict[str, float]:
    """Train as `reelsense train` without a recipe."""
    recipe = derive_recipe("small", base, task.train)
    return fine_tune(task, replace(recipe.last, seed=seed))


def plain_recipe(task: Task, base: str, seed: int) -> dict[str, float]:
    """Train with recipes/plain.toml, whose settings do not depend on the data."""
    stage = read_recipe(ROOT / "recipes" / "plain.toml").last
    return fine_tune(task, replace(stage, base=base, seed=seed))


def bag_of_words(task: Task, _base: str, _seed: int) -> dict[str, float]:
    """Train a logistic regression over words and word pairs."""
    started, cpu_started = time.perf_counter(), time.process_time()
    model = train_baseline(Split(task.train, task.train), task.labels)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu_started
    predicted = likeliest_labels(model, [review.text for review in task.test])
    correct = [label == review.label for label, review in zip(predicted, task.test, strict=True)]
    return {"accuracy": mean(correct), "seconds": seconds, "cpu_seconds": cpu}


def setfit(folder: Path, task: Task, base: str, seed: int) -> dict[str, float]:
    """Train SetFit in the virtual environment `folder`."""
    settings = {
        "base": str(find_base(base)),
        "labels": task.labels,
        "train": [(review.text, review.label) for review in task.train],
        "test": [(review.text, review.label) for review in task.test],
        "seed": seed,
        "pairs": SETFIT_PAIRS,
        "cores": available_cores(),
    }
    script = ROOT / "benchmarks" / "rivals" / "setfit_model.py"
    output = subprocess.run(  # noqa: S603  # our own script
        [folder / "bin" / "python", script],
        input=json.dumps(settings),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return result


def rows(results: Path) -> list[dict[str, object]]:
    """Return the results so far."""
    if not results.exists():
        return []
    return [json.loads(line) for line in results.read_text().splitlines()]


def print_table(results: list[dict[str, object]]) -> None:
    """Print the mean accuracy, its standard deviation and the mean time of each method."""
    print("| task | texts per label | method | accuracy | sd | seconds | CPU seconds |")
    print("|---|---|---|---|---|---|---|")
    keys = dict.fromkeys((row["task"], row["size"], row["method"]) for row in results)
    for task, size, method in sorted(keys, key=str):
        runs = [r for r in results if (r["task"], r["size"], r["method"]) == (task, size, method)]
        accuracy, seconds, cpu = (
            [float(str(run[name])) for run in runs]
            for name in ("accuracy", "seconds", "cpu_seconds")
        )
        spread = stdev(accuracy) if len(runs) > 1 else 0.0
        print(
            f"| {task} | {size} | {method} | {mean(accuracy):.1%} | {spread:.1%} "
            f"| {mean(seconds):.0f} | {mean(cpu):.0f} |"
        )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--evaluation-sets", type=Path, required=True)
    parser.add_argument("--base", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--setfit", type=Path, help="its virtual environment; default: is made")
    parser.add_argument("--results", type=Path, default=Path("small_data.jsonl"))
    parser.add_argument("--table", action="store_true", help="only print the results so far")
    parser.add_argument("--tasks", nargs="+")
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--methods", nargs="+")
    args = parser.parse_args()
    if args.table:
        print_table(rows(args.results))
        return
    methods: dict[str, Callable[[Task, str, int], dict[str, float]]] = {
        "bag of words": bag_of_words,
        "plain.toml": plain_recipe,
        "reelsense": reelsense,
        "SetFit": partial(setfit, args.setfit or _make_setfit()),
    }
    tasks = read_tasks(args.data, args.evaluation_sets)
    chosen = (args.sizes, args.tasks or tasks, SEEDS, args.methods or methods)
    for size, name, seed, method in product(*chosen):
        key = {"task": name, "size": size, "seed": seed, "method": method}
        if any(key.items() <= row.items() for row in rows(args.results)):
            continue
        result = methods[method](tasks[name].sample(size, seed), args.base, seed)
        with args.results.open("a") as file:
            print(json.dumps(key | result), file=file)
    print_table(rows(args.results))


def _make_setfit() -> Path:
    install("setfit", DEFAULT_FOLDER)
    return DEFAULT_FOLDER / "setfit"


if __name__ == "__main__":
    main()
