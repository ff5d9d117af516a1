"""Train SetFit on few texts and score others: `python setfit_model.py < task.json`.

It runs in the environment `setfit`. The task has "base", "labels", "train" and "test" (lists of
text and label), "seed", "pairs" and "cores". Prints accuracy and seconds of training as JSON.
"""

import contextlib
import json
import sys
import time
from typing import Any

ITERATIONS = 20  # pairs of each kind for each text, as Tunstall et al. (2022)


def train(task: dict[str, Any]) -> dict[str, float]:
    """Return `accuracy` and `seconds` (wall clock) and `cpu_seconds` of training."""
    import torch
    from setfit import SetFitModel, Trainer, TrainingArguments

    from datasets import Dataset

    torch.set_num_threads(task["cores"])
    texts, labels = zip(*task["train"], strict=True)
    iterations = max(1, min(ITERATIONS, task["pairs"] // (2 * len(texts))))
    started, cpu_started = time.perf_counter(), time.process_time()
    model = SetFitModel.from_pretrained(task["base"], labels=task["labels"])
    arguments = TrainingArguments(
        batch_size=16,
        num_epochs=1,
        num_iterations=iterations,
        seed=task["seed"],
        report_to="none",
        save_strategy="no",
    )
    indices = [task["labels"].index(label) for label in labels]
    dataset = Dataset.from_dict({"text": texts, "label": indices})
    Trainer(model=model, args=arguments, train_dataset=dataset).train()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    texts, labels = zip(*task["test"], strict=True)
    predicted = model.predict(list(texts))
    correct = sum(map(str.__eq__, map(str, predicted), labels))
    return {
        "accuracy": correct / len(texts),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "iterations": iterations,
    }


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # progress bars and reports
        result = train(json.load(sys.stdin))
    print(json.dumps(result))
