"""Folders with a pre-trained encoder: opened by transformers, quietly, and checked.

Knows configurations, weights and tokenizers. Neither labels nor what is computed.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from reelsense.errors import BundleError, TrainingError
from reelsense.inference.tokenizer import ReviewTokenizer

_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""Nothing is downloaded, and code that comes with a model is not run."""

_HIDDEN_DROPOUTS = (
    *("hidden_dropout_prob", "dropout", "embedding_dropout", "mlp_dropout"),
    *("classifier_dropout", "cls_dropout", "pooler_dropout", "seq_classif_dropout"),
)
_ATTENTION_DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout")
"""Names that families of encoders give to the two settings in their configuration."""


def read_config(folder: Path) -> Any:
    """Return the configuration of the encoder in `folder`, without star ratings.

    From here on, transformers prints neither warnings nor progress bars in this process.

    Raises:
        TrainingError: There is no configuration that transformers knows, or one of a model that
            also has a decoder.
    """
    # Its report that the output layer is new would worry people; its bars drown ours.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    if not (folder / "config.json").is_file():
        raise TrainingError(f"{folder} holds no pre-trained model: there is no config.json")
    try:
        config = AutoConfig.from_pretrained(folder, **_LOCAL)
    except Exception as error:  # transformers lets through what its parts raise
        raise TrainingError(f"{folder} holds no pre-trained model: {_short(error)}") from error
    if config.is_encoder_decoder:
        raise TrainingError(
            f"{folder} holds a model with a decoder ({config.model_type}): expected an encoder"
        )
    config.star_ratings = []
    return config


def set_dropout(config: Any, dropout: float, attention_dropout: float) -> None:
    """Set the dropout of hidden states and of attention weights in `config` of any family."""
    for names, value in ((_HIDDEN_DROPOUTS, dropout), (_ATTENTION_DROPOUTS, attention_dropout)):
        for name in names:
            if isinstance(getattr(config, name, None), float | int):
                setattr(config, name, value)


def load_pretrained(kind: Any, folder: Path, config: Any) -> PreTrainedModel:
    """Load the model in `folder` in 32 bits.

    Args:
        kind: The class of transformers that loads it, such as AutoModel.
        folder: config.json, model.safetensors and tokenizer.json.
        config: The changed configuration.

    Raises:
        TrainingError: `kind` cannot load it, or its weights or its tokenizer do not fit `config`.
    """
    model: PreTrainedModel
    try:
        model, report = kind.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **_LOCAL,
        )
    except Exception as error:  # transformers lets through what its parts raise
        raise TrainingError(f"the model in {folder} cannot be loaded: {_short(error)}") from error
    _check_weights(folder, model, report)
    _check_tokenizer(folder, model)
    return model


def _short(error: Exception) -> str:
    """Return the message of `error` in one line; some list every architecture there is."""
    return shorten(str(error) or type(error).__name__, 300, placeholder=" ...")


def _check_weights(folder: Path, model: PreTrainedModel, report: dict[str, Any]) -> None:
    """Raise TrainingError if weights of the encoder were not loaded but initialised.

    Those of the pooler and of the head may be: many pre-trained models have none.
    """
    new = report["missing_keys"] | {name for name, *_ in report["mismatched_keys"]}
    encoder = model.base_model.state_dict().keys()
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    wrong = sorted(new & {prefix + name for name in encoder if not name.startswith("pooler.")})
    if wrong:
        raise TrainingError(
            f"the weights in {folder} do not fit its config.json: {len(wrong)} tensors of the "
            f"encoder are missing or have another shape, such as {wrong[0]}"
        )


def _check_tokenizer(folder: Path, model: PreTrainedModel) -> None:
    """Raise TrainingError if the tokenizer in `folder` makes ids that `model` cannot read.

    RoBERTa and MPNet number positions from the one after their padding id, so that theirs must be
    the tokenizer's.
    """
    tokenizer = read_tokenizer(folder)
    words: Any = model.get_input_embeddings()
    if tokenizer.size > words.num_embeddings:
        raise TrainingError(
            f"the tokenizer in {folder} knows {tokenizer.size} tokens, but the model has "
            f"embeddings for {words.num_embeddings}: expected the tokenizer of this model"
        )
    positions = position_embeddings(model)
    padding = None if positions is None else positions.padding_idx
    if padding not in (None, tokenizer.pad):
        raise TrainingError(
            f"the tokenizer in {folder} pads with {tokenizer.pad}, but the model with {padding}: "
            "expected the tokenizer of this model"
        )


def read_tokenizer(folder: Path) -> ReviewTokenizer:
    """Return the tokenizer in `folder`. Raises TrainingError without a usable one."""
    path = folder / "tokenizer.json"
    try:
        return ReviewTokenizer(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TrainingError(
            f"{folder} holds no tokenizer.json: save it with transformers' "
            "AutoTokenizer.from_pretrained(...).save_pretrained(...)"
        ) from error
    except (BundleError, OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} cannot be used: {error}") from error


def position_embeddings(model: PreTrainedModel) -> nn.Embedding | None:
    """Return the table of absolute positions; None for families that have relative ones only."""
    for name, part in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(part, nn.Embedding):
            return part
    return None
