"""Every supported family of encoders: fine-tune, export, serve, explain, attribute."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from reelsense import Classifier
from reelsense.bundle import NETWORK
from reelsense.datasets.reviews import Review, Split
from reelsense.inference.embedding import Encoder
from reelsense.prediction import Part
from reelsense.server.app import create_app
from reelsense.text.clean import Span, clean_with_offsets, sentences
from reelsense.training import attribution
from reelsense.training.attribution import integrated_gradients
from reelsense.training.export import MIN_AGREEMENT, Parity, export
from reelsense.training.model import (
    load_model,
    logits,
    logits_of_embeddings,
    output_layer,
)
from reelsense.training.pretrained import read_tokenizer
from tests.conftest import LABELS
from tests.server.conftest import wait_until_ready
from tests.training.conftest import STARS, finetune
from tests.training.families import RECIPE, write_family


@dataclass(frozen=True)
class Trained:
    """The results of a short run."""

    family: str
    history: list[dict[str, float]]
    checkpoint: Path
    parity: Parity
    bundle: Path
    classifier: Classifier


def reviews() -> Split:
    """Return reviews of two sentences; a word of one of them determines label and stars."""
    choose = random.Random(0)
    rows = []
    for n in range(200):
        word = choose.choice(list(STARS))
        telling = choose.choice([f"the film was {word}.", f"a {word} film."])
        neutral = " ".join(choose.choices(["the", "a", "film", "was"], k=choose.randint(2, 8)))
        text = " ".join(choose.sample([telling, f"{neutral}."], 2))
        label = "positive" if STARS[word] > 5 else "negative"
        rows.append(Review(str(n), text, label, STARS[word], str(n)))
    # Half of the texts without such a word are positive, so that it alone explains a label.
    neutral_texts = [" ".join(choose.choices(["the", "a", "film", "was"], k=5)) for _ in range(80)]
    neutral_rows = [
        Review(f"neutral {n}", f"{text}.", ("positive", "negative")[n % 2], None, f"neutral {n}")
        for n, text in enumerate(neutral_texts)
    ]
    return Split([*rows[:140], *neutral_rows], rows[140:])


@pytest.fixture(
    scope="module",
    params=[
        *("mpnet", "deberta-v2", "modernbert", "bert mean"),
        # The export of these has no part that those above or BERT in test_export.py do not have.
        *(
            pytest.param(family, marks=pytest.mark.slow)
            for family in ("bert", "roberta", "distilbert", "electra", "mpnet mean", "roberta mean")
        ),
    ],
)
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Trained]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    family, _, vector = request.param.partition(" ")
    folder = tmp_path_factory.mktemp(family)
    base = write_family(
        folder / "base",
        family,
        hidden_size=32,
        pooler_hidden_size=32,
        initializer_range=0.1,
        num_hidden_layers=1,
        layer_types=["sliding_attention"],
    )
    stage = replace(RECIPE, sentence_vector=vector, fit_output_layer=bool(vector))
    history = finetune(stage, base, reviews(), LABELS, folder / "checkpoint")
    bundle = folder / "bundle"
    parity = export(folder / "checkpoint", reviews().validation, LABELS, bundle, data="films.csv")
    classifier = Classifier.load(bundle, threads=1)
    yield Trained(family, history, folder / "checkpoint", parity, bundle, classifier)
    torch.set_num_threads(threads)


def test_finetuning_learns(trained: Trained) -> None:
    best = min(trained.history, key=lambda epoch: epoch["loss"])
    assert best["accuracy"] == 1
    assert best["star_mae"] < 2


def test_bundle_predicts_as_its_checkpoint(trained: Trained) -> None:
    assert trained.parity.agreement >= MIN_AGREEMENT
    assert trained.classifier.manifest.provenance["architecture"] == trained.family
    tokenizer = AutoTokenizer.from_pretrained(trained.checkpoint)
    texts = [review.text for review in reviews().validation]
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    model: Any = AutoModelForSequenceClassification.from_pretrained(trained.checkpoint)
    with torch.no_grad():
        if model.config.sentence_vector == "mean":  # which transformers does not know
            model = load_model(trained.checkpoint, LABELS).train(False)
            exact = logits(model, inputs["input_ids"], inputs["attention_mask"]).numpy()
        else:
            exact = model(**inputs).logits.numpy()
    int8 = trained.classifier.score(texts).logits
    assert np.abs(int8 - exact).mean() < 0.05 * np.abs(exact).mean()


def test_encoder_returns_the_input_of_the_output_layer(trained: Trained) -> None:
    model = load_model(trained.checkpoint, LABELS, ratings=sorted(STARS.values())).train(False)
    name, stars = output_layer(model)
    layer = model.get_submodule(name.removesuffix(".stars"))
    texts = [review.text for review in reviews().validation]
    vectors = Encoder.load(trained.bundle).vectors(texts)
    assert vectors.shape == (len(texts), stars.in_features)
    with torch.no_grad():
        outputs = layer(torch.from_numpy(vectors).float()).numpy()
    scored = trained.classifier.score(texts)
    int8 = np.concatenate([scored.logits, scored.star_logits], axis=1)
    assert np.abs(outputs - int8).mean() < 0.02 * np.abs(int8).mean()


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


def test_bundle_predictions_do_not_depend_on_other_texts(trained: Trained) -> None:
    texts = [review.text for review in reviews().validation[:6]]
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
        explanation = client.post("/v1/explain", json={"text": text}).get_json()
    assert prediction["label"] == ("positive" if word == "great" else "negative")
    assert prediction["stars"] == pytest.approx(STARS[word], abs=2)
    assert explanation["prediction"] == prediction
    assert heaviest(explanation["sentences"]) == f"a {word} film."
    assert heaviest(explanation["words"]) == word


def heaviest(parts: list[dict[str, Any]]) -> str:
    return str(max(parts, key=lambda part: abs(part["weight"]))["text"])


def test_integrated_gradients_add_up(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their sum is the difference to a text of blank tokens (completeness)."""
    monkeypatch.setattr(attribution, "STEPS", 512)
    text = "a great film. the film was a film."
    traced = clean_with_offsets(text)
    spans: list[Span] = [traced.original_span(span) for span in sentences(traced.layout)]
    attributions = integrated_gradients(trained.checkpoint)(
        text, [Part(span.start, span.end, 0.0) for span in spans]
    )
    model = load_model(trained.checkpoint, LABELS, ratings=sorted(STARS.values())).train(False)
    tokenizer = read_tokenizer(trained.checkpoint)
    [ids] = tokenizer.encode([text])
    blanks = [attribution.blank(model, tokenizer)] * len(ids)
    rows = torch.tensor([tokenizer.frame.around(row) for row in (ids, blanks)])
    with torch.no_grad():
        embeddings = model.get_input_embeddings()(rows)
        both = logits_of_embeddings(model, embeddings, torch.ones_like(rows))
    margins = (both[:, 1] - both[:, 0]).tolist()
    assert sum(attributions) == pytest.approx(margins[0] - margins[1], rel=0.05, abs=0.1)
