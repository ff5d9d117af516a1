import json
from pathlib import Path

import pytest
import torch

from reelsense.errors import TrainingError
from reelsense.training.encoders import pool_pairs
from reelsense.training.model import load_model, logits, parameter_groups
from tests.training.conftest import code, write_base


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


def test_a_folder_without_a_bert_is_refused(base: Path, tmp_path: Path) -> None:
    with code("invalid-base-model"):
        load_model(tmp_path / "nothing", ["a", "b"], 0.0, 0.0)
    (base / "config.json").write_text('{"model_type": "vit"}')
    with code("invalid-base-model"):
        load_model(base, ["a", "b"], 0.0, 0.0)


def test_weight_decay_spares_biases_and_norms(base: Path) -> None:
    model = load_model(base, ["a", "b"], 0.0, 0.0)
    decayed, spared = parameter_groups(model, 0.01)
    assert all(p.ndim > 1 for p in decayed["params"])
    assert spared["weight_decay"] == 0.0
    assert len(decayed["params"]) + len(spared["params"]) == len(list(model.parameters()))


def test_pooled_model_does_not_depend_on_padding(tmp_path: Path) -> None:
    model = load_model(write_base(tmp_path, layers=3), ["a", "b"], 0.0, 0.0, pool_after=1).train(
        False
    )
    ids = torch.randint(5, 17, (3, 21))
    for length in (2, 3, 8, 9, 20):
        mask = torch.zeros_like(ids)
        mask[:, :length] = 1
        with torch.no_grad():
            padded = logits(model, ids, mask)
            alone = logits(model, ids[:, :length], mask[:, :length])
        assert torch.allclose(padded, alone, atol=1e-5)


def test_pooled_checkpoint_stays_pooled(tmp_path: Path) -> None:
    model = load_model(
        write_base(tmp_path / "base", layers=3), ["a", "b"], 0.0, 0.0, pool_after=1
    ).train(False)
    model.save_pretrained(tmp_path / "base")
    again = load_model(tmp_path / "base", ["a", "b"], 0.0, 0.0).train(False)
    plain = load_model(tmp_path / "base", ["a", "b"], 0.0, 0.0).train(False)
    plain.config.pool_after = 0
    ids = torch.randint(5, 17, (3, 20))
    with torch.no_grad():
        first, second, other = (
            logits(each, ids, torch.ones_like(ids)) for each in (model, again, plain)
        )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_only_bert_pools(base: Path) -> None:
    config = json.loads((base / "config.json").read_text()) | {"model_type": "roberta"}
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(TrainingError, match="pool_after"):
        load_model(base, ["a", "b"], 0.0, 0.0, pool_after=1)


def test_pool_pairs_averages_real_tokens_only() -> None:
    hidden = torch.tensor([[[9.0], [1.0], [3.0], [5.0], [100.0], [100.0]]])
    pooled, mask = pool_pairs(hidden, torch.tensor([[1, 1, 1, 1, 0, 0]]))
    assert pooled[0, :, 0].tolist() == [9.0, 2.0, 5.0, 0.0]
    assert mask.tolist() == [[1, 1, 1, 0]]
