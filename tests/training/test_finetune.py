import json
import multiprocessing
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from reelsense.datasets.reviews import Split
from reelsense.datasets.text_hashes import hash_texts
from reelsense.errors import RecipeError, StoppedError, TrainingError
from reelsense.inference.tokenizer import ReviewTokenizer
from reelsense.training import checkpoint, loop, speed
from reelsense.training.examples import Example, hard_examples
from reelsense.training.finetune import FineTuning
from reelsense.training.losses import class_weights
from reelsense.training.model import load_model, logits
from reelsense.training.processes import Processes
from reelsense.training.recipe import Stage
from tests.conftest import LABELS
from tests.training.conftest import code, finetune, pretrain, without_speed

RECIPE = Stage(
    name="tiny",
    base="",
    window=64,
    lengths=(16, *[32] * 7),
    tokens_per_batch=128,
    learning_rate=1e-2,
)


def weights(out: Path) -> dict[str, Any]:
    state = torch.load(out / checkpoint.STATE, weights_only=True)
    return dict(state["parts"]["model"])


def metrics(out: Path) -> list[dict[str, float]]:
    """Return what a run has logged, without its speed."""
    lines = (out / checkpoint.METRICS).read_text().splitlines()
    return [without_speed(json.loads(line)) for line in lines]


