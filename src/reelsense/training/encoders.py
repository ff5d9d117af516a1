"""Forward passes through pre-trained encoders, shortened where the architecture is known.

For BERT, RoBERTa and MPNet, `encode` computes what transformers computes, with two savings that do
not change the result: attention is fused, and the last layer computes the first token only, which
is the one that the classification head reads. BERT can also pool its hidden states in pairs after
a layer, which transformers cannot. Knows layers and masks; neither labels nor files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

SHORTENED = ("bert", "mpnet", "roberta")
"""The `model_type`s that `encode` supports."""


@dataclass(frozen=True, slots=True)
class Attention:
    """The parts of one self-attention block, whatever its family calls them."""

    query: nn.Module
    key: nn.Module
    value: nn.Module
    heads: int
    dropout: float
    project: Callable[[Tensor, Tensor], Tensor]
    """Map the context and the residual to the output of the block."""


def encode(
    encoder: Any,
    embeddings: Tensor,
    mask: Tensor,
    *,
    first_only: bool = False,
    pool_after: int = 0,
) -> Tensor:
    """Return the last hidden states of `encoder`.

    Args:
        encoder: The bare transformers model, of a type in SHORTENED.
        embeddings: The output of its embedding layer, (batch, length, hidden).
        mask: 1 for tokens and 0 for padding, (batch, length).
        first_only: Compute the last layer for the first token only.
        pool_after: Average neighbouring hidden states in pairs after this many layers; 0: never.
            The next layer still attends to all of them, as in Dai et al. (2020).

    Returns:
        (batch, length, hidden), with a length of 1 if `first_only`. Pooling n positions leaves
        1 + n // 2 of them.
    """
    hidden, layers = embeddings, encoder.encoder.layer
    bias = _attention_bias(encoder, hidden, mask)
    for number, layer in enumerate(layers, start=1):
        pools = pool_after > 0 and number == pool_after + 1
        queries, mask = pool_pairs(hidden, mask) if pools else (hidden, mask)
        if first_only and number == len(layers):
            queries = queries[:, :1]
        hidden = _layer(layer, queries, hidden, bias[:, :, : queries.shape[1]])
        if pools:
            bias = _attention_bias(encoder, hidden, mask)
    return hidden


def pool_pairs(hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Average neighbouring hidden states in pairs and keep the first position separate.

    After Dai et al. (2020, "Funnel-Transformer"). Padding does not count towards the average.

    Args:
        hidden: (batch, length, hidden).
        mask: 1 for tokens and 0 for padding, (batch, length).

    Returns:
        Hidden states and mask of 1 + length // 2 positions.
    """
    count = hidden.shape[1] // 2
    rest = functional.pad(hidden[:, 1:], (0, 0, 0, 1))[:, : 2 * count]
    weights = functional.pad(mask[:, 1:], (0, 1))[:, : 2 * count].to(hidden.dtype)
    pairs = weights.unflatten(1, (count, 2))
    weighted = (rest * weights[..., None]).unflatten(1, (count, 2)).sum(dim=2)
    pooled = weighted / pairs.sum(dim=2).clamp(min=1)[..., None]
    pooled_mask = torch.cat([mask[:, :1], pairs.amax(dim=2).to(mask.dtype)], dim=1)
    return torch.cat([hidden[:, :1], pooled], dim=1), pooled_mask


def tabulate_positions(encoder: Any, longest: int) -> None:
    """Make `encoder` look up the buckets of relative positions instead of computing them.

    MPNet and DeBERTa use a logarithm for that, which engines that run a network in bf16 round to
    other buckets: on 512 tokens, a DeBERTa's logits of up to 2.0 were off by 1.7, and by 0.03 with
    the table.

    Args:
        encoder: The bare transformers model. Those of other families stay as they are.
        longest: The length of the longest input, in tokens.
    """
    layers: Any = getattr(encoder, "encoder", None)
    if encoder.config.model_type == "mpnet":
        buckets = layers.relative_position_bucket(torch.arange(1 - longest, longest))
        layers.relative_position_bucket = lambda distance, **_: buckets[distance + longest - 1]
    elif encoder.config.model_type == "deberta-v2" and layers.relative_attention:
        square = layers.get_rel_pos(torch.zeros(1, longest, 1))[0]
        table = torch.cat([square[0, 1:].flip(0), square[:, 0]])

        def get_rel_pos(hidden: Tensor, *_: Any) -> Tensor:
            places = torch.arange(hidden.shape[1], device=hidden.device)
            return table[places[:, None] - places + longest - 1][None]

        layers.get_rel_pos = get_rel_pos


def _attention_bias(encoder: Any, hidden: Tensor, mask: Tensor) -> Tensor:
    """Return what is added to attention scores: hides padding, and MPNet's relative positions.

    A number and not a bool, because the export of a bool mask guards against rows without any
    token, which doubles the memory.
    """
    bias = (1.0 - mask[:, None, None, :].to(hidden.dtype)) * -1e4
    if encoder.config.model_type == "mpnet":
        bias = bias + encoder.encoder.compute_position_bias(hidden[:1])
    return bias


def _layer(layer: Any, queries: Tensor, hidden: Tensor, bias: Tensor) -> Tensor:
    """Compute one encoder layer for the positions of `hidden` that are in `queries`."""
    attention = _attention(layer)
    context = _attend(
        _heads(attention.query(queries), attention.heads),
        _heads(attention.key(hidden), attention.heads),
        _heads(attention.value(hidden), attention.heads),
        bias,
        dropout=attention.dropout if layer.training else 0.0,
    )
    attended = attention.project(context.transpose(1, 2).flatten(2), queries)
    output: Tensor = layer.output(layer.intermediate(attended), attended)
    return output


def _attention(layer: Any) -> Attention:
    block = layer.attention
    if hasattr(block, "attn"):  # MPNet
        inner = block.attn
        return Attention(
            inner.q,
            inner.k,
            inner.v,
            inner.num_attention_heads,
            inner.dropout.p,
            lambda context, residual: block.LayerNorm(block.dropout(inner.o(context)) + residual),
        )
    inner = block.self
    return Attention(
        inner.query,
        inner.key,
        inner.value,
        inner.num_attention_heads,
        inner.dropout.p,
        block.output,
    )


def _attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor, dropout: float) -> Tensor:
    """Compute attention: fused, and written out in an export.

    OpenVINO makes one kernel of the written-out form. Of the fused one, torch's exporter transposes
    the keys three times, which that kernel leaves out.
    """
    if not torch.compiler.is_exporting():
        return functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=bias, dropout_p=dropout
        )
    scores = queries @ keys.transpose(2, 3) * queries.shape[-1] ** -0.5
    context: Tensor = (scores + bias).softmax(dim=-1) @ values
    return context


def _heads(states: Tensor, heads: int) -> Tensor:
    """(batch, length, hidden) -> (batch, heads, length, hidden / heads)."""
    return states.view(*states.shape[:2], heads, -1).transpose(1, 2)
