"""Losses of fine-tuning: labels, star ratings, and distillation from a teacher.

The distillation loss is that of Hinton et al. (2015, "Distilling the Knowledge in a Neural
Network").
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from reelsense.training.batches import Encoded
from reelsense.training.recipe import Stage


def label_losses(
    logits: Tensor, texts: Encoded, indices: Sequence[int], labels: int, stage: Stage
) -> Tensor:
    """Return the loss over the labels of each text: cross-entropy, mixed with distillation.

    Args:
        logits: Of the model, (texts, labels + ratings).
        texts: All texts with their targets.
        indices: Which of `texts` the rows of `logits` belong to.
        labels: Number of labels.
        stage: Has the weight and the temperature of distillation.
    """
    targets = logits.new_tensor([texts.targets[n] for n in indices]).reshape(-1, labels)
    losses = functional.cross_entropy(logits[:, :labels], targets, reduction="none")
    rows = [row for row, n in enumerate(indices) if texts.teachers[n]]
    if not rows or stage.kind != "distill":
        return losses
    teacher = logits.new_tensor([texts.teachers[indices[row]][:labels] for row in rows])
    distilled = distillation_losses(logits[rows, :labels], teacher, stage.temperature)
    weight = stage.teacher_weight
    return losses.index_put(
        (torch.tensor(rows, device=logits.device),),
        (1 - weight) * losses[rows] + weight * distilled,
    )


def distillation_losses(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy (texts) with the teacher's softened probabilities.

    It is multiplied by the squared temperature, which keeps the size of its gradient.
    """
    soft_targets = (teacher / temperature).softmax(1)
    losses = functional.cross_entropy(student / temperature, soft_targets, reduction="none")
    return losses * temperature**2


def star_losses(
    logits: Tensor, texts: Encoded, indices: Sequence[int], labels: int, ratings: Sequence[int]
) -> Tensor:
    """Return the loss (texts) over the star ratings.

    A text without a rating has the teacher's probabilities as its target, if the teacher predicts
    the same ratings, and otherwise a loss of 0. For the arguments see `label_losses`.
    """
    targets = logits.new_zeros(len(indices), len(ratings))
    for row, n in enumerate(indices):
        rating, teacher = texts.ratings[n], texts.teachers[n]
        if rating in ratings:
            targets[row, ratings.index(rating)] = 1.0
        elif len(teacher) == labels + len(ratings):
            targets[row] = logits.new_tensor(teacher[labels:]).softmax(0)
    return functional.cross_entropy(logits[:, labels:], targets, reduction="none")
