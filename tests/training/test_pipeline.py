from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from reelsense import Classifier
from reelsense.datasets.labelled import LabelledData
from reelsense.errors import StoppedError
from reelsense.training import checkpoint, pipeline
from reelsense.training.recipe import Recipe, Stage
from reelsense.training.sources import TrainingData
from reelsense.training.teachers import read_logits
from tests import tiny
from tests.training.conftest import code
from tests.training.test_finetune import stop_after

PRETRAINED = Stage(
    name="mine",
    stage="pretrained",
    kind="pretrain",
    base="nowhere",
    lengths=(32,),
    tokens_per_batch=256,
    max_steps=2,
    window=32,
)
FINETUNED = Stage(name="mine", stage="finetuned", base="pretrained", lengths=(16, 16), window=32)
DISTILLED = Stage(
    name="mine",
    stage="distilled",
    kind="distill",
    base="finetuned",
    lengths=(16,),
    window=32,
    data={"reviews": 1, "unlabelled": 1},
    teachers=("accurate", "bag-of-words"),
    stars_weight=1.0,
)
RECIPE = Recipe((PRETRAINED, FINETUNED, DISTILLED))


@pytest.fixture
def data(tmp_path: Path) -> TrainingData:
    """Reviews with and without labels."""
    words = (("good", "positive"), ("bad", "negative"), ("great awful", ""))
    rows = [
        f"{word} the film was a film and the film was not a film {n},{label}"
        for n in range(20)
        for word, label in words
    ]
    (tmp_path / "mine.csv").write_text("\n".join(["text,label", *rows]))
    return TrainingData(LabelledData(tmp_path / "mine.csv"))


@pytest.fixture(autouse=True)
def teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Classifier, "load", lambda _name: tiny.classifier())


def metadata(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / checkpoint.METADATA).read_text()))


def test_run_writes_every_stage_and_the_model(
    base: Path, data: TrainingData, tmp_path: Path
) -> None:
    output = tmp_path / "runs" / "out"
    pipeline.run(RECIPE, data, output, base=str(base))
    finetuned, distilled = metadata(output / "stages" / "finetuned"), metadata(output)
    assert finetuned["read"] == distilled["read"] == {"texts": 48, "steps": 2}
    stages = [recipe["stage"] for recipe in distilled["earlier_recipes"]]  # type: ignore[attr-defined]  # of JSON
    assert stages == ["pretrained", "finetuned"]
    assert distilled["recipe"]["base"] == "base"  # type: ignore[index]  # of JSON
    store = read_logits(tmp_path / "runs" / "out-teacher-logits.npz")
    assert len(store.rows) == 48
    assert store.teachers == ("accurate", "bag-of-words")


def test_interrupted_run_resumes_at_its_stage(
    base: Path,
    data: TrainingData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, output = tmp_path / "whole", tmp_path / "out"
    pipeline.run(RECIPE, data, whole, base=str(base))
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        for _ in RECIPE.stages:
            with pytest.raises(StoppedError):
                pipeline.run(RECIPE, data, output, base=str(base), resume=True)
    capsys.readouterr()
    pipeline.run(RECIPE, data, output, base=str(base), resume=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "already finished" in line] == [
        "pretrained: already finished",
        "finetuned: already finished",
    ]
    for stage in ("stages/pretrained", "stages/finetuned", ""):
        weights = [(run / stage / "model.safetensors").read_bytes() for run in (whole, output)]
        assert weights[0] == weights[1]
    written = (output / "model.safetensors").stat().st_mtime_ns
    pipeline.run(RECIPE, data, output, base=str(base), resume=True)
    assert (output / "model.safetensors").stat().st_mtime_ns == written


def test_finished_stage_with_other_settings_is_an_error(
    base: Path, data: TrainingData, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    pipeline.run(Recipe((PRETRAINED,)), data, output, base=str(base))
    with code("settings-differ"):
        pipeline.run(
            Recipe((Stage(name="mine", stage="pretrained", base="", lengths=(8,), window=32),)),
            data,
            output,
            base=str(base),
            resume=True,
        )
    with code("output-exists"):
        pipeline.run(Recipe((PRETRAINED,)), data, output, base=str(base))


def test_student_is_trained_from_stored_logits_without_the_teacher(
    base: Path, data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = replace(DISTILLED, base="nowhere")
    first = Recipe((alone,))
    pipeline.run(first, data, tmp_path / "first", base=str(base))
    (tmp_path / "first-teacher-logits.npz").rename(tmp_path / "kept.npz")

    def unavailable(_name: str) -> Classifier:
        raise AssertionError

    monkeypatch.setattr(Classifier, "load", unavailable)
    second = Recipe((replace(alone, teachers=(), teacher_logits="kept.npz"),))
    pipeline.run(second, data, tmp_path / "second", recipe_folder=tmp_path, base=str(base))
    weights = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("first", "second")]
    assert weights[0] == weights[1]


def test_earlier_stage_can_be_a_teacher(
    base: Path, data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported: list[Path] = []

    def export(checkpoint: Path, *_: object, data: str, force: bool) -> None:
        assert force
        exported.append(checkpoint)
        assert data == "mine.csv"

    monkeypatch.setattr(pipeline, "export", export)
    output = tmp_path / "out"
    recipe = Recipe(
        (replace(FINETUNED, base="nowhere"), replace(DISTILLED, teachers=("finetuned",)))
    )
    pipeline.run(recipe, data, output, base=str(base))
    assert exported == [output / "stages" / "finetuned"]
    assert metadata(output)["earlier_recipes"][-1]["stage"] == "finetuned"  # type: ignore[index]  # of JSON


def test_teacher_with_other_labels_is_an_error(
    base: Path, data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classifier, "load", lambda _name: tiny.classifier(("bad", "good")))
    recipe = Recipe((replace(DISTILLED, base="nowhere"),))
    with code("labels-differ"):
        pipeline.run(recipe, data, tmp_path / "out", base=str(base))
