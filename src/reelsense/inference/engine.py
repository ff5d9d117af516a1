"""The compiled network: batches of token ids to logits.

The only file that knows which engine runs the network. It is OpenVINO because it ran our int8
networks fastest (docs/decisions/0001-engine.md); it reads the portable ONNX file of the bundle.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reelsense.errors import BundleError

_INPUTS = ("input_ids", "attention_mask")

_GROUP = 128
"""Inputs of a linear layer that share an int8 scale, within one token. Groups of 384 were 3 %
faster and gave other labels on twice as many reviews (docs/decisions/0004-speed.md)."""


class Network:
    """A compiled network. Runs one batch at a time; not for two threads at once."""

    def __init__(self, compiled: Any) -> None:
        """Run `compiled`, OpenVINO's own."""
        self._request = compiled.create_infer_request()

    def __call__(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return logits (n, labels) for token `ids` and `mask` (n, length), 1 where to read."""
        outputs = self._request.infer(dict(zip(_INPUTS, (ids, mask), strict=True)))
        return np.array(outputs[0], dtype=np.float32)


class Engine:
    """The network of a bundle, compiled for many texts and for few."""

    tokens_per_batch = 512
    """Larger batches were hardly faster for many callers, and slower for a few
    (docs/decisions/0004-speed.md)."""

    def __init__(
        self,
        network: bytes | Path,
        threads: int | None = None,
        *,
        int8_activations: bool = False,
    ) -> None:
        """Compile `network` (ONNX) for `threads` processor cores, by default all there are.

        Raises BundleError if it is no network over token ids and mask.
        """
        without_telemetry()
        # Here, because it takes a fifth of a second that `reelsense --help` need not wait for.
        import openvino

        core = openvino.Core()
        # With weights mapped from a file, overwriting that file in place would end the process
        # (docs/decisions/0011-large-models.md).
        core.set_property({"ENABLE_MMAP": False})
        try:
            model = core.read_model(network)
        except RuntimeError as error:
            raise BundleError(f"the network cannot be read: {error}") from error
        names = {name for port in model.inputs for name in port.get_names()}
        if names != set(_INPUTS):
            raise BundleError(f"the network reads {sorted(names)}, not {sorted(_INPUTS)}")
        cores = threads or available_cores()
        settings = {
            "INFERENCE_NUM_THREADS": cores,
            # Otherwise every process with a part of the cores holds on to the first of them.
            "ENABLE_CPU_PINNING": cores >= available_cores(),
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP if int8_activations else 0,
            # Every new shape of batch leaves prepared code behind; without a bound, memory grows.
            "CPU_RUNTIME_CACHE_CAPACITY": 32,
        }
        self.whole = Network(core.compile_model(model, "CPU", settings | {"NUM_STREAMS": 1}))
        """On all cores: the soonest answer for one batch."""
        self.side_by_side = [self.whole]
        """On one core each: the most answers where there are batches for all."""
        if cores > 1:
            compiled = core.compile_model(model, "CPU", settings | {"NUM_STREAMS": cores})
            self.side_by_side = [Network(compiled) for _ in range(cores)]
        # The first call of a process sets up what hands arrays over; two at once have hung there.
        self.whole(np.zeros((1, 1), np.int64), np.ones((1, 1), np.int64))


def without_telemetry() -> None:
    """Keep the openvino that is imported from now on from reporting its use.

    By itself it writes an id into the user's home and reports to Google Analytics on import. It
    leaves that out where the package openvino_telemetry is missing, which None here makes it.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # typeshed: no None


def available_cores() -> int:
    """Return how many cores this process may run on; a container's quota of time is not seen."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
