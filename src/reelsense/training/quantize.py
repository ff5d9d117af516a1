"""An fp32 ONNX network of BERT to int8: all of it, or its weights alone.

Weights and activations become int8 with scales fixed on calibration texts (NNCF), so that a text's
answer cannot depend on what else is in its batch. Such weights use 7 of the 8 bits: on processors
without VNNI two products are added in 16 bits, and with 8 bits that sum can overflow. Matrices that
are not multiplied in int8 are stored in it all the same, with a scale for each row.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import onnx
from onnx import numpy_helper

from reelsense.inference.engine import without_telemetry


def quantize(network: onnx.ModelProto, calibration: Sequence[Sequence[int]]) -> bytes:
    """Return `network` with weights and activations in int8: the fastest form.

    `calibration` are windows of token ids. What is computed for the first token alone (in the last
    layer and the classifier) stays in floating point: in int8 it would save nothing.
    """
    without_telemetry()
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

    nncf.set_log_level(logging.WARNING)
    samples = [
        {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), dtype=np.int64)}
        for ids in calibration
    ]
    quantized = nncf.quantize(
        deepcopy(network),
        nncf.Dataset(samples),
        subset_size=len(samples),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=nncf.IgnoredScope(names=_exact_nodes(network.graph)),
        advanced_parameters=AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE),
    )
    return _packed(quantized)


def quantize_weights(network: onnx.ModelProto) -> bytes:
    """Return `network` with the matrices that are still fp32 stored in int8: the faithful form."""
    return _packed(deepcopy(network))


def _packed(network: onnx.ModelProto) -> bytes:
    """Serialize `network`, which is changed: matrices in int8, no notes."""
    _store_in_bytes(network.graph)
    return _without_notes(network)


def _exact_nodes(graph: onnx.GraphProto) -> list[str]:
    """The nodes that stay in floating point: look-ups, and the products of the first token."""
    makers = {name: node for node in graph.node for name in node.output}
    products = {}
    for node in graph.node:
        bias = next((name for name in node.input if name.endswith(".bias")), "")
        if node.op_type == "Gemm":
            products[bias] = node.name
        elif node.op_type == "Add" and bias and makers[node.input[0]].op_type == "MatMul":
            products[bias] = makers[node.input[0]].name
    layers = [name.split(".attention.self.query")[0] for name in products if ".query." in name]
    matrices = {part.name for part in graph.initializer if len(part.dims) == 2}
    return [
        *(n.name for n in graph.node if n.op_type == "Gather" and n.input[0] in matrices),
        *(
            node
            for name, node in products.items()
            if ".layer." not in name
            or (name.startswith(f"{layers[-1]}.") and ".key." not in name and ".value." not in name)
        ),
    ]


def _store_in_bytes(graph: onnx.GraphProto) -> None:
    """Put int8 weights and a DequantizeLinear in the place of every matrix that is still fp32."""
    axes = {}  # of the scales: the outputs of a product, the rows of a look-up
    for node in graph.node:
        if node.op_type == "MatMul":
            axes[node.input[1]] = 1
        elif node.op_type in ("Gather", "Gemm"):
            axes[node.input[0] if node.op_type == "Gather" else node.input[1]] = 0
    for part in list(graph.initializer):
        if part.data_type != onnx.TensorProto.FLOAT or len(part.dims) != 2 or part.name not in axes:
            continue
        weights, axis = numpy_helper.to_array(part), axes[part.name]
        scales = np.maximum(np.abs(weights).max(axis=1 - axis) / 127, np.finfo(np.float32).tiny)
        small = np.rint(weights / np.expand_dims(scales, 1 - axis)).astype(np.int8)
        inputs = [f"{part.name}_int8", f"{part.name}_scale"]
        graph.initializer.remove(part)
        for name, content in zip(inputs, (small, scales.astype(np.float32)), strict=True):
            graph.initializer.append(numpy_helper.from_array(content, name))
        node = onnx.helper.make_node("DequantizeLinear", inputs, [part.name], axis=axis)
        graph.node.insert(0, node)


def _without_notes(network: onnx.ModelProto) -> bytes:
    """Serialize `network` without the exporter's notes: they hold the paths of this machine."""
    graph = network.graph
    parts = [network, graph, *graph.node, *graph.initializer, *graph.value_info]
    for part in [*parts, *graph.input, *graph.output]:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    serialized: bytes = network.SerializeToString()
    return serialized
