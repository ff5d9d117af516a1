import json
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel

from reelsense.datasets.reviews import Review, Split
from reelsense.errors import ReelsenseError, TrainingError
from reelsense.training import loop
from reelsense.training.examples import Example, hard_examples
from reelsense.training.finetune import FineTuning
from reelsense.training.pretrain import MaskedLanguageModelling
from reelsense.training.recipe import Stage
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


def finetune(
    stage: Stage,
    base: Path,
    split: Split,
    labels: Sequence[str],
    output: Path,
    examples: Sequence[Example] | None = None,
    **options: Any,
) -> list[dict[str, float]]:
    """Train a classifier on `examples`, by default those of `split.train`."""
    task = partial(
        FineTuning,
        base=base,
        labels=labels,
        examples=hard_examples(split.train, labels) if examples is None else examples,
        validation=split.validation,
    )
    return loop.train(task, stage, output, **options)


def pretrain(
    stage: Stage, base: Path, texts: Sequence[str], output: Path, **options: Any
) -> list[dict[str, float]]:
    """Continue the pre-training of the encoder in `base`."""
    task = partial(MaskedLanguageModelling, base=base, texts=texts)
    return loop.train(task, stage, output, **options)


def write_examples(path: Path, examples: Iterable[Example], labels: Sequence[str]) -> None:
    """Write a file of examples, whose targets are in the order of `labels`."""
    lines = [
        {
            "text": example.text,
            "target": dict(zip(labels, example.target, strict=True)),
            "rating": example.rating,
            "source": example.source,
        }
        for example in examples
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def without_speed(entry: dict[str, float]) -> dict[str, float]:
    """Return a log entry without the metrics that differ from run to run."""
    return {name: value for name, value in entry.items() if name != "tokens_per_second"}
