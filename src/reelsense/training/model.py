"""A pre-trained BERT with an untrained layer on top, and the way through it that we train.

`logits` computes what transformers' BertForSequenceClassification computes, with two savings that
change nothing in the result: the last layer works on the first token alone, the only one that the
classifier reads, and attention is fused. The checkpoint is an ordinary transformers one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, BertForSequenceClassification, BertModel, PreTrainedModel
from transformers.utils import logging as transformers_logging

from reelsense.errors import TrainingError

_Model = TypeVar("_Model", bound=PreTrainedModel)


class ReviewModel(BertForSequenceClassification):
    """BERT with a layer over the labels, and one over star ratings where there are any.

    Its checkpoint opens as transformers' BertForSequenceClassification too, which has the same
    logits and leaves the stars out.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        ratings = getattr(config, "star_ratings", None)
        self.stars = nn.Linear(config.hidden_size, len(ratings)) if ratings else None
        self.post_init()  # type: ignore[no-untyped-call]  # transformers leaves it untyped


def load_model(
    folder: Path,
    labels: Sequence[str],
    dropout: float,
    attention_dropout: float,
    ratings: Sequence[int] = (),
) -> ReviewModel:
    """Load the BERT in `folder` and put untrained layers over `labels` and `ratings` on top.

    A checkpoint that already has such layers keeps them. Raises TrainingError if the folder holds
    no BERT.
    """
    config = _config(folder)
    config.num_labels = len(labels)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: n for n, label in enumerate(labels)}
    config.hidden_dropout_prob = dropout
    config.attention_probs_dropout_prob = attention_dropout
    config.star_ratings = list(ratings)
    return _load(ReviewModel, folder, config)


def load_bert(folder: Path) -> BertModel:
    """Load the bare BERT in `folder`, without dropout. Raises TrainingError as `load_model`."""
    config = _config(folder)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    return _load(BertModel, folder, config)


def _config(folder: Path) -> Any:
    # Its report that the classifier is new would worry people; its bars drown ours.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        config: Any = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise TrainingError(f"{folder} holds no pre-trained model: {error}") from error
    if config.model_type != "bert":
        raise TrainingError(f"{folder} holds a {config.model_type} model; reelsense trains BERT")
    return config


def _load(kind: type[_Model], folder: Path, config: Any) -> _Model:
    try:
        model: _Model = kind.from_pretrained(
            folder, config=config, local_files_only=True, dtype=torch.float32
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise TrainingError(f"the model in {folder} cannot be loaded: {error}") from error
    return model


def logits(model: ReviewModel, ids: Tensor, mask: Tensor) -> Tensor:
    """Return the logits (batch, labels + ratings) for token `ids` and `mask` (batch, length).

    The mask is 1 where to read. The first columns equal
    `model(input_ids=ids, attention_mask=mask).logits` up to rounding (tested).
    """
    bert: Any = model.bert
    return _logits(model, *_embedded(bert.embeddings(input_ids=ids), mask))


def logits_of_embeddings(model: ReviewModel, embeddings: Tensor, mask: Tensor) -> Tensor:
    """Return the same for the word `embeddings` (batch, length, hidden) of tokens."""
    bert: Any = model.bert
    return _logits(model, *_embedded(bert.embeddings(inputs_embeds=embeddings), mask))


def _logits(model: ReviewModel, hidden: Tensor, blocked: Tensor) -> Tensor:
    bert: Any = model.bert
    *layers, last = bert.encoder.layer
    for layer in layers:
        hidden = _layer(layer, hidden, hidden, blocked)
    first = _layer(last, hidden[:, :1], hidden, blocked)
    pooled = model.dropout(bert.pooler(first))
    scores: Tensor = model.classifier(pooled)
    return scores if model.stars is None else torch.cat([scores, model.stars(pooled)], dim=1)


def hidden_states(bert: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """Return the last hidden states (batch, length, hidden) of `bert`."""
    hidden, blocked = _embedded(bert.embeddings(input_ids=ids), mask)
    for layer in bert.encoder.layer:
        hidden = _layer(layer, hidden, hidden, blocked)
    return hidden


def _embedded(hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The input of the first layer, and what is added to the attention scores.

    That is enough to make padding vanish. As a number and not as a bool, because the export of a
    bool mask guards against rows without any token (half the memory).
    """
    return hidden, (1.0 - mask[:, None, None, :].to(hidden.dtype)) * -1e4


def _layer(layer: Any, queries: Tensor, hidden: Tensor, blocked: Tensor) -> Tensor:
    """One encoder layer; `queries` are the positions of `hidden` whose output is wanted."""
    attention = layer.attention.self
    context = _attend(
        _heads(attention.query(queries), attention.num_attention_heads),
        _heads(attention.key(hidden), attention.num_attention_heads),
        _heads(attention.value(hidden), attention.num_attention_heads),
        blocked,
        dropout=attention.dropout.p if layer.training else 0.0,
    )
    context = context.transpose(1, 2).flatten(2)
    attended = layer.attention.output(context, queries)
    output: Tensor = layer.output(layer.intermediate(attended), attended)
    return output


def _attend(
    queries: Tensor, keys: Tensor, values: Tensor, blocked: Tensor, dropout: float
) -> Tensor:
    """What each query takes from the values: fused, and in an export written out.

    OpenVINO makes one kernel of the written-out form; of the fused one, torch's exporter turns the
    keys around three times, which that kernel leaves out.
    """
    if not torch.compiler.is_exporting():
        return functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=blocked, dropout_p=dropout
        )
    scores = queries @ keys.transpose(2, 3) * queries.shape[-1] ** -0.5
    taken: Tensor = (scores + blocked).softmax(dim=-1) @ values
    return taken


def _heads(states: Tensor, heads: int) -> Tensor:
    """(batch, length, hidden) -> (batch, heads, length, hidden / heads)."""
    return states.view(*states.shape[:2], heads, -1).transpose(1, 2)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices only: not for biases and layer norms (Devlin et al. 2019, A.2)."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
