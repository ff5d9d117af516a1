from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reelsense.inference.tokenizer import ReviewTokenizer
from reelsense.prediction import Part
from reelsense.text.clean import Span, clean_with_offsets, sentences
from reelsense.training import attribution
from reelsense.training.attribution import integrated_gradients
from reelsense.training.model import load_model, logits, logits_of_embeddings
from tests.training.conftest import code
from tests.training.test_default_checkpoint import CHECKPOINT


def parts_of(text: str) -> list[Part]:
    traced = clean_with_offsets(text)
    spans: list[Span] = [traced.original_span(span) for span in sentences(traced.layout)]
    return [Part(span.start, span.end, 0.0) for span in spans]


def test_logits_of_embeddings_are_those_of_the_tokens(base: Path) -> None:
    model = load_model(base, ["negative", "positive"])
    model.train(False)
    ids, mask = torch.randint(5, 17, (3, 20)), torch.ones(3, 20, dtype=torch.int64)
    words = model.get_input_embeddings()(ids)
    with torch.no_grad():
        assert torch.allclose(
            logits_of_embeddings(model, words, mask), logits(model, ids, mask), atol=1e-6
        )


def test_attributions_add_up_and_find_the_decisive_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Completeness: their sum is the difference to a text that consists of [PAD]."""
    monkeypatch.setattr(attribution, "STEPS", 128)
    text = "I went there.<br />A dull &amp; lifeless mess. We took the bus."
    attributions = integrated_gradients(CHECKPOINT)(text, parts_of(text))
    assert len(attributions) == 3
    assert min(attributions) == attributions[1] < 0

    model = load_model(CHECKPOINT, ["negative", "positive"], ratings=[1, 2, 3, 4, 7, 8, 9, 10])
    model.train(False)
    tokenizer = ReviewTokenizer((CHECKPOINT / "tokenizer.json").read_text(encoding="utf-8"))
    [ids] = tokenizer.encode([text])
    rows = torch.tensor([tokenizer.frame.around(ids), tokenizer.frame.around([0] * len(ids))])
    with torch.no_grad():
        both = logits(model, rows, torch.ones_like(rows))
    margins = (both[:, 1] - both[:, 0]).tolist()
    assert sum(attributions) == pytest.approx(margins[0] - margins[1], abs=0.25)


def test_integrated_gradients_reject_folder_without_checkpoint(tmp_path: Path) -> None:
    with code("not-a-checkpoint"):
        integrated_gradients(tmp_path)
