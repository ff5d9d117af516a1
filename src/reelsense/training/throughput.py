"""How fast a model learns: tokens a second, and the share of a GPU's peak where that is known.

Not yet tried on a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch
from transformers import PreTrainedModel

_PEAKS = {
    "NVIDIA A100": 312e12,
    "NVIDIA H100 80GB HBM3": 989.4e12,
    "NVIDIA H200": 989.4e12,
}
"""Dense bf16 operations a second, by how the name of a GPU begins: NVIDIA's data sheets, which
give twice that for the last two, with sparsity. Others of their names, as PCIe and NVL, have less.
"""

_NAMES = ("tokens_per_second", "share_of_peak")


class Speed:
    """A clock for one model on one or several processes. Tokens are real ones, without padding."""

    def __init__(self, model: PreTrainedModel, processes: int) -> None:
        self.config = model.config
        self.parameters = sum(
            part.numel() for name, part in model.named_parameters() if "embeddings" not in name
        )
        self.peak = peak() * processes
        self.start()

    def start(self) -> None:
        """Begin to count anew."""
        self.tokens = self.operations = 0
        self.started = time.monotonic()

    def add(self, lengths: Iterable[int]) -> None:
        """Count texts of `lengths` tokens, of all processes.

        The operations are the usual count, forward and back: 6 for every weight and token, and 12
        times layers, width and squared length for attention. `logits` does with somewhat less,
        because its last layer works on one token.
        """
        attention = 12 * self.config.num_hidden_layers * self.config.hidden_size
        for length in lengths:
            self.tokens += length
            self.operations += 6 * self.parameters * length + attention * length**2

    def facts(self) -> dict[str, float]:
        """Return what was counted, by the second."""
        seconds = max(time.monotonic() - self.started, 1e-9)
        facts: dict[str, float] = {"tokens_per_second": round(self.tokens / seconds)}
        if self.peak:
            facts["share_of_peak"] = round(self.operations / seconds / self.peak, 4)
        return facts


def told(facts: dict[str, float]) -> str:
    """Return `facts` in words."""
    share = f", {facts['share_of_peak']:.1%} of the peak" if "share_of_peak" in facts else ""
    return f"{facts['tokens_per_second']:,} tokens/s{share}"


def without_speed(entry: dict[str, float]) -> dict[str, float]:
    """Return `entry` of a log without what differs from run to run."""
    return {name: value for name, value in entry.items() if name not in _NAMES}


def peak() -> float:
    """Return the peak of this process's GPU, in operations a second; 0 if it is not known."""
    if not torch.cuda.is_available():
        return 0.0
    name = torch.cuda.get_device_name()
    if name.endswith("NVL"):
        return 0.0
    return next((peak for known, peak in _PEAKS.items() if name.startswith(known)), 0.0)
