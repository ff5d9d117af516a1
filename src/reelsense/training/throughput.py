"""Training throughput: tokens per second, and the share of a GPU's peak where that is known."""

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
"""Dense bf16 operations per second by the start of the GPU's name, from NVIDIA's data sheets
(which give twice that for the last two, with sparsity). The PCIe and NVL variants have less."""

_METRICS = ("tokens_per_second", "share_of_peak")


class Throughput:
    """Counts the tokens of all processes, without padding, and the time since `start`."""

    def __init__(self, model: PreTrainedModel, world_size: int) -> None:
        self.config = model.config
        self.parameters = sum(
            part.numel() for name, part in model.named_parameters() if "embeddings" not in name
        )
        self.peak = gpu_peak() * world_size
        self.start()

    def start(self) -> None:
        """Reset the counts and the clock."""
        self.tokens = self.operations = 0
        self.started = time.monotonic()

    def add(self, lengths: Iterable[int]) -> None:
        """Count texts of `lengths` tokens.

        Operations are estimated as usual, forward and backward: 6 per weight and token, and for
        attention 12 x layers x width x length². The real number is slightly lower, because the
        last layer computes one token.
        """
        attention = 12 * self.config.num_hidden_layers * self.config.hidden_size
        for length in lengths:
            self.tokens += length
            self.operations += 6 * self.parameters * length + attention * length**2

    def metrics(self) -> dict[str, float]:
        """Return `tokens_per_second` and, where the peak is known, `share_of_peak`."""
        seconds = max(time.monotonic() - self.started, 1e-9)
        metrics: dict[str, float] = {"tokens_per_second": round(self.tokens / seconds)}
        if self.peak:
            metrics["share_of_peak"] = round(self.operations / seconds / self.peak, 4)
        return metrics


def describe(metrics: dict[str, float]) -> str:
    """Return the metrics of a `Throughput` as text."""
    share = f", {metrics['share_of_peak']:.1%} of peak" if "share_of_peak" in metrics else ""
    return f"{metrics['tokens_per_second']:,} tokens/s{share}"


def without_throughput(entry: dict[str, float]) -> dict[str, float]:
    """Return a log entry without the metrics that differ from run to run."""
    return {name: value for name, value in entry.items() if name not in _METRICS}


def gpu_peak() -> float:
    """Return the peak of this process's GPU in operations per second; 0 if unknown."""
    if not torch.cuda.is_available():
        return 0.0
    gpu = torch.cuda.get_device_name()
    if gpu.endswith("NVL"):
        return 0.0
    return next((peak for name, peak in _PEAKS.items() if gpu.startswith(name)), 0.0)
