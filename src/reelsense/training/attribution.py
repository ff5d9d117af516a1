"""Integrated gradients of a checkpoint (Sundararajan et al. 2017), the reference for explanations.

They are the gradients with respect to the word embeddings, averaged along the straight line from a
blank text to the text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from reelsense.inference.tokenizer import ReviewTokenizer, window_edges
from reelsense.prediction import Part
from reelsense.text.clean import clean_with_offsets
from reelsense.training.checkpoint import read_classifier_metadata
from reelsense.training.model import load_model, logits_of_embeddings
from reelsense.training.pretrained import position_embeddings, read_tokenizer

STEPS = 16
"""Points on the line, each in the middle of one of as many equal parts."""


def integrated_gradients(folder: Path) -> Callable[[str, Sequence[Part]], list[float]]:
    """Return a function that computes attributions with the checkpoint in `folder`.

    It takes a text and parts of it. It returns the contribution of each part to the logit of the
    last label minus that of the first ("positive" minus "negative"), before calibration. Raises
    TrainingError if the folder is not a checkpoint of `reelsense train`.
    """
    metadata = read_classifier_metadata(folder)
    labels = metadata["labels"]
    model = load_model(folder, labels, ratings=metadata.get("ratings", ()))
    model.train(False).requires_grad_(False)
    tokenizer = read_tokenizer(folder)
    window = int(metadata["recipe"]["window"])

    def attribute(text: str, parts: Sequence[Part]) -> list[float]:
        traced = clean_with_offsets(text)
        tokens = tokenizer.encode_with_offsets(traced.text)
        edges = window_edges(len(tokens.ids), window)
        by_token = np.concatenate(
            [
                _attribute_window(model, tokenizer, tokens.ids[start:end], len(labels))
                for start, end in pairwise(edges)
            ]
        ) / (len(edges) - 1)
        starts = np.array([traced.starts[offset] for offset in tokens.offsets])
        return [
            float(by_token[(starts >= part.start) & (starts < part.end)].sum()) for part in parts
        ]

    return attribute


def blank(model: PreTrainedModel, tokenizer: ReviewTokenizer) -> int:
    """Return the id of the token that a blank text consists of.

    It is the padding token. For families without absolute positions it is the mask token: they
    normalize embeddings, so that a line from a padding embedding of zero would have no effect.
    """
    if position_embeddings(model) is None and tokenizer.mask is not None:
        return tokenizer.mask
    return tokenizer.pad


def _attribute_window(
    model: PreTrainedModel, tokenizer: ReviewTokenizer, ids: Sequence[int], labels: int
) -> NDArray[np.float64]:
    """Return the attributions (tokens) of one window without special tokens."""
    words: Any = model.get_input_embeddings()
    embeddings = words(torch.tensor(tokenizer.frame.around(ids)))
    blanks = words(torch.tensor(tokenizer.frame.around([blank(model, tokenizer)] * len(ids))))
    mask = torch.ones(STEPS, len(embeddings), dtype=torch.int64)
    shares = (torch.arange(STEPS) + 0.5)[:, None, None] / STEPS
    line: Tensor = (blanks + shares * (embeddings - blanks)).requires_grad_()
    logits = logits_of_embeddings(model, line, mask)
    [gradient] = torch.autograd.grad((logits[:, labels - 1] - logits[:, 0]).sum(), line)
    attributions = ((embeddings - blanks) * gradient.mean(dim=0)).sum(dim=1)
    return np.asarray(attributions.double().numpy())[1:-1]
