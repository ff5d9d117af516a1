"""The checkpoint in PyTorch, fp32, to run it in other servers."""

from __future__ import annotations

import torch
from transformers import AutoTokenizer, BertForSequenceClassification


class TorchModel:
    """A fine-tuned BERT that classifies a batch of texts, padded to its longest."""

    def __init__(self, checkpoint: str, threads: int | None = None) -> None:
        """Load `checkpoint`, to run on `threads` threads; by default PyTorch chooses."""
        if threads is not None:
            torch.set_num_threads(threads)
        self._tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self._model = BertForSequenceClassification.from_pretrained(checkpoint).eval()
        self._labels = self._model.config.id2label

    @torch.inference_mode()
    def __call__(self, texts: list[str]) -> list[dict[str, str | float]]:
        """Return the label and its probability for each of `texts`, truncated at 512 tokens."""
        batch = self._tokenizer(
            texts, padding=True, truncation=True, max_length=512, return_tensors="pt"
        )
        scores, labels = self._model(**batch).logits.softmax(dim=-1).max(dim=-1)
        return [
            {"label": self._labels[label], "score": score}
            for label, score in zip(labels.tolist(), scores.tolist(), strict=True)
        ]
