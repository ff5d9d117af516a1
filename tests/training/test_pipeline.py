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

READ = Stage(
    name="mine",
    stage="read",
    kind="pretrain",
    base="nowhere",
    lengths=(32,),
    tokens_per_batch=256,
    max_steps=2,
    window=32,
)
LEARN = Stage(name="mine", stage="learn", base="read", lengths=(16, 16), window=32)
TAUGHT = Stage(
    name="mine",
    stage="taught",
    kind="distill",
    base="learn",
    lengths=(16,),
    window=32,
    data={"reviews": 1, "unlabelled": 1},
    teachers=("accurate", "bag-of-words"),
    stars_weight=1.0,
)
RECIPE = Recipe((READ, LEARN, TAUGHT))


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


def test_run_leaves_every_stage_and_the_model(
    base: Path, data: TrainingData, tmp_path: Path
) -> None:
    output = tmp_path / "runs" / "out"
    pipeline.run(RECIPE, data, output, base=str(base))
    learned, taught = metadata(output / "stages" / "learn"), metadata(output)
    assert learned["read"] == taught["read"] == {"texts": 56, "steps": 2}
    stages = [recipe["stage"] for recipe in taught["earlier_recipes"]]  # type: ignore[attr-defined]  # of JSON
    assert stages == ["read", "learn"]
    assert taught["recipe"]["base"] == "base"  # type: ignore[index]  # of JSON
    store = read_logits(tmp_path / "runs" / "out-teacher-logits.npz")
    assert len(store.rows) == 56
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
    said = [line for line in capsys.readouterr().out.splitlines() if line.count(":") == 1]
    assert [line for line in said if "already finished" in line] == [
        "read: already finished",
        "learn: already finished",
    ]
    for stage in ("stages/read", "stages/learn", ""):
        weights = [(run / stage / "model.safetensors").read_bytes() for run in (whole, output)]
        assert weights[0] == weights[1]
    written = (output / "model.safetensors").stat().st_mtime_ns
    pipeline.run(RECIPE, data, output, base=str(base), resume=True)
    assert (output / "model.safetensors").stat().st_mtime_ns == written


def test_finished_stage_with_other_settings_is_an_error(
    base: Path, data: TrainingData, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    pipeline.run(Recipe((READ,)), data, output, base=str(base))
    with code("settings-differ"):
        pipeline.run(
            Recipe((Stage(name="mine", stage="read", base="", lengths=(8,), window=32),)),
            data,
            output,
            base=str(base),
            resume=True,
        )
    with code("output-exists"):
        pipeline.run(Recipe((READ,)), data, output, base=str(base))


def test_student_can_be_trained_without_the_teacher(
    base: Path, data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = replace(TAUGHT, base="nowhere")
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

    def export(checkpoint: Path, *_: object, data: str) -> None:
        exported.append(checkpoint)
        assert data == "mine.csv"

    monkeypatch.setattr(pipeline, "export", export)
    output = tmp_path / "out"
    recipe = Recipe((replace(LEARN, base="nowhere"), replace(TAUGHT, teachers=("learn",))))
    pipeline.run(recipe, data, output, base=str(base))
    assert exported == [output / "stages" / "learn"]
    assert metadata(output)["earlier_recipes"][-1]["stage"] == "learn"  # type: ignore[index]  # of JSON


def test_teacher_with_other_labels_is_an_error(
    base: Path, data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classifier, "load", lambda _name: tiny.classifier(("bad", "good")))
    recipe = Recipe((replace(TAUGHT, base="nowhere"),))
    with code("labels-differ"):
        pipeline.run(recipe, data, tmp_path / "out", base=str(base))
