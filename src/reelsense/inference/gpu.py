"""The network on an NVIDIA GPU: batches of token ids to logits, with ONNX Runtime.

Computes with the int8 weights in floating point. Tested on the CPU provider, not on a GPU.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reelsense.inference.batching import Network
from reelsense.inference.engine import unreadable_network

_CUDA = "CUDAExecutionProvider"
_DRIVERS = (Path("/proc/driver/nvidia/version"), Path("/dev/dxg"))  # Linux; Linux within Windows

_log = logging.getLogger(__name__)


class GpuEngine:
    """The network of a bundle in the memory of a GPU."""

    tokens_per_batch = 12_288  # 32 full windows: a GPU needs far larger batches than a core
    vector_size = 0

    def __init__(self, network: bytes | Path, providers: Sequence[str] = (_CUDA,)) -> None:
        """Load `network` (ONNX) with the first of the ONNX Runtime `providers` that works."""
        import onnxruntime

        model = network if isinstance(network, bytes) else str(network)
        try:
            self._session = onnxruntime.InferenceSession(model, providers=list(providers))
        except Exception as error:  # the library raises a dozen types
            raise unreadable_network(error) from error
        self.providers: list[str] = self._session.get_providers()  # in use, the preferred one first
        self.latency_network = self._run
        self.throughput_networks: list[Network] = [self._run]

    def _run(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        return np.asarray(self._session.run(None, inputs)[0], dtype=np.float32)


def gpu_engine(network: bytes | Path) -> GpuEngine | None:
    """Return the engine for `network`; None, with a log line, if the GPU cannot be used."""
    if not any(driver.exists() for driver in _DRIVERS):
        return None
    if importlib.util.find_spec("onnxruntime") is None:
        _log.info("GPU found but not used: install the extra gpu")
        return None
    import onnxruntime

    engine = None
    if _CUDA in onnxruntime.get_available_providers():
        engine = GpuEngine(network)
    if engine is None or engine.providers[0] != _CUDA:
        _log.warning("ONNX Runtime cannot use the GPU of this machine: running on the CPU")
        return None
    return engine
