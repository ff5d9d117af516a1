"""How fast training is, and how long it takes."""

from __future__ import annotations

import time

import torch
from transformers import PreTrainedModel

from reelsense.training.processes import Processes

_TIMED_STEPS = 5

_PEAKS = {"NVIDIA A100": 312e12, "NVIDIA H100 80GB HBM3": 989.4e12, "NVIDIA H200": 989.4e12}
"""Dense bf16 operations per second by the start of the GPU's name, from NVIDIA's data sheets. The
variants PCIe and NVL have less."""


class StepTimer:
    """Times a few steps after the first one, which is slower, to estimate the rest of a run."""

    def __init__(self) -> None:
        self._ends: list[float] = []  # of the first steps, in seconds

    def estimate(self, steps_left: int) -> str:
        """Call it after every step. Returns the estimate once, and otherwise ""."""
        if len(self._ends) > _TIMED_STEPS:
            return ""
        self._ends.append(time.monotonic())
        if len(self._ends) <= _TIMED_STEPS or not steps_left:
            return ""
        seconds = (self._ends[-1] - self._ends[0]) / _TIMED_STEPS * steps_left
        duration = f"{seconds / 60:,.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
        return f"the remaining {steps_left:,} steps take about {duration}"


def throughput(
    model: PreTrainedModel, tokens: int, seconds: float, processes: Processes
) -> dict[str, float]:
    """Return `tokens_per_second` of all processes and, on GPUs in _PEAKS, `share_of_peak`.

    Operations are estimated as 6 per token and weight outside of the embeddings.
    """
    rate = tokens / max(seconds, 1e-9)
    speed: dict[str, float] = {"tokens_per_second": round(rate)}
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    peaks = [peak for name, peak in _PEAKS.items() if gpu.startswith(name)]
    if peaks and not gpu.endswith("NVL"):
        named_weights = model.named_parameters()
        weights = sum(part.numel() for name, part in named_weights if "embeddings" not in name)
        speed["share_of_peak"] = round(6 * weights * rate / peaks[0] / processes.world_size, 4)
    return speed
