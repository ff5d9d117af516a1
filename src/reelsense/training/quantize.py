"""Convert an fp32 ONNX network to int8 weights.

Every matrix is stored in bytes. Those that are multiplied have a scale for each output; engines
multiply them in int8 where they round the inputs as well, each token by itself, so that a text's
answer cannot depend on its neighbours. Those that are looked up have a scale for each group of 32
numbers, because one for each row moved the answers more than all the other rounding together
(docs/decisions/0004-speed.md).
"""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

_GROUP = 32
_ZERO = 128  # OpenVINO multiplies unsigned weights in int8 and signed ones in floating point


def quantize(network: onnx.ModelProto) -> bytes:
    """Return `network`, serialized, with its matrices in uint8, of which 128 stands for 0."""
    network = deepcopy(network)
    graph = network.graph
    matrices = {
        part.name: part
        for part in graph.initializer
        if part.data_type == TensorProto.FLOAT and len(part.dims) == 2
    }
    nodes = []
    stored = set()
    for node in graph.node:
        if node.op_type == "Gather" and (part := matrices.get(node.input[0])):
            nodes += _look_up(graph, part, node)
        elif node.op_type in ("MatMul", "Gemm") and (part := matrices.get(node.input[1])):
            if part.name not in stored:  # DeBERTa multiplies tokens and positions by the same
                stored.add(part.name)
                nodes.append(_weights(graph, part, outputs=node.op_type == "MatMul"))
            nodes.append(node)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return _without_notes(network)


def _weights(graph: onnx.GraphProto, part: TensorProto, *, outputs: int) -> NodeProto:
    """Store `part`, whose axis `outputs` has the outputs, in bytes; return the node that reads it.

    ONNX's MatMul has them in columns (1), its Gemm from PyTorch's Linear in rows (0).
    """
    weights = numpy_helper.to_array(part)
    rounded, scales = _round(weights, axis=1 - outputs)
    contents: dict[str, NDArray[Any]] = {
        f"{part.name}_uint8": rounded,
        f"{part.name}_scale": scales.ravel(),
        f"{part.name}_zero": np.full(scales.size, _ZERO, np.uint8),
    }
    _replace(graph, part, contents)
    return helper.make_node("DequantizeLinear", list(contents), [part.name], axis=outputs)


def _look_up(graph: onnx.GraphProto, part: TensorProto, node: NodeProto) -> list[NodeProto]:
    """Store the table `part` in bytes; return the nodes that look up and scale what `node` did.

    Bytes are looked up first and scaled then: engines unpack a table whose rows are scaled before.
    """
    table = numpy_helper.to_array(part)
    group = math.gcd(_GROUP, table.shape[1])
    rounded, scales = _round(table.reshape(len(table), -1, group), axis=2)
    ids, name = node.input[1], part.name
    contents: dict[str, NDArray[Any]] = {
        f"{name}_uint8": rounded,
        f"{name}_scale": scales.astype(np.float16),
        f"{name}_zero": np.array(_ZERO, np.float32),
        f"{name}_shape": np.array([0, 0, table.shape[1]]),  # as many texts and tokens as there are
    }
    _replace(graph, part, contents)

    make = helper.make_node
    found, scale = f"{name}_found", f"{name}_found_scale"
    return [
        make("Gather", [f"{name}_uint8", ids], [found]),
        make("Cast", [found], [f"{found}_float"], to=TensorProto.FLOAT),
        make("Sub", [f"{found}_float", f"{name}_zero"], [f"{found}_signed"]),
        make("Gather", [f"{name}_scale", ids], [scale]),
        make("Cast", [scale], [f"{scale}_float"], to=TensorProto.FLOAT),
        make("Mul", [f"{found}_signed", f"{scale}_float"], [f"{name}_scaled"]),
        make("Reshape", [f"{name}_scaled", f"{name}_shape"], [node.output[0]]),
    ]


def _replace(graph: onnx.GraphProto, part: TensorProto, contents: dict[str, NDArray[Any]]) -> None:
    """Put `contents`, by their names, in the place of `part`."""
    graph.initializer.remove(part)
    graph.initializer.extend(numpy_helper.from_array(*each[::-1]) for each in contents.items())


def _round(
    numbers: NDArray[np.float32], axis: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return `numbers` in bytes and their scales: of all along `axis`, the largest becomes 127.

    The scales are such that float16 holds them.
    """
    largest = np.abs(numbers).max(axis=axis, keepdims=True)
    scales = np.maximum(largest / 127, np.finfo(np.float16).tiny).astype(np.float16)
    scales = scales.astype(np.float32)
    return (np.rint(numbers / scales) + _ZERO).astype(np.uint8), scales


def _without_notes(network: onnx.ModelProto) -> bytes:
    """Serialize `network` without the exporter's notes: they hold the paths of this machine."""
    graph = network.graph
    parts = [network, graph, *graph.node, *graph.initializer, *graph.value_info]
    for part in [*parts, *graph.input, *graph.output]:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    serialized: bytes = network.SerializeToString()
    return serialized
