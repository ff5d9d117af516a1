"""Words of identity that the model cannot tell apart, because they have one embedding."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from reelsense.evaluation.identities import CATEGORIES
from reelsense.inference.tokenizer import ReviewTokenizer


@torch.no_grad()
def equalize_identities(model: PreTrainedModel, tokenizer: ReviewTokenizer) -> None:
    """Give the words of each category of identity that are a single token their mean embedding.

    After Bolukbasi et al. (2016, "Man is to Computer Programmer as Woman is to Homemaker?"), whose
    equalizing does so along one direction. Words of several tokens stay as they are.
    """
    table: Any = model.get_input_embeddings().weight
    for category in CATEGORIES:
        encoded = tokenizer.encode(category.words)
        rows = sorted({ids[0] for ids in encoded if len(ids) == 1})
        if rows:
            table[rows] = table[rows].mean(dim=0)
