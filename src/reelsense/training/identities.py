"""Words of identity that the model cannot tell apart, because they have one embedding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from transformers import PreTrainedModel

from reelsense.evaluation.identities import CATEGORIES
from reelsense.inference.tokenizer import ReviewTokenizer


@torch.no_grad()
def equalize_identities(model: PreTrainedModel, tokenizer: ReviewTokenizer) -> None:
    """Give the words of each category of identity that are a single token their mean embedding.

    After Bolukbasi et al. (2016, "Man is to Computer Programmer as Woman is to Homemaker?"), whose
    equalizing does so along one direction. Words of several tokens stay as they are. Where a word
    has other tokens at the beginning of a text or with a capital, these get the same mean.
    """
    table: Any = model.get_input_embeddings().weight
    for category in CATEGORIES:
        rows = sorted({row for word in category.words for row in _tokens(tokenizer, word)})
        if rows:
            table[rows] = table[rows].mean(dim=0)


def _tokens(tokenizer: ReviewTokenizer, word: str) -> Iterator[int]:
    """Yield the ids of the forms of `word` that are a single known token."""
    for form in (word, word[:1].upper() + word[1:]):
        alone, within = tokenizer.locate(form), tokenizer.locate(f"a {form}")
        places = zip(within.ids, within.places, strict=True)
        after_space = [number for number, place in places if place >= 2]
        if alone.ids:
            yield from (ids[0] for ids in (alone.ids, after_space) if len(ids) == 1)
