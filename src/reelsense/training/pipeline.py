"""Runs the stages of a recipe in order; each can be resumed on its own.

The last stage writes its checkpoint to the output folder, earlier ones to its `stages/NAME`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from reelsense.errors import TrainingError
from reelsense.evaluation.baseline import train_baseline
from reelsense.files import write_atomically
from reelsense.inference.classifier import Classifier
from reelsense.training import checkpoint
from reelsense.training.base_model import base_name, find_base
from reelsense.training.distributed import Processes
from reelsense.training.export import export
from reelsense.training.finetune import finetune
from reelsense.training.pretrain import pretrain
from reelsense.training.recipe import Recipe, Stage
from reelsense.training.sources import TrainingData, stage_examples, texts_to_score
from reelsense.training.teachers import (
    ClassifierTeacher,
    LogitStore,
    ScorerTeacher,
    Teacher,
    read_logits,
    score_missing,
)

BAG_OF_WORDS = "bag-of-words"
"""Name of the n-gram teacher, which is trained on the training set."""

LOGITS = "teacher-logits.npz"
FINISHED = "finished.json"
"""Written when a stage is finished; contains its settings."""


def run(
    recipe: Recipe,
    data: TrainingData,
    output: Path,
    *,
    recipe_folder: Path = Path(),
    base: str | None = None,
    resume: bool = False,
    processes: Processes | None = None,
) -> None:
    """Run the stages of `recipe` and write the model to `output`.

    Args:
        recipe: The stages.
        data: Where their texts come from.
        output: Folder for the checkpoint of the last stage; earlier ones are in its `stages`.
        recipe_folder: Folder that file names in the recipe are relative to.
        base: The pre-trained encoder, in place of the recipe's, for stages that do not start from
            an earlier one.
        resume: Skip finished stages and continue an interrupted one.
        processes: By default those that a launcher has started.

    Raises:
        StoppedError: The user interrupted the run.
        TrainingError: A stage cannot be run.
    """
    processes = processes or Processes()
    folders: dict[str, Path] = {}
    for stage in recipe.stages:
        folder = output if stage is recipe.last else output / "stages" / stage.stage
        earlier_stages = dict(folders)
        folders[stage.stage] = folder
        if stage.base in earlier_stages:
            base_folder = earlier_stages[stage.base]
            stage = replace(stage, base=base_name(str(base_folder)))
        else:
            base_folder = find_base(base or stage.base)
            stage = replace(stage, base=base_name(base or stage.base))
        if resume and _is_finished(folder, stage):
            processes.print(f"{stage.stage}: already finished")
            continue
        resume_stage = resume and (folder / checkpoint.STATE).exists()
        processes.print(
            f"{stage.stage}: {'resuming' if resume_stage else 'starting'} ({stage.kind})"
        )
        if stage.kind == "pretrain":
            texts = data.unlabelled_texts()
            pretrain(stage, base_folder, texts, folder, resume=resume_stage, processes=processes)
        else:
            store = _teacher_logits(stage, data, folder, recipe_folder, earlier_stages, processes)
            examples = stage_examples(stage, data, store)
            processes.print(
                f"{len(examples):,} training texts, {len(data.split.validation):,} validation texts"
            )
            finetune(
                stage,
                base_folder,
                data.split,
                data.labels,
                folder,
                examples=examples,
                resume=resume_stage,
                processes=processes,
            )
        if processes.is_main:
            write_atomically(folder / FINISHED, json.dumps(asdict(stage), indent=2) + "\n")


def _is_finished(folder: Path, stage: Stage) -> bool:
    """Return whether `stage` is finished. Raises TrainingError if its settings were different."""
    path = folder / FINISHED
    if not path.exists():
        return False
    if json.loads(path.read_text(encoding="utf-8")) != json.loads(json.dumps(asdict(stage))):
        raise TrainingError(
            f"{folder} was created with other settings of the stage {stage.stage!r}: delete it or "
            "choose another --output",
            code="settings-differ",
        )
    return True


def _teacher_logits(
    stage: Stage,
    data: TrainingData,
    folder: Path,
    recipe_folder: Path,
    earlier_stages: Mapping[str, Path],
    processes: Processes,
) -> LogitStore | None:
    """Return the teacher logits of all texts of `stage`; None for a stage without teachers."""
    if stage.kind != "distill":
        return None
    path = folder.with_name(f"{folder.name}-{LOGITS}")
    if path.exists():
        store = read_logits(path)
    elif stage.teacher_logits:
        store = read_logits(recipe_folder / stage.teacher_logits)
    else:
        store = LogitStore(tuple(data.labels), teachers=stage.teachers)
    texts = texts_to_score(stage, data)
    teachers: list[Teacher] = []
    if store.missing(texts):
        teachers, store.ratings = _load_teachers(stage, data, earlier_stages)
        if processes.world_size > 1:
            raise TrainingError(
                "teachers cannot score texts on several processes: run the stage once with one "
                "process",
                code="one-process-needed",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
    score_missing(store, teachers, texts, path)
    _check_labels("the file of teacher logits", store.labels, data)
    return store


def _load_teachers(
    stage: Stage, data: TrainingData, earlier_stages: Mapping[str, Path]
) -> tuple[list[Teacher], tuple[int, ...]]:
    """Return the teachers of `stage` and the star ratings that they predict."""
    teachers: list[Teacher] = []
    ratings: tuple[int, ...] = ()
    for name in stage.teachers:
        if name == BAG_OF_WORDS:
            teachers.append(ScorerTeacher(train_baseline(data.split, data.labels)))
            continue
        model = _bundle(earlier_stages[name], data) if name in earlier_stages else name
        classifier = Classifier.load(model)
        _check_labels(f"the teacher {name}", classifier.labels, data)
        if ratings and classifier.manifest.ratings != ratings:
            raise TrainingError(
                f"the teacher {name} predicts the star ratings {classifier.manifest.ratings}, "
                f"another one {ratings}: expected the same ones",
                code="ratings-differ",
            )
        ratings = classifier.manifest.ratings or ratings
        teachers.append(ClassifierTeacher(classifier))
    return teachers, ratings


def _check_labels(name: str, labels: Sequence[str], data: TrainingData) -> None:
    if list(labels) != data.labels:
        raise TrainingError(
            f"{name} has the labels {list(labels)}: expected those of the data, {data.labels}",
            code="labels-differ",
        )


def _bundle(checkpoint: Path, data: TrainingData) -> Path:
    """Return the bundle of an earlier stage, which scores faster than its checkpoint."""
    folder = checkpoint.with_name(f"{checkpoint.name}-bundle")
    if not folder.exists():
        export(checkpoint, data.split.validation, data.labels, folder, data=data.source.name)
    return folder
