from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reelsense.datasets.reviews import Split
from reelsense.evaluation.identities import Category
from reelsense.training import identities
from reelsense.training.finetune import finetune
from reelsense.training.model import load_model
from reelsense.training.recipe import Stage
from tests.conftest import LABELS
from tests.tiny import VOCABULARY

STILL = Stage(
    name="x", base="", lengths=(16,), max_steps=1, learning_rate=1e-9, window=16, dropout=0.0
)
WORDS = "bert.embeddings.word_embeddings.weight"
FIRST, SECOND, OTHER = VOCABULARY["good"], VOCABULARY["bad"], VOCABULARY["great"]


@pytest.mark.parametrize("wanted", [True, False])
def test_words_of_a_category_begin_with_one_embedding_where_the_recipe_wants_it(
    base: Path, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    category = Category("mood", ("Good", "bad", "great film"), templates=())
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
