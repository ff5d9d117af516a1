import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from reelsense.datasets.reviews import Review, Split
from reelsense.errors import ReelsenseError, TrainingError
from tests.tiny import VOCABULARY, tokenizer_json

STARS = {"awful": 1, "bad": 3, "good": 8, "great": 10}


@contextmanager
def code(
    expected: str, error: type[ReelsenseError] = TrainingError
) -> Iterator[pytest.ExceptionInfo[ReelsenseError]]:
    """Assert that the block raises an `error` with the code `expected`."""
    with pytest.raises(error) as caught:
        yield caught
    assert caught.value.code == expected


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tiny networks spend most of their time waiting for threads.

    Child processes have one thread too, so that they compute the same.
    """
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The folder of a pre-trained BERT with two layers and a dozen words."""
    return write_base(tmp_path / "base")


def write_base(folder: Path, layers: int = 2) -> Path:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer_json())
    return folder


@pytest.fixture
def rated() -> Split:
    """Short reviews whose label and stars a word gives away."""
    choose = random.Random(0)
    reviews = []
    for n in range(160):
        word = choose.choice(list(STARS))
        filler = choose.choices(["the", "a", "film", "was"], k=choose.randint(0, 6))
        label = "positive" if STARS[word] > 5 else "negative"
        text = " ".join(["the", word, word, "film", *filler])
        reviews.append(Review(str(n), text, label, STARS[word], str(n)))
    return Split(reviews[:120], reviews[120:])
