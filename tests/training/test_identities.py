from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from reelsense.datasets.reviews import Split
from reelsense.training import identities
from reelsense.training.finetune import finetune
from reelsense.training.identities import Category
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


@pytest.mark.parametrize("wanted", [True, False])
def test_words_of_a_category_begin_with_one_embedding_where_the_recipe_wants_it(
    base: Path, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    category = Category("mood", ("Good", "bad", "great film"))
    monkeypatch.setattr(identities, "CATEGORIES", (category,))
    before = load_model(base, LABELS, 0.0, 0.0).state_dict()[WORDS]
    finetune(
        replace(STILL, shared_identity_embeddings=wanted), base, split, LABELS, tmp_path / "out"
    )
    after = load_model(tmp_path / "out", LABELS, 0.0, 0.0).state_dict()[WORDS]

    mean = (before[FIRST] + before[SECOND]) / 2
    assert torch.allclose(after[OTHER], before[OTHER], atol=1e-3)
    assert torch.allclose(after[FIRST], mean if wanted else before[FIRST], atol=1e-3)
    assert torch.allclose(after[SECOND], mean if wanted else before[SECOND], atol=1e-3)


def test_every_form_of_a_word_gets_the_embedding_of_its_category(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte-level tokens of a word differ at the beginning of a text and behind a space."""
    category = Category("mood", ("good", "bad", "great film"))
    monkeypatch.setattr(identities, "CATEGORIES", (category,))
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
