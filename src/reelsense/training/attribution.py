"""Integrated gradients of a checkpoint, to measure explanations against.

Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks": the gradient with respect to
the word embeddings, averaged along the straight way from a text of blank tokens to the text.
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
from reelsense.text.clean import trace
from reelsense.training.checkpoint import read_classifier_metadata
from reelsense.training.model import load_model, logits_of_embeddings
from reelsense.training.pretrained import position_embeddings, read_tokenizer

STEPS = 16
"""Points of the way, in the middle of as many equal parts of it."""


def integrated_gradients(folder: Path) -> Callable[[str, Sequence[Part]], list[float]]:
    """Return the method for the checkpoint in `folder`.

    Given a text and parts of it, it returns how much each adds to the logit of the last label less
    that of the first ("positive" less "negative"), before calibration. Raises TrainingError if the
    folder holds no checkpoint of ours.
    """
    metadata = read_classifier_metadata(folder)
    labels, ratings = metadata["labels"], metadata.get("ratings", ())
    model = load_model(folder, labels, dropout=0.0, attention_dropout=0.0, ratings=ratings)
    model.train(False).requires_grad_(False)
    tokenizer = read_tokenizer(folder)
    window = int(metadata["recipe"]["window"])

    def attribute(text: str, parts: Sequence[Part]) -> list[float]:
        traced = trace(text)
        tokens = tokenizer.locate(traced.text)
        edges = window_edges(len(tokens.ids), window)
        of_tokens = np.concatenate(
            [
                _of_window(model, tokenizer, tokens.ids[start:end], len(labels))
                for start, end in pairwise(edges)
            ]
        ) / (len(edges) - 1)
        places = np.array([traced.starts[place] for place in tokens.places])
        return [
            float(of_tokens[(places >= part.start) & (places < part.end)].sum()) for part in parts
        ]

    return attribute


def blank(model: PreTrainedModel, tokenizer: ReviewTokenizer) -> int:
    """Return the id of the token that a text without content consists of.

    It is the padding token, but the mask token for families without absolute positions: to these,
    a text is the same at every point of the way that leads from a padding embedding of zero,
    because they normalize the embeddings.
    """
    if position_embeddings(model) is None and tokenizer.mask is not None:
        return tokenizer.mask
    return tokenizer.pad


def _of_window(
    model: PreTrainedModel, tokenizer: ReviewTokenizer, ids: Sequence[int], labels: int
) -> NDArray[np.float64]:
    """The attributions (tokens) of `ids`, one window without its frame."""
    words: Any = model.get_input_embeddings()
    framed = words(torch.tensor(tokenizer.frame.around(ids)))
    blanks = [blank(model, tokenizer)] * len(ids)
    nothing = words(torch.tensor(tokenizer.frame.around(blanks)))
    mask = torch.ones(STEPS, len(framed), dtype=torch.int64)
    shares = (torch.arange(STEPS) + 0.5)[:, None, None] / STEPS
    way: Tensor = (nothing + shares * (framed - nothing)).requires_grad_()
    logits = logits_of_embeddings(model, way, mask)
    [slope] = torch.autograd.grad((logits[:, labels - 1] - logits[:, 0]).sum(), way)
    each: NDArray[np.float64] = ((framed - nothing) * slope.mean(dim=0)).sum(dim=1).double().numpy()
    return each[1:-1]
