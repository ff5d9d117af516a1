"""A pre-trained encoder with an untrained layer on top, as transformers loads and saves it.

In memory the output layer has one more output for each star rating. In a checkpoint these are
tensors of their own (STARS), so that transformers opens it as an ordinary sequence classifier with
the same logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)
from transformers.utils import logging as transformers_logging

from reelsense.errors import TrainingError
from reelsense.training.encoders import SHORTENED, encode

WEIGHTS = "model.safetensors"
STARS = ("stars.weight", "stars.bias")
"""Names of the rows of the output layer that belong to the star ratings, in a checkpoint."""

_DROPOUTS = {
    "dropout": ("hidden_dropout_prob", "dropout", "seq_classif_dropout", "mlp_dropout"),
    "attention_dropout": ("attention_probs_dropout_prob", "attention_dropout"),
}
"""What families of encoders call the two settings in their configuration."""


def load_model(
    folder: Path,
    labels: Sequence[str],
    dropout: float,
    attention_dropout: float,
    ratings: Sequence[int] = (),
    pool_after: int = 0,
) -> PreTrainedModel:
    """Load the encoder in `folder` with an output for each of `labels` and `ratings`.

    A checkpoint that already has such an output layer keeps its weights.

    Args:
        folder: config.json, model.safetensors and tokenizer.json.
        labels: Names of the labels, in the order of the outputs.
        dropout: Of hidden states and before the classifier.
        attention_dropout: Of attention weights.
        ratings: Star ratings, whose outputs follow those of the labels.
        pool_after: Pool hidden states in pairs after this many layers, if the checkpoint does not
            already. BERT only.

    Raises:
        TrainingError: The folder holds no encoder that transformers can load as a classifier.
    """
    config = _config(folder)
    config.num_labels = len(labels)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: n for n, label in enumerate(labels)}
    config.star_ratings = list(ratings)
    config.pool_after = pool_after or getattr(config, "pool_after", 0)
    if config.pool_after and config.model_type != "bert":
        raise TrainingError(
            f"pool_after: only BERT can pool hidden states, not {config.model_type}"
        )
    _set_dropout(config, dropout, attention_dropout)
    model = _load(AutoModelForSequenceClassification, folder, config)
    if config.model_type == "mpnet":
        # With a gradient for it, attention cannot be fused and training is 7 % slower.
        encoder: Any = model.base_model.encoder
        encoder.relative_attention_bias.requires_grad_(False)
    if ratings:
        _widen(model, len(ratings), _stored_stars(folder))
    return model


def load_encoder(folder: Path) -> PreTrainedModel:
    """Load the bare encoder in `folder`, without dropout. Raises TrainingError as `load_model`."""
    config = _config(folder)
    _set_dropout(config, 0.0, 0.0)
    return _load(AutoModel, folder, config)


def _config(folder: Path) -> Any:
    # Its report that the classifier is new would worry people; its bars drown ours.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise TrainingError(f"{folder} holds no pre-trained model: {error}") from error


def _set_dropout(config: Any, dropout: float, attention_dropout: float) -> None:
    for names, value in zip(_DROPOUTS.values(), (dropout, attention_dropout), strict=True):
        for name in names:
            if isinstance(getattr(config, name, None), float | int):
                setattr(config, name, value)


def _load(kind: Any, folder: Path, config: Any) -> PreTrainedModel:
    try:
        model: PreTrainedModel = kind.from_pretrained(
            folder, config=config, local_files_only=True, dtype=torch.float32
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise TrainingError(f"the model in {folder} cannot be loaded: {error}") from error
    return model


def output_layer(model: PreTrainedModel) -> tuple[str, nn.Linear]:
    """Return the name and the module of the last linear layer, which computes the logits."""
    layers = [(n, part) for n, part in model.named_modules() if isinstance(part, nn.Linear)]
    return layers[-1]


def _stored_stars(folder: Path) -> tuple[Tensor, Tensor] | None:
    path = folder / WEIGHTS
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as tensors:
        if not set(STARS) <= set(tensors.keys()):
            return None
        weight, bias = (tensors.get_tensor(name).float() for name in STARS)
    return weight, bias


def _widen(model: PreTrainedModel, ratings: int, stored: tuple[Tensor, Tensor] | None) -> None:
    """Give the output layer of `model` one more output for each rating."""
    name, layer = output_layer(model)
    added = nn.Linear(layer.in_features, ratings)
    nn.init.normal_(added.weight, std=getattr(model.config, "initializer_range", 0.02))
    nn.init.zeros_(added.bias)
    weight, bias = added.weight.detach(), added.bias.detach()
    if stored is not None and stored[0].shape == weight.shape:
        weight, bias = stored
    wide = nn.Linear(layer.in_features, layer.out_features + ratings)
    with torch.no_grad():
        wide.weight.copy_(torch.cat([layer.weight, weight]))
        wide.bias.copy_(torch.cat([layer.bias, bias]))
    model.set_submodule(name, wide)


def stored_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint of `model`, with those of the stars apart."""
    tensors: dict[str, Tensor] = dict(model.state_dict())
    ratings = len(getattr(model.config, "star_ratings", None) or ())
    if ratings:
        name, _ = output_layer(model)
        for part, stars in zip(("weight", "bias"), STARS, strict=True):
            whole = tensors[f"{name}.{part}"]
            tensors[f"{name}.{part}"] = whole[:-ratings].clone()
            tensors[stars] = whole[-ratings:].clone()
    return tensors


def logits(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """Return the logits (batch, labels + ratings) for token `ids` and `mask` (batch, length).

    The mask is 1 for tokens and 0 for padding. They equal
    `model(input_ids=ids, attention_mask=mask).logits` up to rounding, unless the model pools.
    """
    if model.config.model_type not in SHORTENED:
        scores: Tensor = model(input_ids=ids, attention_mask=mask).logits
        return scores
    return _classify(model, model.base_model.embeddings(input_ids=ids), mask)


def logits_of_embeddings(model: Any, embeddings: Tensor, mask: Tensor) -> Tensor:
    """Return the logits for the word `embeddings` (batch, length, hidden) of tokens."""
    if model.config.model_type not in SHORTENED:
        scores: Tensor = model(inputs_embeds=embeddings, attention_mask=mask).logits
        return scores
    return _classify(model, model.base_model.embeddings(inputs_embeds=embeddings), mask)


def _classify(model: Any, embedded: Tensor, mask: Tensor) -> Tensor:
    pool_after = getattr(model.config, "pool_after", 0)
    first = encode(model.base_model, embedded, mask, first_only=True, pool_after=pool_after)
    if model.config.model_type == "bert":
        first = model.dropout(model.base_model.pooler(first))
    scores: Tensor = model.classifier(first)
    return scores


def max_length(model: PreTrainedModel) -> int:
    """Return how many tokens `model` reads at most.

    RoBERTa and MPNet number positions from the one after their padding id.
    """
    positions = int(model.config.max_position_embeddings)
    for name, part in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(part, nn.Embedding):
            return positions if part.padding_idx is None else positions - part.padding_idx - 1
    return positions


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices only: not for biases and layer norms (Devlin et al. 2019, A.2)."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
