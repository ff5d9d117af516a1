"""Folders that cannot be trained from, and those that look so and can."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, XLMRobertaConfig

from reelsense.errors import TrainingError
from reelsense.training import checkpoint
from reelsense.training.model import load_encoder, load_masked_lm, load_model, output_layer
from reelsense.training.pretrained import read_tokenizer
from tests import tiny_tokenizers
from tests.conftest import LABELS
from tests.training.families import tiny_config, write_family


def configured(**changes: Any) -> Callable[[Path], object]:
    """Change settings in config.json; None removes one."""

    def change(folder: Path) -> None:
        path = folder / "config.json"
        settings = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))

    return change


def written(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


def removed(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (removed("config.json"), "config.json"),
        (written("config.json", "{"), "valid JSON"),
        (configured(model_type=None), "model_type"),
        (configured(model_type="nonsense"), "nonsense"),
        (configured(model_type="vit"), "ViTConfig"),
        (configured(model_type="bart"), "decoder"),
        (configured(model_type="nonsense", auto_map={"AutoConfig": "code.Config"}), "custom code"),
        (configured(hidden_size="wide"), "hidden_size"),
        (configured(hidden_act="nonsense"), "nonsense"),
        (configured(num_hidden_layers=3), "layer.2"),
        (configured(hidden_size=32), "another shape"),
        (removed("model.safetensors"), "model.safetensors"),
        (cut, "cannot load"),
        (removed("tokenizer.json"), "no tokenizer.json"),
        (written("tokenizer.json", "{}"), "tokenizer.json cannot be read"),
        (written("tokenizer.json", tiny_tokenizers.mpnet()), "22 tokens"),
    ],
)
def test_load_model_rejects_folder(
    change: Callable[[Path], object], reason: str, tmp_path: Path
) -> None:
    base = write_family(tmp_path, "bert")
    change(base)
    with pytest.raises(TrainingError) as raised:
        load_model(base, LABELS, 0.0, 0.0)
    assert str(base) in str(raised.value)
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_load_model_rejects_tokenizer_with_another_padding_id(tmp_path: Path) -> None:
    base = write_family(tmp_path, "roberta")
    (base / "tokenizer.json").write_text(tiny_tokenizers.modernbert())
    with pytest.raises(TrainingError, match="pads with 3, but the model with 1"):
        load_model(base, LABELS, 0.0, 0.0)


def test_load_masked_lm_rejects_tokenizer_without_mask(tmp_path: Path) -> None:
    base = write_family(tmp_path, "bert")
    path = base / "tokenizer.json"
    path.write_text(path.read_text().replace("[MASK]", "[none]"))
    load_model(base, LABELS, 0.0, 0.0)
    with pytest.raises(TrainingError, match="no mask token"):
        load_masked_lm(base)


def test_load_masked_lm_rejects_family_without_such_a_head(tmp_path: Path) -> None:
    base = write_family(tmp_path, "bert")
    configured(model_type="gpt2")(base)
    with pytest.raises(TrainingError):
        load_masked_lm(base)


def test_load_model_replaces_output_layer_for_other_labels(tmp_path: Path) -> None:
    config = tiny_config("bert", num_labels=3)
    published = AutoModelForSequenceClassification.from_config(config)
    write_family(tmp_path, "bert")
    published.save_pretrained(tmp_path)
    kept: Any = load_model(tmp_path, ["a", "b", "c"], 0.0, 0.0)
    assert torch.equal(kept.classifier.weight, published.classifier.weight)
    replaced: Any = load_model(tmp_path, LABELS, 0.0, 0.0)
    assert replaced.classifier.out_features == 2
    assert torch.equal(replaced.bert.pooler.dense.weight, published.bert.pooler.dense.weight)


def test_output_layer_is_that_of_the_head_wherever_the_encoder_stands() -> None:
    model = AutoModelForSequenceClassification.from_config(
        XLMRobertaConfig(vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1)
    )
    assert output_layer(model)[0] == "classifier.out_proj"


def test_encoder_of_a_checkpoint_with_stars_is_saved_whole(tmp_path: Path) -> None:
    base = write_family(tmp_path / "base", "bert")
    starred, again = tmp_path / "starred", tmp_path / "again"
    starred.mkdir()
    again.mkdir()
    model = load_model(base, LABELS, 0.0, 0.0, ratings=[1, 10])
    checkpoint.save_model(starred, model, read_tokenizer(base), {})
    checkpoint.save_model(again, load_encoder(starred), read_tokenizer(base), {})
    found, expected = load_encoder(again).state_dict(), load_encoder(base).state_dict()
    assert all(torch.equal(found[name], expected[name].half().float()) for name in expected)
