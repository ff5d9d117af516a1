import random
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from reelsense.datasets.reviews import Review, Split
from tests.tiny import VOCABULARY, tokenizer_json


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The folder of a pre-trained BERT with two layers and a dozen words."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    folder = tmp_path / "base"
    BertModel(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer_json())
    return folder


LABELS = ["negative", "positive"]


@pytest.fixture
def split() -> Split:
    """Reviews whose label a single word gives away."""
    choose = random.Random(0)
    reviews = []
    for n in range(160):
        label = choose.choice(LABELS)
        word = choose.choice(["good", "great"] if label == "positive" else ["bad", "awful"])
        words = choose.choices(["the", "a", "film", "was"], k=choose.randint(3, 40))
        reviews.append(Review(str(n), " ".join([word, *words]), label, None, str(n)))
    return Split(reviews[:120], reviews[120:])