def test_finetune_learns_and_writes_a_standard_checkpoint(
    base: Path, split: Split, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    history = finetune(RECIPE, base, split, LABELS, out)
    assert len(history) == 8
    assert max(epoch["accuracy"] for epoch in history) > 0.9

    model = AutoModelForSequenceClassification.from_pretrained(out)
    assert model.config.id2label == {0: "negative", 1: "positive"}
    classify = pipeline(
        "text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(out)
    )
    assert classify("great was the film")[0]["label"] == "positive"
    assert classify("awful was the film")[0]["label"] == "negative"

    tokenizer, ours = AutoTokenizer.from_pretrained(out), load_model(out, LABELS)
    read = ReviewTokenizer((out / "tokenizer.json").read_text())
    for text in (review.text for review in split.validation):
        ids = torch.tensor([read.frame.around(read.encode([text])[0])])
        with torch.no_grad():
            theirs = model(**tokenizer(text, return_tensors="pt")).logits
            assert torch.allclose(
                logits(ours.train(False), ids, torch.ones_like(ids)), theirs, atol=1e-4
            )

    metadata = json.loads((out / checkpoint.METADATA).read_text())
    assert metadata["validation"]["loss"] == min(epoch["loss"] for epoch in history)


def test_checkpoint_is_float16_and_loads_as_float32(
    base: Path, split: Split, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    finetune(replace(RECIPE, max_steps=3), base, split, LABELS, out)
    last = weights(out)
    saved = load_file(out / "model.safetensors")
    assert saved.keys() == last.keys()
    assert all(torch.equal(saved[name], last[name].half()) for name in saved)
    opened = AutoModelForSequenceClassification.from_pretrained(out)
    assert {part.dtype for part in opened.state_dict().values()} == {torch.float32}


def stop_after(patch: pytest.MonkeyPatch, steps: int) -> None:
    """Send this process a SIGINT after that many steps."""
    log = loop._Run.log

    def logged(run: loop._Run, entry: dict[str, float]) -> None:
        log(run, entry)
        if entry["step"] == steps and "epoch" not in entry:
            # Not os.kill: another thread could receive it, and the handler run after the training.
            signal.raise_signal(signal.SIGINT)

    patch.setattr(loop._Run, "log", logged)


@pytest.mark.parametrize("step", [3, 71])
def test_resumed_run_ends_with_the_same_weights(
    base: Path, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    finetune(RECIPE, base, split, LABELS, tmp_path / "whole")

    stop_after(monkeypatch, step)
    with pytest.raises(StoppedError, match="--resume"):
        finetune(RECIPE, base, split, LABELS, tmp_path / "parts")
    monkeypatch.undo()
    torch.manual_seed(99)
    finetune(RECIPE, base, split, LABELS, tmp_path / "parts", resume=True)

    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")


def test_run_is_neither_overwritten_nor_resumed_with_another_recipe(
    base: Path, split: Split, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    short = Stage(name="tiny", base="", window=64, lengths=(16,), tokens_per_batch=256)
    with code("no-saved-state"):
        finetune(short, base, split, LABELS, out, resume=True)
    finetune(short, base, split, LABELS, out)
    with code("output-exists"):
        finetune(short, base, split, LABELS, out)
    with code("state-mismatch"):
        finetune(RECIPE, base, split, LABELS, out, resume=True)


def test_nan_loss_stops_the_run(base: Path, split: Split, tmp_path: Path) -> None:
    wild = Stage(
        name="wild", base="", window=64, lengths=(16,) * 4, tokens_per_batch=256, learning_rate=1e30
    )
    with code("loss-is-nan"):
        finetune(wild, base, split, LABELS, tmp_path / "out")


def test_finetune_without_labels_is_an_error(base: Path, tmp_path: Path) -> None:
    with code("no-training-data"):
        finetune(RECIPE, base, Split([], []), LABELS, tmp_path / "out")


@pytest.mark.slow
def test_killed_run_resumes_to_the_same_weights(base: Path, split: Split, tmp_path: Path) -> None:
    finetune(RECIPE, base, split, LABELS, tmp_path / "whole")
    out = tmp_path / "parts"
    child = multiprocessing.get_context("spawn").Process(
        target=finetune,
        args=(RECIPE, base, split, LABELS, out),
        kwargs={"checkpoint_every": 0.0},
    )
    child.start()
    log = out / checkpoint.METRICS
    while not log.exists() or len(log.read_text().splitlines()) < 30:
        assert child.is_alive()
        time.sleep(0.001)
    child.kill()
    child.join()
    with log.open("a") as file:
        file.write('{"step": 9')  # an incomplete line, as after a full disk
    finetune(RECIPE, base, split, LABELS, out, resume=True)
    whole, parts = weights(tmp_path / "whole"), weights(out)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert metrics(out) == metrics(tmp_path / "whole")


def test_run_killed_in_its_first_step_can_be_resumed(
    base: Path, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(loop._Run, "step", killed)
    with pytest.raises(MemoryError):
        finetune(RECIPE, base, split, LABELS, tmp_path / "out")
    monkeypatch.undo()
    history = finetune(RECIPE, base, split, LABELS, tmp_path / "out", resume=True)
    assert len(history) == len(RECIPE.lengths)


def test_texts_per_batch_limits_batches(base: Path, split: Split, tmp_path: Path) -> None:
    narrow = replace(RECIPE, lengths=(16,), texts_per_batch=2)
    finetune(narrow, base, split, LABELS, tmp_path / "out")
    *_, last = (tmp_path / "out" / checkpoint.METRICS).read_text().splitlines()
    assert json.loads(last)["step"] == len(split.train) / 2


def test_existing_output_is_not_overwritten(base: Path, split: Split, tmp_path: Path) -> None:
    with code("output-exists"):
        finetune(RECIPE, base, split, LABELS, base)
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="is a file"):
        finetune(RECIPE, base, split, LABELS, tmp_path / "file")


def test_damaged_state_is_an_error(base: Path, split: Split, tmp_path: Path) -> None:
    (tmp_path / checkpoint.STATE).write_bytes(b"PK\x03\x04 and no more")
    with code("state-damaged"):
        finetune(RECIPE, base, split, LABELS, tmp_path, resume=True)


def test_unusable_base_is_an_error(base: Path, split: Split, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="lengths"):
        finetune(replace(RECIPE, lengths=(99,)), base, split, LABELS, tmp_path / "a")
    (base / "tokenizer.json").unlink()
    with code("invalid-tokenizer"):
        finetune(RECIPE, base, split, LABELS, tmp_path / "b")
    (base / "model.safetensors").write_bytes(b"damaged")
    with code("invalid-base-model"):
        finetune(RECIPE, base, split, LABELS, tmp_path / "c")


def test_max_steps_ends_a_run_with_a_complete_checkpoint(
    base: Path, split: Split, tmp_path: Path
) -> None:
    history = finetune(replace(RECIPE, max_steps=3), base, split, LABELS, tmp_path / "out")
    assert len(history) == 1
    lines = (tmp_path / "out" / checkpoint.METRICS).read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert [entry["step"] for entry in entries] == [1, 2, 3, 3]
    assert (tmp_path / "out" / "model.safetensors").exists()


CALM = replace(RECIPE, lengths=(16,), learning_rate=5e-3, dropout=0.0)
STARRED = replace(CALM, lengths=(16,) * 6, stars_weight=1.0)


def test_stars_are_learned_with_the_labels(base: Path, rated: Split, tmp_path: Path) -> None:
    out, ratings = tmp_path / "out", [1, 3, 8, 10]
    history = finetune(STARRED, base, rated, LABELS, out)
    assert history[0]["star_mae"] > 3
    assert history[-1]["star_mae"] < 2
    metadata = json.loads((out / checkpoint.METADATA).read_text())
    assert metadata["ratings"] == ratings
    assert metadata["validation"] in history

    theirs = AutoModelForSequenceClassification.from_pretrained(out)
    ours = load_model(out, LABELS, ratings=ratings)
    read = ReviewTokenizer((out / "tokenizer.json").read_text())
    errors = []
    for review in rated.validation:
        ids = torch.tensor([read.frame.around(read.encode([review.text])[0])])
        with torch.no_grad():
            scores = logits(ours.train(False), ids, torch.ones_like(ids))
            assert scores.shape == (1, 2 + 4)
            assert torch.allclose(scores[:, :2], theirs(ids).logits, atol=1e-4)
        expected = scores[0, 2:].softmax(0) @ torch.tensor(ratings, dtype=torch.float32)
        errors.append(abs(expected.item() - (review.rating or 0)))
    assert sum(errors) / len(errors) == pytest.approx(metadata["validation"]["star_mae"], abs=0.2)


def test_stars_are_learned_only_with_stars_weight(base: Path, rated: Split, tmp_path: Path) -> None:
    (result,) = finetune(replace(RECIPE, max_steps=1), base, rated, LABELS, tmp_path / "out")
    assert "star_mae" not in result
    assert json.loads((tmp_path / "out" / checkpoint.METADATA).read_text())["ratings"] == []


def test_star_mae_ignores_reviews_without_stars(base: Path, rated: Split, tmp_path: Path) -> None:
    one, rest = rated.validation[:1], rated.validation[1:]
    unrated = [replace(review, rating=None) for review in rest]
    errors = []
    for name, validation in (("one", one), ("some", [*one, *unrated]), ("none", unrated)):
        (result,) = finetune(
            replace(STARRED, max_steps=1),
            base,
            Split(rated.train, validation),
            LABELS,
            tmp_path / name,
        )
        errors.append(result.get("star_mae"))
    assert errors == [pytest.approx(errors[0]), pytest.approx(errors[0]), None]


def test_soft_targets_are_learned(base: Path, rated: Split, tmp_path: Path) -> None:
    soft = [
        Example("the good good film", (0.3, 0.7)),
        Example("the awful awful film", (0.85, 0.15)),
    ]
    out = tmp_path / "out"
    finetune(CALM, base, Split([], rated.validation), LABELS, out, examples=soft * 300)
    model = load_model(out, LABELS)
    read = ReviewTokenizer((out / "tokenizer.json").read_text())
    for example in soft:
        ids = torch.tensor([read.frame.around(read.encode([example.text])[0])])
        with torch.no_grad():
            scores = logits(model.train(False), ids, torch.ones_like(ids))
        assert scores.softmax(1)[0].tolist() == pytest.approx(example.target, abs=0.1)


def test_examples_provide_stars_and_are_part_of_the_fingerprint(
    base: Path, split: Split, tmp_path: Path
) -> None:
    out, quick = tmp_path / "out", replace(STARRED, max_steps=2)
    extra = [Example(f"the film {n}", (0.5, 0.5), 5, "somewhere") for n in range(10)] * 2
    extra.append(replace(extra[0], source=""))
    finetune(quick, base, split, LABELS, out, examples=extra)
    metadata = json.loads((out / checkpoint.METADATA).read_text())
    assert metadata["ratings"] == [5]
    assert metadata["extra_examples"] == {"somewhere": 10}
    with code("state-mismatch"):
        finetune(quick, base, split, LABELS, out, resume=True)
    softer = [replace(extra[0], target=(0.4, 0.6)), *extra[1:]]
    with code("state-mismatch"):
        finetune(quick, base, split, LABELS, out, examples=softer, resume=True)


def test_base_share_interpolates_with_the_initial_weights(
    base: Path, split: Split, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, lengths=(16,), learning_rate=5e-3)
    initial = load_model(base, LABELS).state_dict()
    finetune(recipe, base, split, LABELS, tmp_path / "trained")
    finetune(replace(recipe, base_share=0.5), base, split, LABELS, tmp_path / "half")
    trained, half = (
        load_model(tmp_path / name, LABELS).state_dict() for name in ("trained", "half")
    )
    words = "bert.embeddings.word_embeddings.weight"
    assert (trained[words] - initial[words]).abs().max() > 1e-2
    assert torch.allclose(half[words], (trained[words] + initial[words]) / 2, atol=1e-3)


def test_moving_average_is_saved_and_resumed(
    base: Path, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, lengths=(16,), ema_decay=0.8)
    steps: list[torch.Tensor] = []

    step = loop._Run.step

    def recorded(run: Any, batch: loop.Batch, rate: float) -> float:
        loss = step(run, batch, rate)
        steps.append(run.task.model.classifier.weight.detach().clone())
        return loss

    monkeypatch.setattr(loop._Run, "step", recorded)
    finetune(recipe, base, split, LABELS, tmp_path / "whole")
    average = steps[0]
    for weight in steps[1:]:
        average = 0.8 * average + 0.2 * weight
    kept = load_file(tmp_path / "whole" / "model.safetensors")["classifier.weight"].float()
    assert torch.allclose(kept, average, atol=2e-4)
    assert not torch.allclose(kept, steps[-1], atol=1e-3)

    stop_after(monkeypatch, 5)
    with pytest.raises(StoppedError):
        finetune(recipe, base, split, LABELS, tmp_path / "parts")
    monkeypatch.undo()
    finetune(recipe, base, split, LABELS, tmp_path / "parts", resume=True)
    written = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("whole", "parts")]
    assert written[0] == written[1]


def test_validation_loss_does_not_depend_on_confidence(
    base: Path, split: Split, tmp_path: Path
) -> None:
    finetune(RECIPE, base, split, LABELS, tmp_path / "trained")
    task = FineTuning(
        RECIPE,
        tmp_path / "out",
        Processes(1),
        base=tmp_path / "trained",
        labels=LABELS,
        examples=hard_examples(split.train, LABELS),
        validation=split.validation,
    )
    plain = task.evaluate(task.model)
    assert plain["loss"] < 0.69
    with torch.no_grad():
        for parameter in cast(Any, task.model).classifier.parameters():
            parameter *= 2  # twice the logits, so the same labels with more confidence
    assert task.evaluate(task.model) == pytest.approx(plain, abs=1e-3)


def test_weight_decay_is_for_matrices_only(base: Path) -> None:
    model = load_model(base, LABELS)
    decayed, others = loop._optimizer(model, replace(RECIPE, weight_decay=0.01)).param_groups
    assert decayed["weight_decay"] == 0.01
    assert all(weights.ndim > 1 for weights in decayed["params"])
    assert others["weight_decay"] == 0.0
    assert len(decayed["params"]) + len(others["params"]) == len(list(model.parameters()))


def test_patience_stops_a_run_that_does_not_improve(
    base: Path, split: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = replace(RECIPE, lengths=(16,), epochs=9, patience=2, learning_rate=1e-7)
    assert len(finetune(slow, base, split, LABELS, tmp_path / "out")) == 3
    assert "stopped early: 2 epochs" in capsys.readouterr().out
    assert len(finetune(slow, base, split, LABELS, tmp_path / "out", resume=True)) == 3
    whole = replace(slow, patience=0)
    assert len(finetune(whole, base, split, LABELS, tmp_path / "whole")) == 9


@given(arrays(float, (5, 3), elements=st.floats(0.01, 1)), st.floats(0, 1))
def test_class_weights_have_a_mean_of_1(targets: NDArray[np.float64], exponent: float) -> None:
    targets = targets / targets.sum(axis=1, keepdims=True)
    weights = class_weights(targets, exponent)
    assert (targets @ weights).mean() == pytest.approx(1)
    order = targets.mean(axis=0).argsort()
    assert (np.diff(weights[order]) <= 1e-9).all()


def test_class_weights_of_rare_and_missing_labels() -> None:
    targets = np.eye(3)[[0, 0, 0, 0, 1]]
    assert class_weights(targets, 1.0)[:2] == pytest.approx([0.625, 2.5])
    assert np.isfinite(class_weights(targets, 1.0)).all()


def test_class_weights_change_the_loss(base: Path, split: Split, tmp_path: Path) -> None:
    rare = [review for review in split.train if review.label == "positive"][:6]
    common = [review for review in split.train if review.label == "negative"]
    imbalanced = Split([*common, *rare], split.validation)
    plain = replace(RECIPE, lengths=(16,), max_steps=2)
    for name, exponent in (("plain", 0.0), ("weighted", 1.0)):
        stage = replace(plain, class_weights=exponent)
        finetune(stage, base, imbalanced, LABELS, tmp_path / name)
    losses = [
        json.loads((tmp_path / name / checkpoint.METRICS).read_text().splitlines()[0])["loss"]
        for name in ("plain", "weighted")
    ]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_truncation_is_reported(
    base: Path, split: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finetune(replace(RECIPE, lengths=(16,), max_steps=1), base, split, LABELS, tmp_path / "out")
    tokens = [len(review.text.split()) for review in split.train]
    cut = sum(count > 14 for count in tokens) / len(tokens)
    lost = sum(max(0, count - 14) for count in tokens) / sum(tokens)
    line = f"{cut:.1%} of the training texts are cut to 16 tokens: {lost:.1%} of all text"
    assert line in capsys.readouterr().out


def test_hashes_of_earlier_training_texts_are_kept(
    base: Path, split: Split, tmp_path: Path
) -> None:
    quick = replace(RECIPE, lengths=(16,), max_steps=1)
    first, second = split.train[:60], split.train[60:]
    finetune(quick, base, Split(first, split.validation), LABELS, tmp_path / "first")
    pretrained = tmp_path / "pretrained"
    pretrain(replace(quick, kind="pretrain"), tmp_path / "first", ["a film was " * 9], pretrained)
    finetune(quick, pretrained, Split(second, split.validation), LABELS, tmp_path / "second")
    hashes = checkpoint.read_training_texts(tmp_path / "second")
    assert hashes == hash_texts(review.text for review in split.train)


def test_throughput_counts_tokens_without_padding(
    base: Path, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    throughput = speed.throughput

    def recorded(model: Any, tokens: int, *arguments: Any) -> dict[str, float]:
        counts.append(tokens)
        return throughput(model, tokens, *arguments)

    monkeypatch.setattr(loop, "throughput", recorded)
    finetune(replace(RECIPE, lengths=(16, 32)), base, split, LABELS, tmp_path / "out")
    lengths = [len(review.text.split()) + 2 for review in split.train]
    assert counts == [sum(min(length, limit) for length in lengths) for limit in (16, 32)]
    *_, last = (tmp_path / "out" / checkpoint.METRICS).read_text().splitlines()
    assert json.loads(last)["tokens_per_second"] > 0
    assert all(
        "tokens_per_second" not in entry
        for entry in checkpoint.training_curves(tmp_path / "out")["validation"]
    )


@pytest.mark.parametrize(
    ("gpu", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4e12),
        ("NVIDIA H200", 989.4e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA H200 NVL", None),
        ("NVIDIA H100 PCIe", None),
        ("Tesla T4", None),
    ],
)
def test_throughput_relates_to_the_peak_of_the_gpu(
    base: Path, monkeypatch: pytest.MonkeyPatch, gpu: str, peak: float | None
) -> None:
    model, processes = load_model(base, LABELS), Processes()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: gpu)
    measured = speed.throughput(model, 10**15, 2.0, processes)
    assert measured["tokens_per_second"] == 10**15 // 2
    assert ("share_of_peak" in measured) == (peak is not None)
    if peak:
        layers = {name: part.numel() for name, part in model.named_parameters()}
        weights = sum(size for name, size in layers.items() if "embeddings" not in name)
        assert measured["share_of_peak"] == pytest.approx(6 * weights * 10**15 / 2 / peak, rel=1e-3)
