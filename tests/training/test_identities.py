from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from reelsense.datasets.identities import all_terms
from reelsense.datasets.reviews import Split
from reelsense.training import identities
from reelsense.training.finetune import finetune
from reelsense.training.model import load_model
from reelsense.training.pretrained import read_tokenizer
from reelsense.training.recipe import Stage
from tests.conftest import LABELS
from tests.tiny import VOCABULARY
from tests.training.families import write_family

STILL = Stage(
    name="x", base="", lengths=(16,), max_steps=1, learning_rate=1e-9, window=16, dropout=0.0
)
WORDS = "bert.embeddings.word_embeddings.weight"
FIRST, SECOND, OTHER = VOCABULARY["good"], VOCABULARY["bad"], VOCABULARY["great"]


@pytest.mark.parametrize("shared", [True, False])
def test_shared_identity_embeddings_start_from_their_mean(
    base: Path, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    terms = {"mood": ["Good", "bad", "great film"]}
    monkeypatch.setattr(identities, "shared_terms", lambda: terms)
    before = load_model(base, LABELS, 0.0, 0.0).state_dict()[WORDS]
    finetune(
        replace(STILL, shared_identity_embeddings=shared), base, split, LABELS, tmp_path / "out"
    )
    after = load_model(tmp_path / "out", LABELS, 0.0, 0.0).state_dict()[WORDS]

    mean = (before[FIRST] + before[SECOND]) / 2
    assert torch.allclose(after[OTHER], before[OTHER], atol=1e-3)
    assert torch.allclose(after[FIRST], mean if shared else before[FIRST], atol=1e-3)
    assert torch.allclose(after[SECOND], mean if shared else before[SECOND], atol=1e-3)


def test_equalize_identities_includes_every_form_of_a_term(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte-level tokens of a word differ at the beginning of a text and behind a space."""
    terms = {"mood": ["good", "bad", "great film"]}
    monkeypatch.setattr(identities, "shared_terms", lambda: terms)
    base = write_family(tmp_path, "modernbert")
    model: Any = load_model(base, LABELS, 0.0, 0.0)
    tokenizer = read_tokenizer(base)
    table = model.get_input_embeddings().weight
    ids = {
        tokenizer.encode_with_offsets(text).ids[-1] for text in ("good", "a good", "bad", "a bad")
    }
    assert len(ids) == 4
    expected = table[sorted(ids)].mean(dim=0)
    others = [row for row in range(len(table)) if row not in ids]
    before = table[others].clone()
    identities.equalize_identities(model, tokenizer)
    assert all(torch.equal(table[row], expected) for row in ids)
    assert torch.equal(table[others], before)


def test_shared_terms_are_not_held_out() -> None:
    held_out = {term.text for term in all_terms() if term.held_out}
    assert held_out.isdisjoint(
        term for terms in identities.shared_terms().values() for term in terms
    )
