"""Every supported family of encoders: load, train, export, serve, explain, pre-train."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

from reelsense import Classifier
from reelsense.bundle import NETWORK
from reelsense.datasets.reviews import Review, Split
from reelsense.prediction import Part
from reelsense.review import Span, sentences, trace
from reelsense.server import create_app
from reelsense.training import attribute, checkpoint
from reelsense.training.attribute import integrated_gradients
from reelsense.training.encoders import tabulate_positions
from reelsense.training.export import LEAST_AGREEMENT, Parity, export
from reelsense.training.finetune import finetune
from reelsense.training.model import (
    load_encoder,
    load_masked_lm,
    load_model,
    logits,
    logits_of_embeddings,
    masked_logits,
    max_length,
)
from reelsense.training.pretrain import pretrain
from reelsense.training.pretrained import read_tokenizer
from reelsense.training.recipe import Recipe
from tests.conftest import LABELS
from tests.server.conftest import wait_until_ready
from tests.training.families import FAMILIES, POSITIONS, write_family

STARS = {"awful": 1, "bad": 3, "good": 8, "great": 10}
RECIPE = Recipe(
    name="tiny",
    base="",
    lengths=(64,) * 6,
    tokens_per_batch=128,
    learning_rate=5e-3,
    dropout=0.0,
    stars_weight=0.3,
    window=64,
    mlm_length=32,
    mlm_learning_rate=1e-2,
)

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
    found = {
        part.p
        for part in load_model(base, LABELS, 0.0, 0.0).modules()
        if isinstance(part, nn.Dropout)
    }
    assert found == {0.0}


@every_family
@torch.no_grad()
def test_checkpoint_keeps_stars_apart_and_opens_in_transformers(
    family: str, tmp_path: Path
) -> None:
    base = write_family(tmp_path / "base", family)
    model = load_model(base, LABELS, 0.1, 0.1, ratings=[1, 5, 10]).train(False)
    for weights in model.parameters():
        weights.copy_(weights.half())  # as a checkpoint has them
    out = tmp_path / "out"
    out.mkdir()
    checkpoint.save_model(out, model, read_tokenizer(base), {"labels": LABELS})
    ids, mask = batch(base)
    scores = logits(model, ids, mask)
    again = load_model(out, LABELS, 0.0, 0.0, ratings=[1, 5, 10]).train(False)
    assert torch.allclose(logits(again, ids, mask), scores, atol=1e-5)

    theirs = AutoModelForSequenceClassification.from_pretrained(out)
    assert theirs.config.id2label == dict(enumerate(LABELS))
    assert torch.allclose(theirs(ids, attention_mask=mask).logits, scores[:, :2], atol=1e-5)
    tokenizer, ours = AutoTokenizer.from_pretrained(out), read_tokenizer(out)
    text = "The  film was great.\nThe film was not\tawful!"
    assert tokenizer(text)["input_ids"] == ours.frame.around(ours.encode([text])[0])
    assert (tokenizer.pad_token_id, tokenizer.mask_token_id) == (ours.pad, ours.mask)
    assert tokenizer.model_max_length == POSITIONS


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_modernbert_pools_as_its_config_says(pooling: str, tmp_path: Path) -> None:
    base = write_family(tmp_path, "modernbert", classifier_pooling=pooling)
    model = load_model(base, LABELS, 0.0, 0.0).train(False)
    ids, mask = batch(base)
    hidden = model.base_model(ids, attention_mask=mask).last_hidden_state[1]
    pooled = hidden[0] if pooling == "cls" else hidden[:4].mean(dim=0)
    expected = model.classifier(model.head(pooled))
    assert torch.allclose(logits(model, ids, mask)[1], expected, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("family", ["mpnet", "deberta-v2"])
def test_tabulate_positions_changes_no_logits(family: str, tmp_path: Path) -> None:
    base = write_family(tmp_path, family)
    model = load_model(base, LABELS, 0.0, 0.0).train(False)
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

    published = AutoModelForMaskedLM.from_config(model.config)  # with a head of its own
    published.save_pretrained(base)
    published.train(False)
    kept = masked_logits(load_masked_lm(base).train(False), ids, mask, hidden)
    assert torch.allclose(kept, published(ids, attention_mask=mask).logits[hidden], atol=1e-4)


@every_family
def test_pretraining_learns_and_leaves_a_base(family: str, tmp_path: Path) -> None:
    base = write_family(tmp_path / "base", family)
    texts = ["the good film was not awful " * (3 + n % 9) for n in range(100)]
    out = tmp_path / "out"
    last = pretrain(RECIPE, base, texts, out)
    state = torch.load(out / checkpoint.STATE, weights_only=True)
    losses = [entry["loss"] for entry in state["progress"]["history"]]
    assert last < 0.7 * losses[0]

    encoder, before = load_encoder(out).state_dict(), load_encoder(base).state_dict()
    trained = state["parts"]["model"]
    prefix = load_masked_lm(out).base_model_prefix
    for name, weights in encoder.items():
        assert torch.equal(weights.half(), trained[f"{prefix}.{name}"].half())
        frozen = name.startswith("pooler.") or "relative_attention_bias" in name
        assert torch.equal(weights, before[name].half().float()) == frozen
    model = load_model(out, LABELS, 0.0, 0.0).state_dict()
    shared = [name for name in encoder if f"{prefix}.{name}" in model]
    assert all(torch.equal(model[f"{prefix}.{name}"], encoder[name]) for name in shared)
    assert family != "bert" or "pooler.dense.weight" in shared


@dataclass(frozen=True)
class Trained:
    """What a short run leaves."""

    family: str
    history: list[dict[str, float]]
    checkpoint: Path
    parity: Parity
    bundle: Path
    classifier: Classifier


def reviews() -> Split:
    """Two sentences each, in one of which a word gives the label and the stars away."""
    choose = random.Random(0)
    found = []
    for n in range(200):
        word = choose.choice(list(STARS))
        telling = choose.choice([f"the film was {word}.", f"a {word} film."])
        neutral = " ".join(choose.choices(["the", "a", "film", "was"], k=choose.randint(2, 8)))
        text = " ".join(choose.sample([telling, f"{neutral}."], 2))
        label = "positive" if STARS[word] > 5 else "negative"
        found.append(Review(str(n), text, label, STARS[word], str(n)))
    return Split(found[:140], found[140:])


@pytest.fixture(
    scope="module",
    params=[
        *("mpnet", "deberta-v2", "modernbert"),
        # The export of these has no part that those above or BERT in test_export.py do not have.
        *(
            pytest.param(family, marks=pytest.mark.slow)
            for family in ("bert", "roberta", "distilbert", "electra")
        ),
    ],
)
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Trained]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp(request.param)
    base = write_family(
        folder / "base",
        request.param,
        hidden_size=32,
        pooler_hidden_size=32,
        initializer_range=0.1,
        num_hidden_layers=1,
        layer_types=["sliding_attention"],
    )
    history = finetune(RECIPE, base, reviews(), LABELS, folder / "checkpoint")
    bundle = folder / "bundle"
    parity = export(folder / "checkpoint", reviews().held_out, LABELS, bundle, data="films.csv")
    classifier = Classifier.load(bundle, threads=1)
    yield Trained(request.param, history, folder / "checkpoint", parity, bundle, classifier)
    torch.set_num_threads(threads)


def test_finetuning_learns(trained: Trained) -> None:
    best = min(trained.history, key=lambda epoch: epoch["loss"])
    assert best["accuracy"] == 1
    assert best["stars_off"] < 2


def test_bundle_answers_as_its_checkpoint(trained: Trained) -> None:
    assert trained.parity.agreement >= LEAST_AGREEMENT
    assert trained.classifier.manifest.provenance["architecture"] == trained.family
    model = AutoModelForSequenceClassification.from_pretrained(trained.checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(trained.checkpoint)
    texts = [review.text for review in reviews().held_out]
    with torch.no_grad():
        exact = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits.numpy()
    found = trained.classifier.score(texts).logits
    assert np.abs(found - exact).mean() < 0.05 * np.abs(exact).mean()


def test_bundle_stores_matrices_in_8_bits_and_positions_as_tables(trained: Trained) -> None:
    network = onnx.load(trained.bundle / NETWORK).graph
    exact = {
        part.name.rpartition(".encoder.")[2]
        for part in network.initializer
        if part.data_type == TensorProto.FLOAT and sum(size > 1 for size in part.dims) > 1
    }
    # Engines that compute in bf16 would round it to other positions.
    assert "Log" not in {node.op_type for node in network.node}
    # DeBERTa normalizes this one before it is multiplied. It is a hundredth of DeBERTa-v3-base.
    assert exact == ({"rel_embeddings.weight"} if trained.family == "deberta-v2" else set())


def test_bundle_answers_each_text_on_its_own(trained: Trained) -> None:
    texts = [review.text for review in reviews().held_out[:6]]
    texts += ["great", " ".join(texts), " ".join(texts * 3)]
    together = trained.classifier.score(texts)
    assert together.windows[-1] > 1
    for text, row in zip(texts, together.logits, strict=True):
        assert trained.classifier.score([text]).logits[0] == pytest.approx(row, rel=0.02, abs=0.05)


@pytest.mark.parametrize("word", ["great", "awful"])
def test_bundle_is_served_with_explanations(trained: Trained, word: str) -> None:
    text = f"the film was a film.<br />a {word} film."
    with create_app(model=trained.classifier).test_client() as client:
        wait_until_ready(client)
        [prediction] = client.post("/v1/predict", json={"text": text}).get_json()["predictions"]
        found = client.post("/v1/explain", json={"text": text}).get_json()
    assert prediction["label"] == ("positive" if word == "great" else "negative")
    assert prediction["stars"] == pytest.approx(STARS[word], abs=2)
    assert found["prediction"] == prediction
    assert heaviest(found["sentences"]) == f"a {word} film."
    assert heaviest(found["words"]) == word


def heaviest(parts: list[dict[str, Any]]) -> str:
    return str(max(parts, key=lambda part: abs(part["weight"]))["text"])


def test_integrated_gradients_add_up(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their sum is the difference to a text of blank tokens (completeness)."""
    monkeypatch.setattr(attribute, "STEPS", 512)
    text = "a great film. the film was a film."
    traced = trace(text)
    spans: list[Span] = [traced.given(span) for span in sentences(traced.layout)]
    found = integrated_gradients(trained.checkpoint)(
        text, [Part(span.start, span.end, 0.0) for span in spans]
    )
    model = load_model(trained.checkpoint, LABELS, 0.0, 0.0, sorted(STARS.values())).train(False)
    tokenizer = read_tokenizer(trained.checkpoint)
    [ids] = tokenizer.encode([text])
    blanks = [attribute.blank(model, tokenizer)] * len(ids)
    rows = torch.tensor([tokenizer.frame.around(row) for row in (ids, blanks)])
    with torch.no_grad():
        embeddings = model.get_input_embeddings()(rows)
        both = logits_of_embeddings(model, embeddings, torch.ones_like(rows))
    margins = (both[:, 1] - both[:, 0]).tolist()
    assert sum(found) == pytest.approx(margins[0] - margins[1], rel=0.05, abs=0.1)
