import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from reelsense.datasets.behaviours import read_data
from reelsense.datasets.identities import all_terms
from reelsense.datasets.reviews import Split
from reelsense.training import model as models
from reelsense.training.encoders import pool_pairs
from reelsense.training.model import load_model, logits, share_identity_embeddings
from reelsense.training.pretrained import read_tokenizer
from reelsense.training.recipe import Stage
from tests.conftest import LABELS
from tests.tiny import VOCABULARY
from tests.training.conftest import code, finetune, write_base
from tests.training.families import write_family


def test_logits_are_those_of_transformers(base: Path) -> None:
    model = load_model(base, ["negative", "positive"], 0.1, 0.1)
    model.train(False)
    ids = torch.randint(5, 17, (3, 20))
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    with torch.no_grad():
        ours, theirs = logits(model, ids, mask), model(input_ids=ids, attention_mask=mask).logits
        with torch.autocast("cpu", torch.bfloat16):
            rough = logits(model, ids, mask)
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert torch.allclose(rough.float(), theirs, atol=1e-2)


def test_load_model_rejects_folder_without_encoder(base: Path, tmp_path: Path) -> None:
    with code("invalid-base-model"):
        load_model(tmp_path / "nothing", ["a", "b"])
    (base / "config.json").write_text('{"model_type": "vit"}')
    with code("invalid-base-model"):
        load_model(base, ["a", "b"])


def test_pooled_model_does_not_depend_on_padding(tmp_path: Path) -> None:
    model = load_model(write_base(tmp_path, layers=3), ["a", "b"], pool_after=1).train(False)
    ids = torch.randint(5, 17, (3, 21))
    for length in (2, 3, 8, 9, 20):
        mask = torch.zeros_like(ids)
        mask[:, :length] = 1
        with torch.no_grad():
            padded = logits(model, ids, mask)
            alone = logits(model, ids[:, :length], mask[:, :length])
        assert torch.allclose(padded, alone, atol=1e-5)


def test_mean_of_hidden_states_ignores_padding_and_is_what_the_output_layer_reads(
    base: Path,
) -> None:
    model: Any = load_model(base, ["a", "b"], sentence_vector="mean").train(False)
    ids, mask = torch.randint(5, 17, (3, 20)), torch.ones(3, 20, dtype=torch.long)
    mask[1, 7:] = 0
    with torch.no_grad():
        hidden = model.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        means = [hidden[0].mean(0), hidden[1, :7].mean(0), hidden[2].mean(0)]
        expected = model.classifier(torch.stack(means))
        assert torch.allclose(logits(model, ids, mask), expected, atol=1e-5)
        alone = logits(model, ids[1:2, :7], mask[1:2, :7])
    assert torch.allclose(alone, expected[1:2], atol=1e-5)


def test_checkpoint_keeps_what_its_output_layer_reads(base: Path) -> None:
    load_model(base, ["a", "b"], sentence_vector="mean").save_pretrained(base)
    assert load_model(base, ["a", "b"]).config.sentence_vector == "mean"
    assert load_model(base, ["a", "b"], sentence_vector="first").config.sentence_vector == "first"


@pytest.mark.parametrize(("family", "pool_after"), [("electra", 0), ("bert", 1)])
def test_load_model_rejects_mean_where_it_is_not_supported(
    tmp_path: Path, family: str, pool_after: int
) -> None:
    write_family(tmp_path, family)
    with code("unsupported-model"):
        load_model(tmp_path, ["a", "b"], pool_after=pool_after, sentence_vector="mean")


def test_pooled_checkpoint_stays_pooled(tmp_path: Path) -> None:
    model = load_model(write_base(tmp_path / "base", layers=3), ["a", "b"], pool_after=1).train(
        False
    )
    model.save_pretrained(tmp_path / "base")
    again = load_model(tmp_path / "base", ["a", "b"]).train(False)
    plain = load_model(tmp_path / "base", ["a", "b"]).train(False)
    plain.config.pool_after = 0
    ids = torch.randint(5, 17, (3, 20))
    with torch.no_grad():
        first, second, other = (
            logits(pooled, ids, torch.ones_like(ids)) for pooled in (model, again, plain)
        )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_load_model_rejects_pooling_except_for_bert(base: Path) -> None:
    config = json.loads((base / "config.json").read_text()) | {"model_type": "roberta"}
    (base / "config.json").write_text(json.dumps(config))
    with code("unsupported-model"):
        load_model(base, ["a", "b"], pool_after=1)


def test_pool_pairs_averages_real_tokens_only() -> None:
    hidden = torch.tensor([[[9.0], [1.0], [3.0], [5.0], [100.0], [100.0]]])
    pooled, mask = pool_pairs(hidden, torch.tensor([[1, 1, 1, 1, 0, 0]]))
    assert pooled[0, :, 0].tolist() == [9.0, 2.0, 5.0, 0.0]
    assert mask.tolist() == [[1, 1, 1, 0]]


STILL = Stage(
    name="x", base="", lengths=(16,), max_steps=1, learning_rate=1e-9, window=16, dropout=0.0
)
WORDS = "bert.embeddings.word_embeddings.weight"
FIRST, SECOND, OTHER = VOCABULARY["good"], VOCABULARY["bad"], VOCABULARY["great"]


def set_shared_terms(patch: pytest.MonkeyPatch, *terms: str) -> None:
    patch.setattr(models, "read_data", lambda _name: {"mood": list(terms)})


@pytest.mark.parametrize("shared", [True, False])
def test_shared_identity_embeddings_start_from_their_mean(
    base: Path, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    set_shared_terms(monkeypatch, "Good", "bad", "great film")
    before = load_model(base, LABELS).state_dict()[WORDS]
    stage = replace(STILL, shared_identity_embeddings=shared)
    finetune(stage, base, split, LABELS, tmp_path / "out")
    after = load_model(tmp_path / "out", LABELS).state_dict()[WORDS]

    mean = (before[FIRST] + before[SECOND]) / 2
    assert torch.allclose(after[OTHER], before[OTHER], atol=1e-3)
    assert torch.allclose(after[FIRST], mean if shared else before[FIRST], atol=1e-3)
    assert torch.allclose(after[SECOND], mean if shared else before[SECOND], atol=1e-3)


def test_share_identity_embeddings_includes_every_form_of_a_term(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte-level tokens of a word differ at the beginning of a text and behind a space."""
    set_shared_terms(monkeypatch, "good", "bad", "great film")
    base = write_family(tmp_path, "modernbert")
    model: Any = load_model(base, LABELS)
    tokenizer = read_tokenizer(base)
    table = model.get_input_embeddings().weight
    forms = ("good", "a good", "bad", "a bad")
    ids = {tokenizer.encode_with_offsets(form).ids[-1] for form in forms}
    assert len(ids) == 4
    expected = table[sorted(ids)].mean(dim=0)
    others = [row for row in range(len(table)) if row not in ids]
    before = table[others].clone()
    share_identity_embeddings(model, tokenizer)
    assert all(torch.equal(table[row], expected) for row in ids)
    assert torch.equal(table[others], before)


def test_shared_terms_are_not_held_out() -> None:
    held_out = {term.text for term in all_terms() if term.held_out}
    shared = read_data("shared_identity_terms.toml").values()
    assert held_out.isdisjoint(term for terms in shared for term in terms)
