"""Finding, loading and checking of pre-trained encoders with transformers.

Knows configurations, weights and tokenizers; neither labels nor forward passes.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from huggingface_hub import snapshot_download
from torch import nn
from transformers import AutoConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from reelsense.bundle import MANIFEST
from reelsense.errors import BundleError, DownloadError, TrainingError
from reelsense.inference.tokenizer import ReviewTokenizer

WEIGHTS = "model.safetensors"

_FILES = ["config.json", WEIGHTS, "tokenizer.json"]

_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""No downloads, and no execution of code from a model's folder."""

# Names of the two dropouts in the configurations of the families.
_HIDDEN_DROPOUTS = (
    *("hidden_dropout_prob", "dropout", "embedding_dropout", "mlp_dropout"),
    *("classifier_dropout", "cls_dropout", "pooler_dropout", "seq_classif_dropout"),
)
_ATTENTION_DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout")


def find_base(base: str) -> Path:
    """Return the folder of `base`, a folder or a hub id; download it or use the hub's cache.

    Raises:
        DownloadError: The hub cannot be reached or has no such model.
    """
    if Path(base).is_dir():
        return Path(base)
    try:
        return Path(snapshot_download(base, allow_patterns=_FILES))
    except Exception as error:  # its client passes on any error of its transport
        reason = (str(error.__cause__ or error).strip() or type(error).__name__).splitlines()[0]
        raise DownloadError(
            f"{base!r} is neither a folder nor available on the Hugging Face hub ({reason}): "
            "pass a folder with config.json, model.safetensors and tokenizer.json as --base-model",
            code="no-base-model",
        ) from error


def read_config(folder: Path, dropout: float, attention_dropout: float) -> Any:
    """Return the configuration of the encoder in `folder`, without star ratings.

    As a side effect, transformers prints no warnings and progress bars any more. Raises
    TrainingError if there is no valid configuration or the model has a decoder.
    """
    # It would warn that the output layer is new, and its progress bars would hide ours.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    if not (folder / "config.json").is_file():
        if (folder / MANIFEST).is_file():
            problem = (
                "is a bundle, which cannot be trained: pass the checkpoint that it was exported "
                "from (--output of `reelsense train`); for the bundled model, checkpoints/default"
            )
        else:
            problem = "contains no pre-trained model: expected a config.json"
        raise TrainingError(f"{folder} {problem}", code="invalid-base-model")
    try:
        config = AutoConfig.from_pretrained(folder, **_LOCAL)
    except Exception as error:  # transformers passes on errors of its dependencies
        raise TrainingError(
            f"{folder} contains no pre-trained model: {_short(error)}", code="invalid-base-model"
        ) from error
    if config.is_encoder_decoder:
        raise TrainingError(
            f"{folder} contains a model with a decoder ({config.model_type}): expected an encoder",
            code="unsupported-model",
        )
    config.star_ratings = []
    for names, value in ((_HIDDEN_DROPOUTS, dropout), (_ATTENTION_DROPOUTS, attention_dropout)):
        for name in names:
            if isinstance(getattr(config, name, None), float | int):
                setattr(config, name, value)
    return config


def load_pretrained(model_class: Any, folder: Path, config: Any) -> PreTrainedModel:
    """Load the model in `folder` in 32 bits as a `model_class` such as AutoModel.

    Raises:
        TrainingError: `model_class` cannot load it, or weights or tokenizer do not fit `config`.
    """
    model: PreTrainedModel
    try:
        model, report = model_class.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **_LOCAL,
        )
    except Exception as error:  # transformers passes on errors of its dependencies
        raise TrainingError(
            f"cannot load the model in {folder}: {_short(error)}", code="invalid-base-model"
        ) from error
    _check_weights(folder, model, report)
    _check_tokenizer(folder, model)
    return model


def _short(error: Exception) -> str:
    """Return the message of `error` in one short line; some list every architecture."""
    return shorten(str(error) or type(error).__name__, 300, placeholder=" ...")


def _check_weights(folder: Path, model: PreTrainedModel, report: dict[str, Any]) -> None:
    """Raise TrainingError if weights of the encoder are missing.

    Weights of the pooler and the head may be missing: many pre-trained models have none.
    """
    new = report["missing_keys"] | {name for name, *_ in report["mismatched_keys"]}
    encoder = model.base_model.state_dict().keys()
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    wrong = sorted(new & {prefix + name for name in encoder if not name.startswith("pooler.")})
    if wrong:
        raise TrainingError(
            f"the weights in {folder} do not fit its config.json: {len(wrong)} tensors of the "
            f"encoder are missing or have another shape, such as {wrong[0]}",
            code="invalid-base-model",
        )


def _check_tokenizer(folder: Path, model: PreTrainedModel) -> None:
    """Raise TrainingError if the tokenizer in `folder` does not fit `model`.

    RoBERTa and MPNet number positions from their padding id + 1, so it must be the tokenizer's.
    """
    tokenizer = read_tokenizer(folder)
    words: Any = model.get_input_embeddings()
    if tokenizer.size > words.num_embeddings:
        raise TrainingError(
            f"the tokenizer in {folder} has {tokenizer.size} tokens, but the model has "
            f"embeddings for {words.num_embeddings}: expected the tokenizer of this model"
        )
    positions = position_embeddings(model)
    padding = None if positions is None else positions.padding_idx
    if padding not in (None, tokenizer.pad):
        raise TrainingError(
            f"the padding id of the tokenizer in {folder} is {tokenizer.pad}, that of the model is "
            f"{padding}: expected the tokenizer of this model"
        )


def read_tokenizer(folder: Path) -> ReviewTokenizer:
    """Return the tokenizer in `folder`. Raises TrainingError if it is missing or invalid."""
    path = folder / "tokenizer.json"
    try:
        return ReviewTokenizer(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TrainingError(
            f"{folder} contains no tokenizer.json: save it with transformers' "
            "AutoTokenizer.from_pretrained(...).save_pretrained(...)",
            code="invalid-tokenizer",
        ) from error
    except (BundleError, OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"cannot use {path}: {error}", code="invalid-tokenizer") from error


def position_embeddings(model: PreTrainedModel) -> nn.Embedding | None:
    """Return the embeddings of absolute positions; None for families without them."""
    for name, part in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(part, nn.Embedding):
            return part
    return None
