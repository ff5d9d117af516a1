"""A bundle on disk with a tiny ONNX network, which loads quickly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from reelsense.bundle import Calibration, Manifest, write_bundle
from tests import tiny

TABLE_SIZE = 2400
"""Bytes of each table of `large_network`."""


def large_network(weight: float = 1.0) -> bytes:
    """The network with its weights in two tables of TABLE_SIZE, large enough to be split."""
    return network(weight, tables=2, rows=TABLE_SIZE // 8)


def network(weight: float = 1.0, *, tables: int = 1, rows: int = len(tiny.VOCABULARY)) -> bytes:
    """`tiny.count_moods` as ONNX; every good word counts `weight`."""
    moods = np.stack([-tiny._MOOD, tiny._MOOD], axis=1) * np.float32(weight)
    return sum_of_rows(np.pad(moods, ((0, rows - len(moods)), (0, 0))), tables=tables)


def sum_of_rows(moods: NDArray[np.float32], *, tables: int = 1) -> bytes:
    """A network whose logits are the sum of the row in `moods` (words, labels) of each token."""
    names = [f"moods_{n}" for n in range(tables)]
    shares = [np.float32(2**n / (2**tables - 1)) for n in range(tables)]  # no two alike
    parts = zip(names, shares, strict=True)
    axes = numpy_helper.from_array(np.array([1], dtype=np.int64), "axes")
    last = numpy_helper.from_array(np.array([2], dtype=np.int64), "last")
    nodes = [
        *(helper.make_node("Gather", [name, "input_ids"], [f"each_{name}"]) for name in names),
        helper.make_node("Sum", [f"each_{name}" for name in names], ["each"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Mul", ["each", "wide"], ["read"]),
        helper.make_node("ReduceSum", ["read", "axes"], ["logits"], keepdims=0),
    ]
    shape = ["texts", "length"]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, shape)
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["texts", moods.shape[1]])],
        [*(numpy_helper.from_array(moods * part, name) for name, part in parts), axes, last],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    serialized: bytes = model.SerializeToString()
    return serialized


def layered_network() -> bytes:
    """A network with one output layer for labels and one for `tiny.STARS`.

    Both read the sentence vector (mood, -mood), where mood is as in `tiny.count_moods`.
    """
    vectors = onnx.load_from_string(sum_of_rows(np.stack([tiny._MOOD, -tiny._MOOD], axis=1)))
    graph = vectors.graph
    graph.node[-1].output[0] = "vectors"
    for name, outputs in (("labels", 2), ("stars", len(tiny.STARS))):
        weights = np.linspace(-1, 1, 2 * outputs, dtype=np.float32).reshape(2, outputs)
        graph.initializer.append(numpy_helper.from_array(weights, f"{name}_weights"))
        graph.node.append(helper.make_node("MatMul", ["vectors", f"{name}_weights"], [name]))
    graph.node.append(helper.make_node("Concat", ["labels", "stars"], ["logits"], axis=1))
    del graph.output[0].type.tensor_type.shape.dim[1]
    onnx.checker.check_model(vectors)
    serialized: bytes = vectors.SerializeToString()
    return serialized


def write(
    folder: Path,
    name: str,
    *,
    labels: tuple[str, str] = ("negative", "positive"),
    temperature: float = 1.0,
    weight: float = 1.0,
) -> Manifest:
    """Write such a bundle to `folder`; a lower `temperature` makes it more confident."""
    base = tiny.bundle(labels, network=network(weight))
    manifest = replace(base.manifest, name=name, calibration=Calibration(temperature=temperature))
    return write_bundle(folder, replace(base, manifest=manifest))
