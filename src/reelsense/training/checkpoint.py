"""The files of a training run: the best checkpoint so far, the state to resume from, the metrics.

Every file is written under another name and then moved into place, so that a run killed at any
moment leaves complete files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError  # nosec B403  # torch.load(weights_only=True) raises it
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from reelsense.bundle import TRAINING_TEXTS
from reelsense.errors import TrainingError
from reelsense.files import atomic_bytes, write_atomically
from reelsense.inference.tokenizer import ReviewTokenizer
from reelsense.training.model import max_length, stored_tensors
from reelsense.training.pretrained import WEIGHTS
from reelsense.training.processes import Processes

STATE = "training-state.pt"
METRICS = "metrics.jsonl"
METADATA = "reelsense.json"

_CURVE_POINTS = 100
_SPEED = {"tokens_per_second", "share_of_peak"}


@dataclass
class TrainingProgress:
    """How far a run is. Saved with every state."""

    epoch: int = 0
    step: int = 0  # steps done within `epoch`
    steps_done: int = 0  # in all epochs
    history: list[dict[str, float]] = field(default_factory=list)  # validation metrics by epoch


def fingerprint(*content: object) -> str:
    """Return a hash of `content`: everything that a resumed run must share with the first."""
    digest = hashlib.sha256()
    for part in content:
        digest.update(repr(part).encode())
    return digest.hexdigest()


def weights_sha256(folder: Path) -> str | None:
    """Return the SHA-256 of model.safetensors in `folder`; None without that file."""
    path = folder / WEIGHTS
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def create_output_folder(output: Path) -> None:
    """Create the folder. Raises TrainingError if it contains a run or a model, or is a file."""
    if (output / STATE).exists():
        raise TrainingError(
            f"{output} contains a training run: continue it with --resume or choose another "
            "--output",
            code="output-exists",
        )
    if (output / "config.json").exists():
        raise TrainingError(
            f"{output} contains a model: choose another --output", code="output-exists"
        )
    if output.exists() and not output.is_dir():
        raise TrainingError(f"{output} is a file: expected a folder as --output")
    output.mkdir(parents=True, exist_ok=True)
    (output / METRICS).unlink(missing_ok=True)


def save_state(
    output: Path,
    fingerprint: str,
    parts: Mapping[str, Any],
    progress: TrainingProgress,
    processes: Processes,
) -> None:
    """Save everything that the next step depends on. All processes call it, the main one writes."""
    gpu = {"gpu": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {}
    random_states = processes.gather({"processor": torch.get_rng_state(), **gpu})
    if not processes.is_main:
        return
    state = {
        "fingerprint": fingerprint,
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "progress": asdict(progress),
        "random_by_process": random_states,
    }
    with atomic_bytes(output / STATE) as file:
        torch.save(state, file)


def load_state(
    output: Path, fingerprint: str, parts: Mapping[str, Any], processes: Processes
) -> TrainingProgress:
    """Load the state saved in `output` into `parts`; return how far the run was.

    Random number generators are restored if the number of processes is the same as before;
    otherwise dropout continues with other noise. Raises TrainingError if there is no state, or it
    is damaged, or it belongs to another recipe or data.
    """
    path = output / STATE
    if not path.exists():
        raise TrainingError(
            f"{output} contains no saved state: run without --resume", code="no-saved-state"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise TrainingError(
            f"{path} is damaged ({error}): choose another --output", code="state-damaged"
        ) from error
    if state["fingerprint"] != fingerprint:
        raise TrainingError(
            f"{path} was saved with another recipe, base model or data: use the same ones or "
            "choose another --output",
            code="state-mismatch",
        )
    for name, part in parts.items():
        part.load_state_dict(state["parts"][name])
    random_states = state["random_by_process"]
    if len(random_states) == processes.world_size:
        own = random_states[processes.rank]
        torch.set_rng_state(own["processor"])
        if torch.cuda.is_available() and "gpu" in own:
            torch.cuda.set_rng_state(own["gpu"])
    progress = TrainingProgress(**state["progress"])
    if processes.is_main:  # drop what was logged after the state was saved
        entries = [entry for entry in _log(output) if entry["step"] <= progress.steps_done]
        write_atomically(output / METRICS, "".join(json.dumps(entry) + "\n" for entry in entries))
    return progress


def _log(output: Path) -> list[dict[str, Any]]:
    """Return what a run has logged, without a last line that is incomplete."""
    path = output / METRICS
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        with suppress(ValueError):
            entries.append(json.loads(line))
    return entries


def training_curves(output: Path) -> dict[str, list[Any]]:
    """Return the curves of the run in `output`.

    "loss" has up to 100 pairs of a step and the mean loss of the steps up to it, "validation" the
    metrics of every epoch.
    """
    entries = _log(output)
    steps = [entry for entry in entries if "epoch" not in entry]
    size = max(1, -(-len(steps) // _CURVE_POINTS))
    groups = [steps[start : start + size] for start in range(0, len(steps), size)]
    return {
        "loss": [
            [group[-1]["step"], round(sum(step["loss"] for step in group) / len(group), 4)]
            for group in groups
        ],
        "validation": [
            {name: value for name, value in entry.items() if name not in _SPEED}
            for entry in entries
            if "epoch" in entry
        ],
    }


def read_metadata(folder: Path) -> dict[str, Any]:
    """Return what `save_model` wrote about the model in `folder`; {} for other models."""
    try:
        metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def read_classifier_metadata(folder: Path) -> dict[str, Any]:
    """Return the metadata of a fine-tuned checkpoint. Raises TrainingError for other folders."""
    metadata = read_metadata(folder)
    if "labels" not in metadata:
        raise TrainingError(
            f"{folder} is not a checkpoint of `reelsense train`: expected a {METADATA} with labels",
            code="not-a-checkpoint",
        )
    return metadata


def read_training_texts(folder: Path) -> bytes | None:
    """Return the hashes of the texts that the model in `folder` was trained on, if known."""
    path = folder / TRAINING_TEXTS
    return path.read_bytes() if path.is_file() else None


def save_model(
    output: Path,
    model: PreTrainedModel,
    tokenizer: ReviewTokenizer,
    metadata: dict[str, Any],
    training_texts: bytes | None = None,
) -> None:
    """Write a standard transformers checkpoint with its tokenizer, `metadata` and text hashes.

    Weights are stored in float16, which halves the file and changes logits by about 0.001. Its
    config makes transformers load them as float32.
    """
    temporary = output / ".saving"
    shutil.rmtree(temporary, ignore_errors=True)
    half = {name: tensor.half() for name, tensor in stored_tensors(model).items()}
    model.save_pretrained(temporary, state_dict=half)
    types = ["token_type_ids"] if getattr(model.config, "type_vocab_size", 0) > 1 else []
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer.serialized),
        model_max_length=max_length(model),
        model_input_names=["input_ids", *types, "attention_mask"],
        **tokenizer.special_tokens,
    ).save_pretrained(temporary)
    (temporary / METADATA).write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
    if training_texts is not None:
        (temporary / TRAINING_TEXTS).write_bytes(training_texts)
    for path in sorted(temporary.iterdir()):
        os.replace(path, output / path.name)
    temporary.rmdir()
