from pathlib import Path

import pytest
import torch

from reelsense.errors import TrainingError
from reelsense.training.model import load_model, logits, parameter_groups


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
    with pytest.raises(TrainingError, match="holds no pre-trained model"):
        load_model(tmp_path / "nothing", ["a", "b"], 0.0, 0.0)
    (base / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(TrainingError, match="cannot be loaded"):
        load_model(base, ["a", "b"], 0.0, 0.0)


def test_weight_decay_spares_biases_and_norms(base: Path) -> None:
    model = load_model(base, ["a", "b"], 0.0, 0.0)
    decayed, spared = parameter_groups(model, 0.01)
    assert all(p.ndim > 1 for p in decayed["params"])
    assert spared["weight_decay"] == 0.0
    assert len(decayed["params"]) + len(spared["params"]) == len(list(model.parameters()))
