"""The network on an NVIDIA GPU, by ONNX Runtime: for machines that have one.

Takes the place of the engine for processors where a GPU and `pip install 'reelsense[gpu]'` are
there; the answers are those of the int8 weights, computed in floating point. Tested on ONNX
Runtime's provider for processors, and not yet on a GPU.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reelsense.errors import BundleError
from reelsense.inference.batching import Network

_CUDA = "CUDAExecutionProvider"
_DRIVERS = (Path("/proc/driver/nvidia/version"), Path("/dev/dxg"))  # Linux; Linux within Windows

_log = logging.getLogger(__name__)


class GpuEngine:
    """The network of a bundle in the memory of a GPU."""

    tokens_per_batch = 12_288
    """A GPU wants far more at once than a processor's core: 32 full windows."""

    def __init__(self, network: bytes | Path, providers: Sequence[str] = (_CUDA,)) -> None:
        """Load `network` (ONNX) with the first of the `providers` of ONNX Runtime that works.

        Raises BundleError if it is no network.
        """
        import onnxruntime

        model = network if isinstance(network, bytes) else str(network)
        try:
            self._session = onnxruntime.InferenceSession(model, providers=list(providers))
        except Exception as error:  # the library raises a dozen kinds
            raise BundleError(f"the network cannot be read: {error}") from error
        self.providers: list[str] = self._session.get_providers()
        """Those that it runs on, the first of them first."""
        self.whole = self._run
        self.side_by_side: list[Network] = [self._run]

    def _run(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        return np.asarray(self._session.run(None, inputs)[0], dtype=np.float32)


def gpu_engine(network: bytes | Path) -> GpuEngine | None:
    """Return the engine for `network` on the GPU of this machine; None if it is not to be had.

    Where there is a GPU but not all that it takes, the log says so.
    """
    if not any(driver.exists() for driver in _DRIVERS):
        return None
    if importlib.util.find_spec("onnxruntime") is None:
        _log.info("there is a GPU; pip install 'reelsense[gpu]' makes use of it")
        return None
    import onnxruntime

    engine = None
    if _CUDA in onnxruntime.get_available_providers():
        engine = GpuEngine(network)
    if engine is None or engine.providers[0] != _CUDA:
        _log.warning("there is a GPU, but ONNX Runtime cannot use it; the processor answers")
        return None
    return engine
