"""What a training run writes: the best model so far, the state to go on from, the metrics.

Everything is written beside its place and then moved there, so that a run killed at any moment
leaves whole files.
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
from typing import Any, Protocol

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from reelsense.errors import TrainingError
from reelsense.files import write_atomically
from reelsense.inference.tokenizer import ReviewTokenizer
from reelsense.training.batches import Encoded
from reelsense.training.distributed import Processes
from reelsense.training.model import max_length, stored_tensors
from reelsense.training.throughput import without_speed

STATE = "training-state.pt"
METRICS = "metrics.jsonl"
FACTS = "reelsense.json"

_CURVE_POINTS = 100


@dataclass
class TrainingProgress:
    """How far a run is. Saved with every state."""

    epoch: int = 0
    step: int = 0
    """Steps done within `epoch`."""
    steps_done: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    """Loss and accuracy on the held-out part after each finished epoch."""


def fingerprint(
    recipe: dict[str, object], labels: list[str], train: Encoded, validation: Encoded
) -> str:
    """Return a hash of everything that a resumed run must share with the first."""
    digest = hashlib.sha256(json.dumps([recipe, labels]).encode())
    for part in (train, validation):
        digest.update(repr((part.targets, part.ratings, part.teachers)).encode())
        for ids in part.ids:
            digest.update(repr(ids).encode())
    return digest.hexdigest()


def refuse_to_overwrite(out: Path) -> None:
    """Make the folder `out`; raise TrainingError if a run or a model already lives there."""
    if (out / STATE).exists():
        raise TrainingError(
            f"{out} already holds a training run: go on with --resume, or name another --output"
        )
    if (out / "config.json").exists():
        raise TrainingError(f"{out} already holds a model: name another --output")
    if out.exists() and not out.is_dir():
        raise TrainingError(f"{out} is a file: name a folder as --output")
    out.mkdir(parents=True, exist_ok=True)
    (out / METRICS).unlink(missing_ok=True)


class Stateful(Protocol):
    """A model, an optimizer, an average: what has a state to save."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        ...

    def load_state_dict(self, state_dict: Any) -> Any:
        """Take over a state."""
        ...


def save_state(
    out: Path,
    fingerprint: str,
    parts: Mapping[str, Stateful],
    progress: TrainingProgress,
    processes: Processes,
) -> None:
    """Save all that the next step depends on. All processes take part, one writes."""
    random = processes.gather(_random())
    if not processes.main:
        return
    state = {
        "fingerprint": fingerprint,
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "progress": asdict(progress),
        "random_by_process": random,
    }
    beside = out / f"{STATE}.part"
    torch.save(state, beside)
    os.replace(beside, out / STATE)


def _random() -> dict[str, Tensor]:
    """Where this process is in its random numbers, on the processor and on its GPU."""
    gpu = {"gpu": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {}
    return {"processor": torch.get_rng_state(), **gpu}


def load_state(
    out: Path, fingerprint: str, parts: Mapping[str, Stateful], processes: Processes
) -> TrainingProgress:
    """Put the state saved in `out` into `parts`; return how far it was.

    Random numbers go on where they were if there are as many processes as there were; else
    dropout has other noise.

    Raises TrainingError if there is none, or if it is of another recipe or other reviews.
    """
    path = out / STATE
    if not path.exists():
        raise TrainingError(f"{out} holds no saved state to resume from")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise TrainingError(f"{path} is damaged: use another --output ({error})") from error
    if state["fingerprint"] != fingerprint:
        raise TrainingError(
            f"{path} was made with another recipe, base or other reviews: use another --output"
        )
    for name, part in parts.items():
        part.load_state_dict(state["parts"][name])
    random = state.get("random_by_process", [])
    if len(random) == processes.count:
        torch.set_rng_state(random[processes.rank]["processor"])
        if torch.cuda.is_available() and "gpu" in random[processes.rank]:
            torch.cuda.set_rng_state(random[processes.rank]["gpu"])
    progress = TrainingProgress(**state["progress"])
    if processes.main:
        _drop_metrics_after(out / METRICS, progress.steps_done)
    return progress


def _drop_metrics_after(path: Path, step: int) -> None:
    kept = [entry for entry in _entries(path) if entry["step"] <= step]
    write_atomically(path, "".join(json.dumps(entry) + "\n" for entry in kept))


def _entries(path: Path) -> list[dict[str, Any]]:
    """What a run has logged; the last line of one that was killed may be torn."""
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        with suppress(ValueError):
            entries.append(json.loads(line))
    return entries


def curves(out: Path) -> dict[str, list[Any]]:
    """Return how the run in `out` went: mean losses [step, loss], and the held-out epochs."""
    entries = _entries(out / METRICS)
    steps = [entry for entry in entries if "epoch" not in entry]
    each = max(1, -(-len(steps) // _CURVE_POINTS))
    parts = [steps[start : start + each] for start in range(0, len(steps), each)]
    return {
        "loss": [
            [part[-1]["step"], round(sum(step["loss"] for step in part) / len(part), 4)]
            for part in parts
        ],
        "validation": [without_speed(entry) for entry in entries if "epoch" in entry],
    }


def facts(folder: Path) -> dict[str, Any]:
    """Return what `save_model` noted in `folder` of how the model was made; {} for others."""
    try:
        found = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def facts_with_labels(folder: Path) -> dict[str, Any]:
    """Return the same of a checkpoint that has labels. Raises TrainingError for others."""
    found = facts(folder)
    if "labels" not in found:
        raise TrainingError(
            f"{folder} is not a checkpoint of `reelsense train`: there is no {FACTS} with labels"
        )
    return found


def save_model(
    out: Path, model: PreTrainedModel, tokenizer: ReviewTokenizer, facts: dict[str, Any]
) -> None:
    """Write an ordinary transformers checkpoint with its tokenizer and `facts` into `out`.

    Weights are rounded to 16 bits, which halves the file and moves logits by about a thousandth;
    they are float32 again where transformers opens it, because its config says so.
    """
    beside = out / ".saving"
    shutil.rmtree(beside, ignore_errors=True)
    rounded = {name: part.half() for name, part in stored_tensors(model).items()}
    model.save_pretrained(beside, state_dict=rounded)
    types = ["token_type_ids"] if getattr(model.config, "type_vocab_size", 0) > 1 else []
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer.serialized),
        model_max_length=max_length(model),
        model_input_names=["input_ids", *types, "attention_mask"],
        **tokenizer.special_tokens,
    ).save_pretrained(beside)
    (beside / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    for path in sorted(beside.iterdir()):
        os.replace(path, out / path.name)
    beside.rmdir()
