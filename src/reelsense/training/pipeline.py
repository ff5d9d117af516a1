"""Runs the stages of a recipe in order; each can be resumed on its own.

The last stage writes its checkpoint to the output folder, earlier ones to its `stages/NAME`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from reelsense.errors import TrainingError
from reelsense.evaluation.baseline import train_baseline
from reelsense.files import write_atomically
from reelsense.inference.classifier import Classifier
from reelsense.training import checkpoint, loop
from reelsense.training.export import export
from reelsense.training.finetune import FineTuning
from reelsense.training.pretrain import MaskedLanguageModelling
from reelsense.training.pretrained import find_base
from reelsense.training.processes import Processes
from reelsense.training.recipe import Recipe, Stage
from reelsense.training.sources import TrainingData, stage_examples, texts_to_score
from reelsense.training.teachers import (
    LogitStore,
    Teacher,
    check_labels,
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
    folders: dict[str, Path] = {}  # of earlier stages
    for stage in recipe.stages:
        folder = output if stage is recipe.last else output / "stages" / stage.stage
        stage_base = str(folders[stage.base]) if stage.base in folders else base or stage.base
        base_folder = find_base(stage_base)
        stage = replace(stage, base=_base_name(stage_base))
        if resume and _is_finished(folder, stage):
            processes.print(f"{stage.stage}: already finished")
        else:
            resume_stage = resume and (folder / checkpoint.STATE).exists()
            verb = "resuming" if resume_stage else "starting"
            processes.print(f"{stage.stage}: {verb} ({stage.kind})")
            store = _teacher_logits(stage, data, folder, recipe_folder, folders, processes)
            make_task = _task(stage, base_folder, data, store, processes)
            loop.train(make_task, stage, folder, processes=processes, resume=resume_stage)
            if processes.is_main:
                write_atomically(folder / FINISHED, json.dumps(asdict(stage), indent=2) + "\n")
        folders[stage.stage] = folder


def _task(
    stage: Stage, base: Path, data: TrainingData, store: LogitStore | None, processes: Processes
) -> Callable[..., loop.TrainingTask]:
    """Return the function that makes the task of `stage`, without the arguments of the loop."""
    if stage.kind == "pretrain":
        return partial(MaskedLanguageModelling, base=base, texts=data.unlabelled_texts())
    examples, validation = stage_examples(stage, data, store), data.split.validation
    processes.print(f"{len(examples):,} training texts, {len(validation):,} validation texts")
    return partial(
        FineTuning, base=base, labels=data.labels, examples=examples, validation=validation
    )


def _base_name(base: str) -> str:
    """Return the name of `base` for the metadata of a checkpoint, without local paths.

    It is the hub id, for the folder of an earlier stage the base of that stage, and for any other
    folder its name.
    """
    folder = Path(base)
    if not folder.is_dir():
        return base
    recipe = checkpoint.read_metadata(folder).get("recipe", {})
    return str(recipe.get("base", folder.absolute().name))


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
    check_labels("the file of teacher logits", store.labels, data.labels)
    texts = texts_to_score(stage, data)
    if store.missing(texts):
        if processes.world_size > 1:
            raise TrainingError(
                "teachers cannot score texts on several processes: run the stage once with one "
                "process",
                code="one-process-needed",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        teachers = [_load_teacher(name, data, earlier_stages) for name in stage.teachers]
        for name, teacher in zip(stage.teachers, teachers, strict=True):
            check_labels(f"the teacher {name}", teacher.labels, data.labels)
        score_missing(store, teachers, texts, path)
    return store


def _load_teacher(name: str, data: TrainingData, earlier_stages: Mapping[str, Path]) -> Teacher:
    """Load a teacher; that of an earlier stage as a bundle, which scores faster."""
    if name == BAG_OF_WORDS:
        return train_baseline(data.split, data.labels)
    if name not in earlier_stages:
        return Classifier.load(name)
    stage = earlier_stages[name]
    bundle = stage.with_name(f"{stage.name}-bundle")
    if not bundle.exists():
        export(stage, data.split.validation, data.labels, bundle, data=data.source.name, force=True)
    return Classifier.load(bundle)
