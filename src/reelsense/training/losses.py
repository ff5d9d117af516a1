"""Losses of single examples: cross-entropy, distillation and star ratings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from reelsense.training.examples import Example
from reelsense.training.recipe import Stage


def class_weights(targets: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """Return the weight of each label: its inverse frequency in `targets`, to the `exponent`.

    The mean weight of all examples is 1. `targets` are (examples, labels).
    """
    frequency = targets.mean(axis=0)
    weights = np.where(frequency > 0, frequency, 1.0) ** -exponent
    return np.asarray(weights / (frequency @ weights))


def label_losses(logits: Tensor, examples: Sequence[Example], stage: Stage) -> Tensor:
    """Return the cross-entropy of each example, mixed with the distillation loss of its teacher.

    Args:
        logits: Of the model, (examples, labels).
        examples: With their targets.
        stage: Has the weight and the temperature of distillation.
    """
    labels = logits.shape[1]
    targets = logits.new_tensor([each.target for each in examples]).reshape(-1, labels)
    losses = functional.cross_entropy(logits, targets, reduction="none")
    rows = [row for row, example in enumerate(examples) if example.teacher]
    if not rows or stage.kind != "distill":
        return losses
    teacher = logits.new_tensor([examples[row].teacher[:labels] for row in rows])
    distilled = distillation_losses(logits[rows], teacher, stage.temperature)
    weight = stage.teacher_weight
    return losses.index_put(
        (torch.tensor(rows, device=logits.device),),
        (1 - weight) * losses[rows] + weight * distilled,
    )


def distillation_losses(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy with the teacher's softened probabilities (Hinton et al. 2015).

    It is multiplied by the squared temperature, which keeps the size of its gradient.
    """
    soft_targets = (teacher / temperature).softmax(1)
    losses = functional.cross_entropy(student / temperature, soft_targets, reduction="none")
    return losses * temperature**2


def star_losses(logits: Tensor, examples: Sequence[Example], ratings: Sequence[int]) -> Tensor:
    """Return the loss of each example over the star ratings; `logits` are (examples, ratings).

    An example without a rating has the teacher's probabilities as its target, if the teacher
    predicts the same ratings, and otherwise a loss of 0.
    """
    targets = torch.zeros_like(logits)
    for row, example in enumerate(examples):
        teacher_stars = example.teacher[len(example.target) :]
        if example.rating in ratings:
            targets[row, ratings.index(example.rating)] = 1.0
        elif len(teacher_stars) == len(ratings):
            targets[row] = logits.new_tensor(teacher_stars).softmax(0)
    return functional.cross_entropy(logits, targets, reduction="none")
