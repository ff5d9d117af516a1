"""Train, export and predict with a BERT-base of full size and random weights from a hub."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from tests.tiny import VOCABULARY, tokenizer_json
from tests.training.hub import hub

MODEL = "google-bert/bert-base-uncased"
RECIPES = Path(__file__).parents[2] / "recipes"


def bert_base(folder: Path) -> Path:
    torch.manual_seed(0)
    BertModel(BertConfig()).save_pretrained(folder)  # the defaults are BERT-base's, 110M parameters
    (folder / "tokenizer.json").write_text(tokenizer_json())
    return folder


def reviews(path: Path, count: int) -> Path:
    """Write mostly good reviews: 20 steps are enough to predict that label, not to learn words."""
    choose = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for n in range(count):
            label, word = ("bad", "awful") if n % 5 == 0 else ("good", "great")
            words = choose.choices(list(VOCABULARY)[-8:], k=choose.randint(4, 20))
            text = " ".join([word, *words])
            file.write(json.dumps({"text": text, "label": label}) + "\n")
    return path


@pytest.mark.slow
def test_bert_base_from_hub_to_prediction(tmp_path: Path) -> None:
    recipe = tmp_path / "bert-base.toml"
    lines = (RECIPES / "bert-base.toml").read_text().splitlines()
    recipe.write_text(
        "\n".join("tokens_per_batch = 512" if line.startswith("tokens") else line for line in lines)
    )
    data = reviews(tmp_path / "reviews.jsonl", 800)
    home = tmp_path / "home"
    home.mkdir()

    def reelsense(*arguments: object, endpoint: str = "http://127.0.0.1:9") -> str:
        command = [sys.executable, "-m", "reelsense", *map(str, arguments)]
        environment = {**os.environ, "HF_ENDPOINT": endpoint, "HOME": str(home)}
        environment["HF_HOME"] = str(tmp_path / "hub-cache")
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(tmp_path / "inductor-cache")
        process = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=False, timeout=900, env=environment
        )
        assert process.returncode == 0, process.stderr
        return process.stdout

    checkpoint, bundle = tmp_path / "checkpoint", tmp_path / "bundle"
    with hub(MODEL, bert_base(tmp_path / "published")) as endpoint:
        arguments = ["--recipe", recipe, "--data", data, "--output", checkpoint, "--max-steps", 20]
        reelsense("train", *arguments, endpoint=endpoint)
    steps = (checkpoint / "metrics.jsonl").read_text().splitlines()
    assert json.loads(steps[-1])["step"] == 20

    # 20 steps from random weights need not be better than the majority class
    reelsense("export", checkpoint, "--data", data, "--output", bundle, "--force")
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["labels"] == ["bad", "good"]
    assert manifest["window"] == 512
    assert manifest["provenance"]["recipe"]["base"] == MODEL
    assert (bundle / "model.onnx").stat().st_size < 140e6

    # every verdict is unsure: the model cannot meet a target error rate
    output = reelsense("predict", "--model", bundle, "the film was great " * 300)
    [score] = re.findall(r"^unsure +\((?:good|bad) ([\d.]+)%\)$", output, re.MULTILINE)
    assert 50 <= float(score) <= 100
    assert not (home / "intel").exists()  # usage statistics of OpenVINO
