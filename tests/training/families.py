"""A tiny random model of each supported family, made in memory.

The settings that change what is computed (relative positions, token types, padding ids, pooling)
are those of the published models; only the sizes are not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from reelsense.training.recipe import Stage
from tests.tiny import VOCABULARY
from tests.tiny_tokenizers import KINDS

POSITIONS = 64
"""Maximum number of tokens of the models."""

_SETTINGS: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {
        "vocab_size": 400,
        "type_vocab_size": 1,
        "pad_token_id": 1,
        "max_position_embeddings": POSITIONS + 2,
    },
    "mpnet": {
        "vocab_size": len(VOCABULARY) + 5,
        "pad_token_id": 1,
        "max_position_embeddings": POSITIONS + 2,
    },
    "distilbert": {"hidden_dim": 32},
    "electra": {"embedding_size": 8},
    "deberta-v2": {
        "vocab_size": 60,
        "type_vocab_size": 0,
        "relative_attention": True,
        "max_relative_positions": -1,
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": "p2c|c2p",
        "position_biased_input": False,
        "pooler_hidden_size": 16,
    },
    "modernbert": {
        "vocab_size": 400,
        "cls_token_id": 1,
        "bos_token_id": 1,
        "sep_token_id": 2,
        "eos_token_id": 2,
        "pad_token_id": 3,
        "local_attention": 8,
        "layer_types": ["full_attention", "sliding_attention"],
        "classifier_pooling": "mean",
    },
}

FAMILIES = tuple(_SETTINGS)
"""Their `model_type`s."""

RECIPE = Stage(
    name="tiny",
    base="",
    lengths=(64,) * 8,
    tokens_per_batch=128,
    learning_rate=5e-3,
    dropout=0.0,
    stars_weight=0.3,
    window=64,
)
"""A short run in which every family learns."""


def tiny_config(family: str, **changes: Any) -> PreTrainedConfig:
    """The configuration of a model with two layers."""
    settings = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": POSITIONS,
        "initializer_range": 0.3,  # with the usual 0.02, an error would hardly change the logits
        "pad_token_id": 0,
    }
    return AutoConfig.for_model(family, **settings | _SETTINGS[family] | changes)


def write_family(folder: Path, family: str, **changes: Any) -> Path:
    """Write a base model of `family` to `folder`, with some of its settings changed."""
    torch.manual_seed(0)
    AutoModel.from_config(tiny_config(family, **changes)).save_pretrained(folder)
    tokenizer = KINDS.get(family, KINDS["bert"])()
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    return folder
