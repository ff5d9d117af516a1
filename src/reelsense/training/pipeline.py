"""All stages of a recipe, one after another, each resumable on its own.

The last stage writes its checkpoint to the output folder, earlier ones to `stages/NAME` in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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
    score,
)

BAG_OF_WORDS = "bag-of-words"
"""The name of the n-gram teacher, which is trained on the training set."""

LOGITS = "teacher-logits.npz"
FINISHED = "finished.json"
"""Written when a stage is done, with its settings."""


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
    """Run the stages of `recipe` and leave the model in `output`.

    Args:
        recipe: What to do.
        data: What to learn from.
        output: Folder for the checkpoint of the last stage; earlier ones lie in `stages` in it.
        recipe_folder: Where relative files of the recipe lie.
        base: The pre-trained encoder for stages that do not begin with an earlier one, in place of
            the recipe's.
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
        folders[stage.stage] = folder
        if stage.base in folders and stage.base != stage.stage:
            begun = folders[stage.base]
            stage = replace(stage, base=base_name(str(begun)))
        else:
            begun = find_base(base or stage.base)
            stage = replace(stage, base=base_name(base or stage.base))
        if resume and _is_finished(folder, stage):
            processes.print(f"{stage.stage}: already finished")
            continue
        resumed = resume and (folder / checkpoint.STATE).exists()
        processes.print(f"{stage.stage}: {'resuming' if resumed else 'starting'} ({stage.kind})")
        if stage.kind == "pretrain":
            texts = data.unlabelled_texts()
            pretrain(stage, begun, texts, folder, resume=resumed, processes=processes)
        else:
            models = {name: path for name, path in folders.items() if name != stage.stage}
            store = _teacher_logits(stage, data, folder, recipe_folder, models, processes)
            _finetune(stage, begun, data, folder, store, processes, resume=resumed)
        if processes.is_main:
            write_atomically(folder / FINISHED, json.dumps(asdict(stage), indent=2) + "\n")


def _finetune(
    stage: Stage,
    base: Path,
    data: TrainingData,
    folder: Path,
    store: LogitStore | None,
    processes: Processes,
    *,
    resume: bool,
) -> None:
    examples = stage_examples(stage, data, store)
    processes.print(
        f"{len(examples):,} training texts, {len(data.split.validation):,} validation texts"
    )
    finetune(
        stage,
        base,
        data.split,
        data.labels,
        folder,
        examples=examples,
        resume=resume,
        processes=processes,
    )


def _is_finished(folder: Path, stage: Stage) -> bool:
    """Return whether `stage` is done. Raises TrainingError if other settings were used."""
    path = folder / FINISHED
    if not path.exists():
        return False
    if json.loads(path.read_text(encoding="utf-8")) != json.loads(json.dumps(asdict(stage))):
        raise TrainingError(
            f"{folder} was made with other settings of the stage {stage.stage!r}: delete it or "
            "name another --output"
        )
    return True


def _teacher_logits(
    stage: Stage,
    data: TrainingData,
    folder: Path,
    recipe_folder: Path,
    models: Mapping[str, Path],
    processes: Processes,
) -> LogitStore | None:
    """Return the logits of all texts of `stage`; None for a stage without teachers.

    `models` are the checkpoints of earlier stages, which can be teachers too.
    """
    if stage.kind != "distill":
        return None
    kept = folder.with_name(f"{folder.name}-{LOGITS}")
    if kept.exists():
        store = read_logits(kept)
    elif stage.teacher_logits:
        store = read_logits(recipe_folder / stage.teacher_logits)
    else:
        store = LogitStore(tuple(data.labels), teachers=stage.teachers)
    texts = texts_to_score(stage, data)
    teachers: list[Teacher] = []
    if store.missing(texts):
        teachers, store.ratings = _teachers(stage, data, models)
        if processes.world_size > 1:
            raise TrainingError("score the texts first: run the stage once with one process")
        kept.parent.mkdir(parents=True, exist_ok=True)
    score(store, teachers, texts, kept)
    if list(store.labels) != data.labels:
        raise TrainingError(f"the teacher has labels {list(store.labels)}, the data {data.labels}")
    return store


def _teachers(
    stage: Stage, data: TrainingData, models: Mapping[str, Path]
) -> tuple[list[Teacher], tuple[int, ...]]:
    """Return the teachers of `stage` and the star ratings that they have learned."""
    teachers: list[Teacher] = []
    ratings: tuple[int, ...] = ()
    for name in stage.teachers:
        if name == BAG_OF_WORDS:
            teachers.append(ScorerTeacher(train_baseline(data.split, data.labels)))
            continue
        classifier = Classifier.load(_bundle(models[name], data) if name in models else name)
        if list(classifier.labels) != data.labels:
            raise TrainingError(
                f"the teacher {name} has labels {list(classifier.labels)}, the data {data.labels}"
            )
        if ratings and classifier.manifest.ratings != ratings:
            raise TrainingError(f"the teacher {name} has other star ratings than the others")
        ratings = classifier.manifest.ratings or ratings
        teachers.append(ClassifierTeacher(classifier))
    return teachers, ratings


def _bundle(checkpoint: Path, data: TrainingData) -> Path:
    """Return the bundle of an earlier stage, which scores faster than its checkpoint."""
    folder = checkpoint.with_name(f"{checkpoint.name}-bundle")
    if not folder.exists():
        export(checkpoint, data.split.validation, data.labels, folder, data=data.source.name)
    return folder
