"""The network on the CPU: batches of token ids to logits, with OpenVINO.

OpenVINO ran our int8 networks fastest and reads ONNX (docs/decisions/0001-engine.md).
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reelsense.errors import BundleError
from reelsense.inference.precision import faster_precision

_INPUTS = ("input_ids", "attention_mask")

# Inputs of a linear layer that share an int8 scale, within one token. Groups of 384 were 3 % faster
# but changed twice as many labels (docs/decisions/0004-speed.md).
_GROUP = 128


class Network:
    """A network compiled by OpenVINO. Runs one batch at a time; not thread-safe."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()

    def __call__(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the outputs (n, ...) for token `ids` and `mask` (n, length), 1 for tokens."""
        return np.concatenate(self.parts(ids, mask), axis=1, dtype=np.float32)

    def parts(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        """Return each of the outputs. The next call overwrites them."""
        return list(self._request.infer(dict(zip(_INPUTS, (ids, mask), strict=True))).values())


class Engine:
    """A network, compiled once for latency and once, with one core per batch, for throughput."""

    # Larger batches were hardly faster for many callers, and slower for a few
    # (docs/decisions/0004-speed.md).
    tokens_per_batch = 512

    def __init__(
        self,
        network: bytes | Path,
        threads: int | None = None,
        *,
        int8_activations: bool = False,
        sentence_vectors: bool = False,
    ) -> None:
        """Compile `network` (ONNX) for `threads` cores, by default all.

        `int8_activations` quantizes activations dynamically. `sentence_vectors` returns the input
        of the output layer instead of logits; without it, the input follows the logits if the
        network has such a layer (`vector_size`). Raises BundleError (`invalid-network`) if the
        inputs are not token ids and mask.
        """
        without_telemetry()
        import openvino  # takes 0.2 seconds, not needed for `reelsense --help`

        core = openvino.Core()
        # With weights mapped from a file, overwriting that file in place would end the process
        # (docs/decisions/0012-large-models.md).
        core.set_property({"ENABLE_MMAP": False})
        model = _read_model(core, network)
        if sentence_vectors:
            model = openvino.Model([_output_layer_input(model)], model.get_parameters())
        else:
            with suppress(BundleError):
                ports = [model.get_results()[0].input_value(0), _output_layer_input(model)]
                model = openvino.Model(ports, model.get_parameters())
        cores = threads or available_cores()
        settings: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": cores,
            # With pinning, several processes with a part of the cores would all use the first.
            "ENABLE_CPU_PINNING": cores >= available_cores(),
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP if int8_activations else 0,
            # Code is cached for every shape of batch; without a limit, memory grows.
            "CPU_RUNTIME_CACHE_CAPACITY": 32,
        }
        settings["INFERENCE_PRECISION_HINT"] = faster_precision(core, model, network, settings)
        # All cores for one batch; one core for each of several batches.
        self.latency_network = Network(
            core.compile_model(model, "CPU", settings | {"NUM_STREAMS": 1})
        )
        self.throughput_networks = [self.latency_network]
        if cores > 1:
            compiled = core.compile_model(model, "CPU", settings | {"NUM_STREAMS": cores})
            self.throughput_networks = [Network(compiled) for _ in range(cores)]
        # The first call of a process initializes the array bridge; two concurrent ones deadlocked.
        first = self.latency_network.parts(np.zeros((1, 1), np.int64), np.ones((1, 1), np.int64))
        # Outputs of the network for each window, and how many of them are the appended vector.
        self.outputs = sum(part.shape[1] for part in first)
        self.vector_size = sum(part.shape[1] for part in first[1:])


def _read_model(core: Any, network: bytes | Path) -> Any:
    try:
        model = core.read_model(network)
    except RuntimeError as error:
        raise unreadable_network(error) from error
    names = {name for port in model.inputs for name in port.get_names()}
    if names != set(_INPUTS):
        raise BundleError(
            f"the network has the inputs {sorted(names)}: expected {sorted(_INPUTS)}",
            code="invalid-network",
        )
    return model


def _output_layer_input(model: Any) -> Any:
    """Return the port (n, dimensions) that the output layer of `model` multiplies by its weights.

    Follows the graph backwards from the logits to the first products with constant weights. Labels
    and stars are two products of the same port.
    """
    varying = {node.get_friendly_name() for node in model.get_parameters()}
    for node in model.get_ordered_ops():
        if _sources(node, varying):
            varying.add(node.get_friendly_name())
    ports, pending = set(), list(model.get_results())
    while pending:
        node = pending.pop()
        sources = _sources(node, varying)
        if node.get_type_name() == "MatMul" and len(sources) == 1:
            ports |= set(sources)
        else:
            pending += [port.get_node() for port in sources]
    if len(ports) != 1:
        raise BundleError(
            f"the network has {len(ports)} inputs of output layers: expected one, of a linear "
            "layer. Sentence vectors need such a network",
            code="no-output-layer",
        )
    return ports.pop()


def _sources(node: Any, names: set[str]) -> list[Any]:
    """Return the ports that `node` reads, if they belong to a node in `names`."""
    ports = [port.get_source_output() for port in node.inputs()]
    return [port for port in ports if port.get_node().get_friendly_name() in names]


def unreadable_network(error: Exception) -> BundleError:
    """Return the error for a network that an engine rejects."""
    return BundleError(f"the network cannot be read: {error}", code="invalid-network")


def without_telemetry() -> None:
    """Disable the usage statistics of OpenVINO. Call it before importing OpenVINO.

    On import, OpenVINO writes an id into the home directory and reports to Google Analytics, unless
    the package openvino_telemetry is missing. None in `sys.modules` makes it appear missing.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # typeshed: no None


def available_cores() -> int:
    """Return how many cores this process may use, regardless of the CPU quotas of containers."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
