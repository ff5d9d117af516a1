import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reelsense.errors import RecipeError, StoppedError
from reelsense.inference.tokenizer import ReviewTokenizer
from reelsense.training import checkpoint
from reelsense.training.model import load_encoder, load_model
from reelsense.training.pretrain import MaskedLanguageModelling
from reelsense.training.processes import Processes
from reelsense.training.recipe import Stage
from tests.conftest import LABELS
from tests.tiny import SPECIAL, VOCABULARY
from tests.training.conftest import code, pretrain
from tests.training.test_finetune import stop_after

RECIPE = Stage(
    name="tiny",
    base="",
    window=64,
    lengths=(32,),
    tokens_per_batch=256,
    learning_rate=1e-2,
    kind="pretrain",
)
TEXTS = ["the good film was not awful " * (3 + n % 9) for n in range(150)]
SOME = TEXTS[:40]


def state(out: Path) -> dict[str, Any]:
    return dict(torch.load(out / checkpoint.STATE, weights_only=True))


def step_losses(out: Path) -> list[float]:
    entries = map(json.loads, (out / checkpoint.METRICS).read_text().splitlines())
    return [entry["loss"] for entry in entries if "epoch" not in entry]


def test_pretrain_learns_and_writes_a_base(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (last,) = pretrain(RECIPE, base, TEXTS, out)
    losses = step_losses(out)
    assert len(losses) > 30
    assert last["loss"] < losses[0] / 2

    encoder, before = load_encoder(out).state_dict(), load_encoder(base).state_dict()
    trained = state(out)["parts"]["model"]
    assert all(
        torch.equal(encoder[name].half(), trained[f"bert.{name}"].half()) for name in encoder
    )
    changed = {
        name for name in encoder if not torch.equal(encoder[name], before[name].half().float())
    }
    assert changed.isdisjoint({"pooler.dense.weight", "pooler.dense.bias"})
    assert {"embeddings.word_embeddings.weight", "encoder.layer.1.output.dense.bias"} <= changed
    words = trained["cls.predictions.decoder.weight"]
    assert torch.equal(words, trained["bert.embeddings.word_embeddings.weight"])

    metadata = json.loads((out / checkpoint.METADATA).read_text())
    assert metadata["recipe"]["kind"] == "pretrain"
    assert metadata["read"] == {"texts": len(TEXTS), "steps": len(losses)}
    model = load_model(out, LABELS, 0.1, 0.1)
    assert torch.equal(
        model.state_dict()["bert.pooler.dense.weight"], encoder["pooler.dense.weight"]
    )
    tokenizers = [
        ReviewTokenizer((folder / "tokenizer.json").read_text()) for folder in (base, out)
    ]
    assert tokenizers[0].encode(TEXTS[:9]) == tokenizers[1].encode(TEXTS[:9])


def test_resumed_run_ends_with_the_same_weights(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "parts"
    pretrain(RECIPE, base, SOME, whole)
    stop_after(monkeypatch, 3)
    with pytest.raises(StoppedError, match="--resume"):
        pretrain(RECIPE, base, SOME, out)
    monkeypatch.undo()
    assert state(out)["progress"]["step"] == 3
    assert not (out / "model.safetensors").exists()
    torch.manual_seed(99)
    pretrain(RECIPE, base, SOME, out, resume=True)

    first, second = state(whole), state(out)
    assert first["progress"] == second["progress"]
    weights, others = first["parts"]["model"], second["parts"]["model"]
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    written = [(run / "model.safetensors").read_bytes() for run in (whole, out)]
    assert written[0] == written[1]


def test_run_is_neither_overwritten_nor_resumed_with_other_data(base: Path, tmp_path: Path) -> None:
    short, out = replace(RECIPE, max_steps=2), tmp_path / "out"
    with code("no-saved-state"):
        pretrain(short, base, SOME, out, resume=True)
    pretrain(short, base, SOME, out)
    assert len(step_losses(out)) == 2
    with code("output-exists"):
        pretrain(short, base, SOME, out)
    with code("state-mismatch"):
        pretrain(replace(short, mask_share=0.3), base, SOME, out, resume=True)
    with code("state-mismatch"):
        pretrain(short, base, [*SOME[:-1], "a bad film " * 9], out, resume=True)


def test_mask_tokens_masks_the_given_share(base: Path, tmp_path: Path) -> None:
    task = MaskedLanguageModelling(
        replace(RECIPE, mask_share=0.3), tmp_path, Processes(), base=base, texts=SOME
    )
    ids = np.random.default_rng(0).integers(len(SPECIAL), len(VOCABULARY), (400, 32))
    ids[:, 0], ids[:, 20], ids[:, 21:] = task.tokenizer.frame.first, task.tokenizer.frame.last, 0
    words = ids >= len(SPECIAL)
    inputs, masked = task.mask_tokens(ids, 0)
    assert not masked[~words].any()
    assert (inputs == ids)[~masked].all()
    assert masked[words].mean() == pytest.approx(0.3, abs=0.02)
    mask_tokens = inputs[masked] == VOCABULARY["[MASK]"]
    assert mask_tokens.mean() == pytest.approx(0.8, abs=0.03)
    assert (inputs == ids)[masked].mean() == pytest.approx(0.1, abs=0.03)

    assert np.array_equal(task.mask_tokens(ids, 0)[0], inputs)
    assert not np.array_equal(task.mask_tokens(ids, 1)[1], masked)


def test_mask_tokens_masks_at_least_one_token(base: Path, tmp_path: Path) -> None:
    task = MaskedLanguageModelling(
        replace(RECIPE, mask_share=1e-9), tmp_path, Processes(), base=base, texts=SOME
    )
    ids = np.array([[VOCABULARY["[CLS]"], VOCABULARY["good"], VOCABULARY["[SEP]"]]])
    assert task.mask_tokens(ids, 0)[1].tolist() == [[False, True, False]]


@pytest.mark.parametrize("texts", [[], ["good film", "bad"]])
def test_pretrain_without_texts_is_an_error(base: Path, tmp_path: Path, texts: list[str]) -> None:
    with code("no-training-data"):
        pretrain(RECIPE, base, texts, tmp_path / "out")


def test_lengths_beyond_the_model_are_an_error(base: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="lengths"):
        pretrain(replace(RECIPE, lengths=(99,)), base, ["the film " * 90], tmp_path / "out")


def test_nan_loss_stops_the_run(base: Path, tmp_path: Path) -> None:
    wild = replace(RECIPE, learning_rate=1e30)
    with code("loss-is-nan"):
        pretrain(wild, base, SOME, tmp_path / "out")
