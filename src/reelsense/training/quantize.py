"""Conversion of an fp32 ONNX network to int8 weights.

Matrices that are multiplied get a scale for each output; tables that are looked up, for each group
of 32 numbers, because rounding by row changed predictions most (docs/decisions/0004-speed.md).
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
        tensor.name: tensor
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2
    }
    nodes = []
    stored = set()
    for node in graph.node:
        if node.op_type == "Gather" and (table := matrices.get(node.input[0])):
            nodes += _look_up(graph, table, node)
            continue
        is_product = node.op_type in ("MatMul", "Gemm")
        matrix = matrices.get(node.input[1]) if is_product else None
        if matrix and matrix.name not in stored:  # DeBERTa multiplies tokens and positions by it
            stored.add(matrix.name)
            nodes.append(_weights(graph, matrix, outputs=node.op_type == "MatMul"))
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return _serialized(network)


def _weights(graph: onnx.GraphProto, matrix: TensorProto, *, outputs: int) -> NodeProto:
    """Store `matrix` in bytes; return the node that reads it. Its axis `outputs` has the outputs.

    ONNX's MatMul has the outputs in columns (1), its Gemm from PyTorch's Linear in rows (0).
    """
    rounded, scales = _round(numpy_helper.to_array(matrix), axis=1 - outputs)
    tensors: dict[str, NDArray[Any]] = {
        f"{matrix.name}_uint8": rounded,
        f"{matrix.name}_scale": scales.ravel(),
        f"{matrix.name}_zero": np.full(scales.size, _ZERO, np.uint8),
    }
    _replace(graph, matrix, tensors)
    return helper.make_node("DequantizeLinear", list(tensors), [matrix.name], axis=outputs)


def _look_up(graph: onnx.GraphProto, table: TensorProto, node: NodeProto) -> list[NodeProto]:
    """Store `table` in bytes; return the nodes that look up in it and scale the result.

    They replace `node`. Scaling comes last: engines unpack a table that is scaled before look-up.
    """
    numbers = numpy_helper.to_array(table)
    group = math.gcd(_GROUP, numbers.shape[1])
    rounded, scales = _round(numbers.reshape(len(numbers), -1, group), axis=2)
    ids, name = node.input[1], table.name
    tensors: dict[str, NDArray[Any]] = {
        f"{name}_uint8": rounded,
        f"{name}_scale": scales.astype(np.float16),
        f"{name}_zero": np.array(_ZERO, np.float32),
        f"{name}_shape": np.array([0, 0, numbers.shape[1]]),  # 0: batch and length stay
    }
    _replace(graph, table, tensors)

    make = helper.make_node
    row, scale = f"{name}_row", f"{name}_row_scale"
    return [
        make("Gather", [f"{name}_uint8", ids], [row]),
        make("Cast", [row], [f"{row}_float"], to=TensorProto.FLOAT),
        make("Sub", [f"{row}_float", f"{name}_zero"], [f"{row}_signed"]),
        make("Gather", [f"{name}_scale", ids], [scale]),
        make("Cast", [scale], [f"{scale}_float"], to=TensorProto.FLOAT),
        make("Mul", [f"{row}_signed", f"{scale}_float"], [f"{name}_scaled"]),
        make("Reshape", [f"{name}_scaled", f"{name}_shape"], [node.output[0]]),
    ]


def _replace(graph: onnx.GraphProto, old: TensorProto, tensors: dict[str, NDArray[Any]]) -> None:
    graph.initializer.remove(old)
    graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in tensors.items()
    )


def _round(
    numbers: NDArray[np.float32], axis: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return `numbers` in bytes and their scales: the largest along `axis` becomes 127.

    The scales can be stored in float16 without further rounding.
    """
    largest = np.abs(numbers).max(axis=axis, keepdims=True)
    scales = np.maximum(largest / 127, np.finfo(np.float16).tiny).astype(np.float16)
    scales = scales.astype(np.float32)
    return (np.rint(numbers / scales) + _ZERO).astype(np.uint8), scales


def _serialized(network: onnx.ModelProto) -> bytes:
    """Serialize `network` without the exporter's notes: they contain the paths of this machine."""
    graph = network.graph
    parts = [network, graph, *graph.node, *graph.initializer, *graph.value_info]
    for part in [*parts, *graph.input, *graph.output]:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    serialized: bytes = network.SerializeToString()
    return serialized
