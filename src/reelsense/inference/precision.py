"""Choose the precision of operations in floating point: a measurement, once for each processor.

OpenVINO prefers bf16 where the processor has instructions for it, but on some of those processors
fp32 is faster (docs/decisions/0001-engine.md). Knows neither texts nor bundles.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from reelsense.files import write_atomically

PRECISIONS = ("bf16", "f32")

_MIN_SIZE = 1_000_000  # bytes; smaller networks take no time
_SHAPE = (1, 256)  # texts and tokens of a batch
_ROUNDS = 3


def faster_precision(core: Any, model: Any, network: bytes | Path, settings: dict[str, Any]) -> str:
    """Return the faster one of PRECISIONS for the OpenVINO `model`, which was read from `network`.

    The first call for a network and a processor takes about a second. The result is stored in the
    user's cache folder; if that cannot be written, every process measures.
    """
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return "f32"
    size = len(network) if isinstance(network, bytes) else network.stat().st_size
    if size < _MIN_SIZE and isinstance(network, bytes):
        return "f32"
    import openvino

    processor = core.get_property("CPU", "FULL_DEVICE_NAME")
    key = f"{processor}, OpenVINO {openvino.__version__}, {size} bytes"
    known = _read()
    if known.get(key) not in PRECISIONS:
        known[key] = _measure(core, model, settings)
        _write(known)
    return known[key]


def _measure(core: Any, model: Any, settings: dict[str, Any]) -> str:
    """Return the precision whose fastest run is faster, on one core."""
    ids = np.ones(_SHAPE, np.int64)
    inputs = [ids] * len(model.inputs)
    requests = {}
    for precision in PRECISIONS:
        single = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1}
        compiled = core.compile_model(
            model, "CPU", settings | single | {"INFERENCE_PRECISION_HINT": precision}
        )
        requests[precision] = compiled.create_infer_request()
    seconds = dict.fromkeys(PRECISIONS, float("inf"))
    for _ in range(_ROUNDS + 1):  # the first one prepares the code for the shape
        for precision, request in requests.items():
            start = time.perf_counter()
            request.infer(inputs)
            seconds[precision] = min(seconds[precision], time.perf_counter() - start)
    return min(PRECISIONS, key=lambda precision: seconds[precision])


def _cache_file() -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "reelsense" / "precision.json"


def _read() -> dict[str, str]:
    with suppress(OSError, ValueError, RuntimeError):
        content = json.loads(_cache_file().read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    return {}


def _write(precisions: dict[str, str]) -> None:
    with suppress(OSError, RuntimeError):  # read-only, or a user without a home folder
        path = _cache_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(precisions, indent=1))
