"""Every supported family of encoders: load, save, pre-train."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

from reelsense.training import checkpoint
from reelsense.training.encoders import tabulate_positions
from reelsense.training.model import (
    load_encoder,
    load_masked_lm,
    load_model,
    logits,
    logits_of_embeddings,
    masked_logits,
    max_length,
)
from reelsense.training.pretrained import read_tokenizer
from tests.conftest import LABELS
from tests.training.conftest import pretrain
from tests.training.families import FAMILIES, POSITIONS, RECIPE, write_family

every_family = pytest.mark.parametrize("family", FAMILIES)


def batch(folder: Path) -> tuple[Tensor, Tensor]:
    """Token ids and mask (3, 32); two rows are mostly padding."""
    tokenizer = read_tokenizer(folder)
    ids = torch.randint(5, 17, (3, 32), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    for row, length in ((1, 4), (2, 20)):
        ids[row, length:] = tokenizer.pad
        mask[row, length:] = 0
    return ids, mask


@every_family
@torch.no_grad()
def test_load_model_computes_the_logits_of_transformers(
    family: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    base = write_family(tmp_path / "base", family)
    capfd.readouterr()
    model = load_model(base, LABELS, 0.1, 0.2, ratings=[1, 10]).train(False)
    assert capfd.readouterr() == ("", "")
    assert max_length(model) == POSITIONS
    ids, mask = batch(base)
    scores = logits(model, ids, mask)
    assert scores.shape == (3, 4)
    assert torch.allclose(scores, model(ids, attention_mask=mask).logits, atol=1e-5)
    assert torch.allclose(scores[1:2], logits(model, ids[1:2, :4], mask[1:2, :4]), atol=1e-5)
    whole = torch.ones_like(ids)
    embeddings = model.get_input_embeddings()(ids)
    assert torch.allclose(
        logits_of_embeddings(model, embeddings, whole)[0], logits(model, ids, whole)[0], atol=1e-5
    )


@every_family
def test_load_model_sets_every_dropout(family: str, tmp_path: Path) -> None:
    changes = dict.fromkeys(("classifier_dropout", "pooler_dropout", "cls_dropout"), 0.3)
    base = write_family(tmp_path, family, **changes)
    rates = {part.p for part in load_model(base, LABELS).modules() if isinstance(part, nn.Dropout)}
    assert rates == {0.0}


@every_family
def test_every_trained_weight_gets_a_gradient(family: str, tmp_path: Path) -> None:
    """Training on several processes waits for the gradient of each."""
    base = write_family(tmp_path, family)
    ids, mask = batch(base)
    classifier, masked_lm = load_model(base, LABELS, 0.1, 0.1, [1, 10]), load_masked_lm(base)
    logits(classifier, ids, mask).sum().backward()
    masked_logits(masked_lm, ids, mask, mask > 0).sum().backward()
    for model in (classifier, masked_lm):
        assert not [
            name
            for name, weights in model.named_parameters()
            if weights.requires_grad and weights.grad is None
        ]


@every_family
@torch.no_grad()
def test_checkpoint_with_stars_opens_in_transformers(family: str, tmp_path: Path) -> None:
    base = write_family(tmp_path / "base", family)
    model = load_model(base, LABELS, 0.1, 0.1, ratings=[1, 5, 10]).train(False)
    for weights in model.parameters():
        weights.copy_(weights.half())  # as a checkpoint has them
    out = tmp_path / "out"
    out.mkdir()
    checkpoint.save_model(out, model, read_tokenizer(base), {"labels": LABELS})
    ids, mask = batch(base)
    scores = logits(model, ids, mask)
    again = load_model(out, LABELS, ratings=[1, 5, 10]).train(False)
    assert torch.allclose(logits(again, ids, mask), scores, atol=1e-5)

    opened = AutoModelForSequenceClassification.from_pretrained(out)
    assert opened.config.id2label == dict(enumerate(LABELS))
    assert torch.allclose(opened(ids, attention_mask=mask).logits, scores[:, :2], atol=1e-5)
    tokenizer, ours = AutoTokenizer.from_pretrained(out), read_tokenizer(out)
    text = "The  film was great.\nThe film was not\tawful!"
    assert tokenizer(text)["input_ids"] == ours.frame.around(ours.encode([text])[0])
    assert (tokenizer.pad_token_id, tokenizer.mask_token_id) == (ours.pad, ours.mask)
    assert tokenizer.model_max_length == POSITIONS


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_modernbert_pools_as_configured(pooling: str, tmp_path: Path) -> None:
    base = write_family(tmp_path, "modernbert", classifier_pooling=pooling)
    model = load_model(base, LABELS).train(False)
    ids, mask = batch(base)
    hidden = model.base_model(ids, attention_mask=mask).last_hidden_state[1]
    pooled = hidden[0] if pooling == "cls" else hidden[:4].mean(dim=0)
    expected = model.classifier(model.head(pooled))
    assert torch.allclose(logits(model, ids, mask)[1], expected, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("family", ["mpnet", "deberta-v2"])
def test_tabulate_positions_changes_no_logits(family: str, tmp_path: Path) -> None:
    base = write_family(tmp_path, family)
    model = load_model(base, LABELS).train(False)
    ids = torch.randint(5, 17, (2, POSITIONS), generator=torch.Generator().manual_seed(0))
    texts = [ids, ids[:, :16]]
    before = [logits(model, text, torch.ones_like(text)) for text in texts]
    tabulate_positions(model.base_model, POSITIONS)
    after = [logits(model, text, torch.ones_like(text)) for text in texts]
    assert all(map(torch.equal, before, after))


@every_family
@torch.no_grad()
def test_masked_logits_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    base = write_family(tmp_path / "base", family)
    model = load_masked_lm(base).train(False)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    ids, mask = batch(base)
    hidden = (ids % 3 == 0) & (mask > 0)
    guesses = masked_logits(model, ids, mask, hidden)
    expected = model(ids, attention_mask=mask).logits[hidden]
    assert guesses.shape == (int(hidden.sum()), model.config.vocab_size)
    assert torch.allclose(guesses, expected, atol=1e-4)
    assert masked_logits(model, ids, mask, torch.zeros_like(hidden)).shape[0] == 0

    published = AutoModelForMaskedLM.from_config(model.config)  # with another head
    published.save_pretrained(base)
    published.train(False)
    kept = masked_logits(load_masked_lm(base).train(False), ids, mask, hidden)
    assert torch.allclose(kept, published(ids, attention_mask=mask).logits[hidden], atol=1e-4)


@every_family
def test_pretraining_learns_and_writes_a_base(family: str, tmp_path: Path) -> None:
    base = write_family(tmp_path / "base", family)
    texts = ["the good film was not awful " * (3 + n % 9) for n in range(100)]
    out = tmp_path / "out"
    stage = replace(RECIPE, kind="pretrain", lengths=(32,), learning_rate=1e-2)
    (last,) = pretrain(stage, base, texts, out)
    state = torch.load(out / checkpoint.STATE, weights_only=True)
    first = json.loads((out / checkpoint.METRICS).read_text().splitlines()[0])
    assert last["loss"] < 0.7 * first["loss"]

    encoder, before = load_encoder(out).state_dict(), load_encoder(base).state_dict()
    trained = state["parts"]["model"]
    prefix = load_masked_lm(out).base_model_prefix
    for name, weights in encoder.items():
        assert torch.equal(weights.half(), trained[f"{prefix}.{name}"].half())
        frozen = name.startswith("pooler.") or "relative_attention_bias" in name
        assert torch.equal(weights, before[name].half().float()) == frozen
    model = load_model(out, LABELS).state_dict()
    shared = [name for name in encoder if f"{prefix}.{name}" in model]
    assert all(torch.equal(model[f"{prefix}.{name}"], encoder[name]) for name in shared)
    assert family != "bert" or "pooler.dense.weight" in shared
