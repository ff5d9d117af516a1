from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from tests.tiny import VOCABULARY, tokenizer_json


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The folder of a pre-trained BERT with two layers and a dozen words."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    folder = tmp_path / "base"
    BertModel(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer_json())
    return folder
