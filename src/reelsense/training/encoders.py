"""Forward passes through pre-trained encoders, shortened where the architecture is known.

Attention is fused, and the last layer is computed for the first token only, which the head reads:
neither changes the result. Knows layers and masks; no labels or files.
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


def encode(
    encoder: Any,
    embeddings: Tensor,
    mask: Tensor,
    *,
    first_only: bool = False,
    pool_after: int = 0,
) -> Tensor:
    """Return the last hidden states of `encoder` (batch, length, hidden).

    Args:
        encoder: The bare transformers model, of a type in SHORTENED.
        embeddings: The output of its embedding layer, (batch, length, hidden).
        mask: 1 for tokens and 0 for padding, (batch, length).
        first_only: Compute the last layer for the first token only; the length is 1.
        pool_after: Average neighbouring hidden states in pairs after this many layers; 0: never.
            The next layer still attends to all of them, as in Dai et al. (2020). Pooling n
            positions leaves 1 + n // 2 of them. Transformers cannot do this.
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
    """Average neighbouring `hidden` states in pairs and keep the first position separate.

    `hidden` is (batch, length, hidden), `mask` (batch, length); the results have 1 + length // 2
    positions. Padding does not count towards the average.
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
    the table. `longest` is the length of the longest input; encoders of other families stay as they
    are.
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


@dataclass(frozen=True, slots=True)
class _Attention:
    """The parts of one self-attention block, whatever its family calls them."""

    query: nn.Module
    key: nn.Module
    value: nn.Module
    heads: int
    dropout: float
    project: Callable[[Tensor, Tensor], Tensor]  # of the context and the residual: the output


def _attention(layer: Any) -> _Attention:
    block = layer.attention
    if not hasattr(block, "attn"):
        inner = block.self
        parts = inner.query, inner.key, inner.value
        return _Attention(*parts, inner.num_attention_heads, inner.dropout.p, block.output)
    inner = block.attn  # MPNet
    return _Attention(
        *(inner.q, inner.k, inner.v, inner.num_attention_heads, inner.dropout.p),
        lambda context, residual: block.LayerNorm(block.dropout(inner.o(context)) + residual),
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
