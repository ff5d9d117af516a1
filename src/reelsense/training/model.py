"""A pre-trained BERT with an untrained layer on top, and the way through it that we train.

`logits` computes what transformers' BertForSequenceClassification computes, with two savings that
change nothing in the result: the last layer works on the first token alone, the only one that the
classifier reads, and attention is fused. The checkpoint is an ordinary transformers one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, BertForSequenceClassification
from transformers.utils import logging as transformers_logging

from reelsense.errors import TrainingError


def load_model(
    folder: Path, labels: Sequence[str], dropout: float, attention_dropout: float
) -> BertForSequenceClassification:
    """Load the BERT in `folder` and put an untrained classifier over `labels` on top.

    A checkpoint that already is a classifier over as many labels keeps its layer. Raises
    TrainingError if the folder holds no BERT.
    """
    # Its report that the classifier is new would worry people; its bars drown ours.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        config: Any = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise TrainingError(f"{folder} holds no pre-trained model: {error}") from error
    if config.model_type != "bert":
        raise TrainingError(f"{folder} holds a {config.model_type} model; reelsense trains BERT")
    config.num_labels = len(labels)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: n for n, label in enumerate(labels)}
    config.hidden_dropout_prob = dropout
    config.attention_probs_dropout_prob = attention_dropout
    try:
        model = BertForSequenceClassification.from_pretrained(
            folder, config=config, local_files_only=True, dtype=torch.float32
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise TrainingError(f"the model in {folder} cannot be loaded: {error}") from error
    return model


def logits(model: BertForSequenceClassification, ids: Tensor, mask: Tensor) -> Tensor:
    """Return the logits (batch, labels) for token `ids` and `mask` (batch, length), 1 where read.

    Equal to `model(input_ids=ids, attention_mask=mask).logits` up to rounding (tested).
    """
    bert: Any = model.bert
    hidden = bert.embeddings(input_ids=ids)
    # Added to the attention scores: enough to make padding vanish. As a number and not as a bool,
    # because the export of a bool mask guards against rows without any token (half the memory).
    blocked = (1.0 - mask[:, None, None, :].to(hidden.dtype)) * -1e4
    *layers, last = bert.encoder.layer
    for layer in layers:
        hidden = _layer(layer, hidden, hidden, blocked)
    first = _layer(last, hidden[:, :1], hidden, blocked)
    pooled = model.dropout(bert.pooler(first))
    scores: Tensor = model.classifier(pooled)
    return scores


def _layer(layer: Any, queries: Tensor, hidden: Tensor, blocked: Tensor) -> Tensor:
    """One encoder layer; `queries` are the positions of `hidden` whose output is wanted."""
    attention = layer.attention.self
    context = functional.scaled_dot_product_attention(
        _heads(attention.query(queries), attention.num_attention_heads),
        _heads(attention.key(hidden), attention.num_attention_heads),
        _heads(attention.value(hidden), attention.num_attention_heads),
        attn_mask=blocked,
        dropout_p=attention.dropout.p if layer.training else 0.0,
    )
    context = context.transpose(1, 2).flatten(2)
    attended = layer.attention.output(context, queries)
    output: Tensor = layer.output(layer.intermediate(attended), attended)
    return output


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
