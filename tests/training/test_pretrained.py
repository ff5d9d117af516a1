"""Pre-trained models from folders and from the hub, valid and invalid ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, XLMRobertaConfig

from reelsense.bundle import write_bundle
from reelsense.errors import DownloadError, TrainingError
from reelsense.training import checkpoint
from reelsense.training.model import load_encoder, load_masked_lm, load_model, output_layer
from reelsense.training.pretrained import find_base, read_tokenizer
from tests import tiny, tiny_tokenizers
from tests.conftest import LABELS
from tests.training.conftest import code
from tests.training.families import tiny_config, write_family
from tests.training.hub import hub


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


def as_bundle(folder: Path) -> None:
    shutil.rmtree(folder)
    write_bundle(folder, tiny.bundle())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (removed("config.json"), "config.json"),
        (as_bundle, "checkpoints/default"),
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
        load_model(base, LABELS)
    assert str(base) in str(raised.value)
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_load_model_rejects_tokenizer_with_another_padding_id(tmp_path: Path) -> None:
    base = write_family(tmp_path, "roberta")
    (base / "tokenizer.json").write_text(tiny_tokenizers.modernbert())
    with pytest.raises(TrainingError, match="is 3, that of the model is 1"):
        load_model(base, LABELS)


def test_load_masked_lm_rejects_tokenizer_without_mask(tmp_path: Path) -> None:
    base = write_family(tmp_path, "bert")
    path = base / "tokenizer.json"
    path.write_text(path.read_text().replace("[MASK]", "[none]"))
    load_model(base, LABELS)
    with code("no-mask-token"):
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
    kept: Any = load_model(tmp_path, ["a", "b", "c"])
    assert torch.equal(kept.classifier.weight, published.classifier.weight)
    replaced: Any = load_model(tmp_path, LABELS)
    assert replaced.classifier.out_features == 2
    assert torch.equal(replaced.bert.pooler.dense.weight, published.bert.pooler.dense.weight)


def test_output_layer_is_in_the_head_even_before_the_encoder() -> None:
    model = AutoModelForSequenceClassification.from_config(
        XLMRobertaConfig(vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1)
    )
    assert output_layer(model)[0] == "classifier.out_proj"


def test_save_model_of_an_encoder_of_a_checkpoint_with_stars(tmp_path: Path) -> None:
    base = write_family(tmp_path / "base", "bert")
    starred, again = tmp_path / "starred", tmp_path / "again"
    starred.mkdir()
    again.mkdir()
    model = load_model(base, LABELS, ratings=[1, 10])
    checkpoint.save_model(starred, model, read_tokenizer(base), {})
    checkpoint.save_model(again, load_encoder(starred), read_tokenizer(base), {})
    saved, expected = load_encoder(again).state_dict(), load_encoder(base).state_dict()
    assert all(torch.equal(saved[name], expected[name].half().float()) for name in expected)


PROGRAM = "from reelsense.training.pretrained import find_base; print(find_base('someone/bert'))"


def find_in_hub(endpoint: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run find_base in a new process, because its client reads the address on import."""
    return subprocess.run(  # noqa: S603
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(cache)},
    )


def test_find_base_returns_a_folder_as_it_is(tmp_path: Path) -> None:
    assert find_base(str(tmp_path)) == tmp_path


def test_find_base_downloads_three_files_once(base: Path, tmp_path: Path) -> None:
    (base / "pytorch_model.bin").write_bytes(b"not needed")
    with hub("someone/bert", base) as endpoint:
        process = find_in_hub(endpoint, tmp_path / "cache")
    assert process.returncode == 0, process.stderr
    folder = Path(process.stdout.strip())
    names = ["config.json", "model.safetensors", "tokenizer.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    for path in folder.iterdir():
        assert path.read_bytes() == (base / path.name).read_bytes()
    # the hub has stopped, and the files are in the cache
    assert find_in_hub(endpoint, tmp_path / "cache").stdout == process.stdout


def test_find_base_reports_unknown_model_and_unreachable_hub(base: Path, tmp_path: Path) -> None:
    with hub("someone/else", base) as endpoint:
        unknown = find_in_hub(endpoint, tmp_path / "cache")
    unreachable = find_in_hub(endpoint, tmp_path / "cache")
    for process in (unknown, unreachable):
        assert process.returncode == 1
        message = process.stderr.strip().splitlines()[-1]
        assert message.startswith("reelsense.errors.DownloadError: 'someone/bert' is neither")
        assert "--base-model" in message


def test_find_base_rejects_impossible_name() -> None:
    with code("no-base-model", DownloadError):
        find_base("not a/model/name")
