"""The compiled network: batches of token ids to logits.

The only file that knows which engine runs the network. It is OpenVINO because it ran our int8
networks fastest (docs/decisions/0001-engine.md); it reads the portable ONNX file of the bundle.
"""

from __future__ import annotations

import os
import sys

import numpy as np
from numpy.typing import NDArray

from reelsense.errors import BundleError

_INPUTS = ("input_ids", "attention_mask")


class Engine:
    """One compiled network. Runs one batch at a time; not for two threads at once."""

    def __init__(self, network: bytes, threads: int | None = None) -> None:
        """Compile `network` (ONNX) for `threads` processor cores, by default all there are.

        Raises BundleError if it is no network over token ids and mask.
        """
        without_telemetry()
        # Here, because it takes a fifth of a second that `reelsense --help` need not wait for.
        import openvino

        core = openvino.Core()
        try:
            model = core.read_model(network)
        except RuntimeError as error:
            raise BundleError(f"the network cannot be read: {error}") from error
        names = {name for port in model.inputs for name in port.get_names()}
        if names != set(_INPUTS):
            raise BundleError(f"the network reads {sorted(names)}, not {sorted(_INPUTS)}")
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads or available_cores(),
            # Every new shape of batch leaves prepared code behind; without a bound, memory grows.
            "CPU_RUNTIME_CACHE_CAPACITY": 32,
        }
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()

    def run(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return logits (n, labels) for token `ids` and `mask` (n, length), 1 where to read."""
        outputs = self._request.infer(dict(zip(_INPUTS, (ids, mask), strict=True)))
        return np.array(outputs[0], dtype=np.float32)


def without_telemetry() -> None:
    """Keep the openvino and nncf that are imported from now on from reporting their use.

    By themselves they write an id into the user's home and report to Google Analytics on import.
    Both leave that out where the package openvino_telemetry is missing, which None here makes it.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # typeshed: no None


def available_cores() -> int:
    """Return how many cores this process may run on; a container's quota of time is not seen."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
