"""Pre-trained encoders with an output layer, as transformers loads and saves them.

In memory the output layer has additional outputs for the star ratings. In a checkpoint these are
separate tensors (STARS), so that transformers loads it as a standard sequence classifier with the
same logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from reelsense.errors import TrainingError
from reelsense.training.encoders import SHORTENED, encode
from reelsense.training.pretrained import (
    load_pretrained,
    position_embeddings,
    read_config,
    read_tokenizer,
    set_dropout,
)

WEIGHTS = "model.safetensors"
STARS = ("stars.weight", "stars.bias")
"""Names of the rows of the output layer that belong to the star ratings, in a checkpoint."""


def load_model(
    folder: Path,
    labels: Sequence[str],
    dropout: float,
    attention_dropout: float,
    ratings: Sequence[int] = (),
    pool_after: int = 0,
) -> PreTrainedModel:
    """Load the encoder in `folder` with an output for each of `labels` and `ratings`.

    An output layer for the same number of labels keeps its weights; others are replaced.

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
    config = read_config(folder)
    config.num_labels = len(labels)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: n for n, label in enumerate(labels)}
    config.star_ratings = list(ratings)
    config.pool_after = pool_after or getattr(config, "pool_after", 0)
    if config.pool_after and config.model_type != "bert":
        raise TrainingError(
            f"pool_after: only BERT can pool hidden states, not {config.model_type}: remove it",
            code="unsupported-model",
        )
    set_dropout(config, dropout, attention_dropout)
    model = load_pretrained(AutoModelForSequenceClassification, folder, config)
    _freeze_position_bias(model)
    if ratings:
        _widen(model, len(ratings), _stored_stars(folder))
    return model


def load_encoder(folder: Path) -> PreTrainedModel:
    """Load the bare encoder in `folder` without dropout. Raises as `load_model`."""
    config = read_config(folder)
    set_dropout(config, 0.0, 0.0)
    return load_pretrained(AutoModel, folder, config)


def load_masked_lm(folder: Path) -> PreTrainedModel:
    """Load the encoder in `folder` with a head for masked language modelling, without dropout.

    A checkpoint without such a head gets an untrained one, whose output layer shares its weights
    with the word embeddings. The encoder keeps its pooler, which is not trained.

    Raises:
        TrainingError: The folder holds no encoder that transformers can load with such a head, or
            its tokenizer has no mask token.
    """
    encoder: Any = load_encoder(folder)
    model = load_pretrained(AutoModelForMaskedLM, folder, encoder.config)
    if read_tokenizer(folder).mask is None:
        raise TrainingError(
            f"the tokenizer in {folder} has no mask token: expected [MASK] or <mask>",
            code="no-mask-token",
        )
    setattr(model, model.base_model_prefix, encoder)
    model.tie_weights()
    _freeze_position_bias(model)
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler.requires_grad_(False)
    return model


def _freeze_position_bias(model: Any) -> None:
    """Exclude MPNet's bias of relative positions from training.

    With a gradient for it, attention cannot be fused and training is 7 % slower.
    """
    if model.config.model_type == "mpnet":
        model.base_model.encoder.relative_attention_bias.requires_grad_(False)


def output_layer(model: PreTrainedModel) -> tuple[str, nn.Linear]:
    """Return the name and the module of the layer that computes the logits: the head's last."""
    encoder = f"{model.base_model_prefix}."  # XLM-RoBERTa has it behind the head
    return [
        (name, part)
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear) and not name.startswith(encoder)
    ][-1]


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
    """Return the tensors of a checkpoint of `model`, with separate ones for the stars."""
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


def masked_logits(model: Any, ids: Tensor, mask: Tensor, masked: Tensor) -> Tensor:
    """Return the logits (masked tokens, vocabulary) of the tokens to predict.

    Only these are projected to the vocabulary.

    Args:
        model: As `load_masked_lm` returns it.
        ids: Token ids, (batch, length).
        mask: 1 for tokens and 0 for padding, (batch, length).
        masked: Which tokens to predict, bool (batch, length). The result has them row by row.
    """
    encoder = model.base_model
    if model.config.model_type in SHORTENED:
        states = encode(encoder, encoder.embeddings(input_ids=ids), mask)[masked]
        head = model.cls if model.config.model_type == "bert" else model.lm_head
        predictions: Tensor = head(states)
        return predictions

    def keep_masked(_encoder: nn.Module, _inputs: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[masked].unsqueeze(0)
        return output

    # The name and structure of the head differ between families; a hook works for all of them.
    with encoder.register_forward_hook(keep_masked):
        scores: Tensor = model(input_ids=ids, attention_mask=mask).logits[0]
    return scores


def max_length(model: PreTrainedModel) -> int:
    """Return the maximum number of tokens that `model` reads.

    RoBERTa and MPNet number positions from their padding id + 1.
    """
    positions = int(model.config.max_position_embeddings)
    embeddings = position_embeddings(model)
    if embeddings is None or embeddings.padding_idx is None:
        return positions
    return positions - embeddings.padding_idx - 1


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return parameter groups with weight decay for matrices only, as Devlin et al. (2019, A.2)."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
