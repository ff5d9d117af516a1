"""Shared embeddings of identity terms, so that a model starts without differences between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from reelsense.datasets.behaviours import read_data
from reelsense.inference.tokenizer import ReviewTokenizer


def shared_terms() -> dict[str, Sequence[str]]:
    """Return the terms that share an embedding, by category."""
    return read_data("shared_identity_terms.toml")


@torch.no_grad()
def equalize_identities(model: PreTrainedModel, tokenizer: ReviewTokenizer) -> None:
    """Set the embeddings of the identity terms of each category to their mean.

    After Bolukbasi et al. (2016, "Man is to Computer Programmer as Woman is to Homemaker?"), who
    equalize along one direction. Terms of several tokens stay as they are. Where a term has other
    tokens at the beginning of a text or with a capital, these get the same mean.
    """
    embeddings: Any = model.get_input_embeddings().weight
    for terms in shared_terms().values():
        ids = sorted({token for term in terms for token in _single_tokens(tokenizer, term)})
        if ids:
            embeddings[ids] = embeddings[ids].mean(dim=0)


def _single_tokens(tokenizer: ReviewTokenizer, term: str) -> Iterator[int]:
    """Yield the ids of the forms of `term` that are a single known token."""
    for form in (term, term[:1].upper() + term[1:]):
        alone, in_context = (
            tokenizer.encode_with_offsets(form),
            tokenizer.encode_with_offsets(f"a {form}"),
        )
        positions = zip(in_context.ids, in_context.offsets, strict=True)
        after_space = [token for token, position in positions if position >= 2]
        if alone.ids:
            yield from (ids[0] for ids in (alone.ids, after_space) if len(ids) == 1)
