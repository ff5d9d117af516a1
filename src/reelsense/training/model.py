"""Pre-trained encoders with an output layer, as transformers loads and saves them.

The output layer also has outputs for the star ratings. In a checkpoint these are separate tensors
(`stars.weight` and `stars.bias`), so that transformers loads it as a standard sequence classifier.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from reelsense.datasets.behaviours import read_data
from reelsense.errors import TrainingError
from reelsense.inference.tokenizer import ReviewTokenizer
from reelsense.training.encoders import SHORTENED, encode
from reelsense.training.pretrained import (
    WEIGHTS,
    load_pretrained,
    position_embeddings,
    read_config,
    read_tokenizer,
)


def load_model(
    folder: Path,
    labels: Sequence[str],
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    ratings: Sequence[int] = (),
    pool_after: int = 0,
    sentence_vector: str = "",
) -> PreTrainedModel:
    """Load the encoder in `folder` with an output for each of `labels`, then of `ratings`.

    An output layer for the same number of labels keeps its weights; others are replaced.
    `pool_after` is for checkpoints that do not pool already, and for BERT only. `sentence_vector`
    is the input of the output layer: see `Stage`; "": that of the checkpoint.

    Raises:
        TrainingError: The folder contains no encoder that transformers can load as a classifier, or
            one that does not support `pool_after` or `sentence_vector`.
    """
    config = read_config(folder, dropout, attention_dropout)
    config.num_labels = len(labels)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: n for n, label in enumerate(labels)}
    config.star_ratings = list(ratings)
    config.pool_after = pool_after or getattr(config, "pool_after", 0)
    if config.pool_after and config.model_type != "bert":
        raise TrainingError(
            f"pool_after is supported for BERT only, not for {config.model_type}: remove it from "
            "the recipe",
            code="unsupported-model",
        )
    config.sentence_vector = sentence_vector or getattr(config, "sentence_vector", "first")
    if config.sentence_vector == "mean" and not supports_mean(config):
        raise TrainingError(
            f'sentence_vector = "mean" is supported for {", ".join(SHORTENED)} without pool_after, '
            f"not for {config.model_type}: remove it from the recipe",
            code="unsupported-model",
        )
    model = load_pretrained(AutoModelForSequenceClassification, folder, config)
    _freeze_position_bias(model)
    if ratings:
        _add_stars(model, len(ratings), folder / WEIGHTS)
    return model


def supports_mean(config: PreTrainedConfig) -> bool:
    """Return whether the output layer of a model with this configuration can read a mean."""
    return config.model_type in SHORTENED and not getattr(config, "pool_after", 0)


def load_encoder(folder: Path) -> PreTrainedModel:
    """Load the bare encoder in `folder` without dropout. Raises as `load_model`."""
    return load_pretrained(AutoModel, folder, read_config(folder, 0.0, 0.0))


def load_masked_lm(folder: Path) -> PreTrainedModel:
    """Load the encoder in `folder` with a head for masked language modelling, without dropout.

    A checkpoint without such a head gets an untrained one, whose output layer shares its weights
    with the word embeddings. The encoder keeps its pooler, which is not trained.

    Raises:
        TrainingError: The folder contains no encoder that transformers can load with such a head,
            or its tokenizer has no mask token.
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


class _LabelsAndStars(nn.Linear):
    """An output layer for the labels, followed by one for the star ratings."""

    def __init__(self, labels: nn.Linear, ratings: int, deviation: float) -> None:
        super().__init__(labels.in_features, labels.out_features)
        self.weight, self.bias = labels.weight, labels.bias
        self.stars = nn.Linear(labels.in_features, ratings)
        nn.init.normal_(self.stars.weight, std=deviation)
        nn.init.zeros_(self.stars.bias)

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([super().forward(features), self.stars(features)], dim=-1)


def _add_stars(model: PreTrainedModel, ratings: int, path: Path) -> None:
    """Add outputs for the ratings, with the weights stored in `path` if their size is the same."""
    name, labels = output_layer(model)
    layer = _LabelsAndStars(labels, ratings, getattr(model.config, "initializer_range", 0.02))
    model.set_submodule(name, layer)
    if path.is_file():
        with safe_open(path, framework="pt") as tensors:
            stored = {
                name.removeprefix("stars."): tensors.get_tensor(name)
                for name in tensors.keys()  # noqa: SIM118  # it is not a dict
                if name.startswith("stars.")
            }
        if stored and stored["weight"].shape == layer.stars.weight.shape:
            layer.stars.load_state_dict(stored)


def output_layer(model: PreTrainedModel) -> tuple[str, nn.Linear]:
    """Return the name and the module of the layer that computes the logits: the head's last."""
    encoder = f"{model.base_model_prefix}."  # XLM-RoBERTa has it behind the head
    return [
        (name, part)
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear) and not name.startswith(encoder) and "stars" not in name
    ][-1]


def stored_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint of `model`, with the names that they have there."""
    return {
        re.sub(r".*\.stars\.", "stars.", name): part for name, part in model.state_dict().items()
    }


@torch.no_grad()
def share_identity_embeddings(model: PreTrainedModel, tokenizer: ReviewTokenizer) -> None:
    """Set the embeddings of the identity terms of each category to their mean.

    After Bolukbasi et al. (2016, "Man is to Computer Programmer as Woman is to Homemaker?"), who
    equalize along one direction. Terms of several tokens stay as they are. Where a term has other
    tokens at the beginning of a text or with a capital, these get the same mean.
    """
    embeddings: Any = model.get_input_embeddings().weight
    for terms in read_data("shared_identity_terms.toml").values():
        ids = sorted({token for term in terms for token in _single_tokens(tokenizer, term)})
        if ids:
            embeddings[ids] = embeddings[ids].mean(dim=0)


def _single_tokens(tokenizer: ReviewTokenizer, term: str) -> Iterator[int]:
    """Yield the ids of the forms of `term` that are a single known token."""
    for form in (term, term[:1].upper() + term[1:]):
        alone = tokenizer.encode_with_offsets(form)
        in_context = tokenizer.encode_with_offsets(f"a {form}")
        positions = zip(in_context.ids, in_context.offsets, strict=True)
        after_space = [token for token, position in positions if position >= 2]
        if alone.ids:
            yield from (ids[0] for ids in (alone.ids, after_space) if len(ids) == 1)


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
    if getattr(model.config, "sentence_vector", "") == "mean":
        hidden, weights = encode(model.base_model, embedded, mask), mask[..., None]
        mean = (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        dropped = functional.dropout(mean, model.config.hidden_dropout_prob, model.training)
        outputs: Tensor = output_layer(model)[1](dropped)
        return outputs
    pool_after = getattr(model.config, "pool_after", 0)
    first = encode(model.base_model, embedded, mask, first_only=True, pool_after=pool_after)
    if model.config.model_type == "bert":
        first = model.dropout(model.base_model.pooler(first))
    scores: Tensor = model.classifier(first)
    return scores


def masked_logits(model: Any, ids: Tensor, mask: Tensor, masked: Tensor) -> Tensor:
    """Return the logits (masked tokens, vocabulary) of the tokens to predict, row by row.

    `masked` (batch, length) says which ones; only these are projected to the vocabulary. `model` is
    as `load_masked_lm` returns it.
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
