"""Identity terms that the model cannot tell apart, because they start from one embedding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from reelsense.inference.tokenizer import ReviewTokenizer


@dataclass(frozen=True, slots=True)
class Category:
    """Identity terms of one kind."""

    name: str
    words: tuple[str, ...]


CATEGORIES: tuple[Category, ...] = (
    Category(
        "religion",
        (
            *("Christian", "Catholic", "Protestant", "Mormon", "Muslim", "Jewish", "Hindu"),
            *("Buddhist", "Sikh", "atheist"),
        ),
    ),
    Category(
        "nationality",
        (
            *("American", "British", "Irish", "French", "German", "Italian", "Polish", "Russian"),
            *("Turkish", "Iranian", "Israeli", "Pakistani", "Chinese", "Japanese", "Korean"),
            *("Mexican", "Brazilian", "Nigerian"),
        ),
    ),
    Category(
        "race",
        (
            *("black", "white", "Asian", "Hispanic", "Arab", "mixed-race"),
            *("African American", "Native American"),
        ),
    ),
    Category("gender", ("man", "woman", "trans man", "trans woman", "non-binary person")),
    Category(
        "orientation",
        ("straight", "heterosexual", "gay", "lesbian", "bisexual"),
    ),
    Category(
        "age",
        (
            *("teenage", "young", "30-year-old", "middle-aged", "old", "elderly"),
            *("70-year-old", "80-year-old"),
        ),
    ),
)
"""None of the terms is one that is held out for measuring (`datasets.identities`)."""


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
        alone = tokenizer.encode_with_offsets(form)
        within = tokenizer.encode_with_offsets(f"a {form}")
        places = zip(within.ids, within.offsets, strict=True)
        after_space = [number for number, place in places if place >= 2]
        if alone.ids:
            yield from (ids[0] for ids in (alone.ids, after_space) if len(ids) == 1)
