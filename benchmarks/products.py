"""Measure the peak throughput of the processor and the share that the network uses.

The peak of a precision is the rate that at least three libraries reach in large square products.
The operations of the network follow from its shape; a multiplication with an addition counts as
two. A window of L tokens (without padding), with hidden size H, inner size F, N layers and K
outputs, takes

    (N - 1) L (8 H H + 4 H F + 4 L H)       full layers: linear layers, products of attention
    + L 4 H H + (4 H H + 4 H F + 4 L H)     last layer: keys and values, the rest for one token
    + 2 H H + 2 H K                         pooler and heads

Everything is compared with the peak of the linear layers' precision, including attention, which
int8 engines compute in higher precision. Embeddings, norms, GELU and softmax are not counted.
"""

from __future__ import annotations

import importlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine_setups import onnxruntime_session
from reelsense.inference.engine import without_telemetry

SIZES = (1024, 2048)  # rows and columns of the products
_LIBRARIES = 3


def operations(config: Mapping[str, Any], outputs: int, lengths: Sequence[int]) -> int:
    """Return the operations for windows of `lengths` tokens, by the formula of this module."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    square = hidden * hidden
    total = 0
    for length in lengths:
        token = 8 * square + 4 * hidden * inner + 4 * length * hidden
        total += (config["num_hidden_layers"] - 1) * length * token
        total += length * 4 * square + token - 4 * square
        total += 2 * square + 2 * hidden * outputs
    return total


@dataclass(frozen=True, slots=True)
class Product:
    """A product of two square matrices, on all cores."""

    library: str
    precision: str
    size: int
    run: Callable[[], object]

    def rate(self, min_seconds: float) -> float:
        """Return 10**9 operations per second, from calls for at least `min_seconds`."""
        self.run()
        calls, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < min_seconds or calls < 2:
            self.run()
            calls += 1
        return calls * 2 * self.size**3 / elapsed / 1e9


@dataclass(frozen=True, slots=True)
class Peak:
    """The rate of large products in one precision, in 10**9 operations per second."""

    rate: float  # of the third best library
    best: float


Rates = dict[str, dict[str, float]]  # by precision and library


def best_rates(measured: Sequence[tuple[Product, Sequence[float]]]) -> Rates:
    """Return the best of each library's medians over the rounds, for each precision."""
    best: Rates = {}
    for product, rates in measured:
        by_library = best.setdefault(product.precision, {})
        by_library[product.library] = max(by_library.get(product.library, 0.0), median(rates))
    return best


def peaks(rates: Rates) -> dict[str, Peak]:
    """Return the peak of each precision that at least three libraries multiply in."""
    ranked = {name: sorted(by_library.values(), reverse=True) for name, by_library in rates.items()}
    return {
        name: Peak(values[_LIBRARIES - 1], values[0])
        for name, values in ranked.items()
        if len(values) >= _LIBRARIES
    }


_Matrix = NDArray[np.float32]
_Products = Iterator[tuple[str, Callable[[], object]]]  # precisions, with one or more functions


def products(cores: int) -> list[Product]:
    """Return the products of all libraries."""
    all_products: list[Product] = []
    for size in SIZES:
        a, b = np.random.default_rng(0).standard_normal((2, size, size), dtype=np.float32)
        for library, make in {
            "PyTorch": _torch,
            "NumPy": lambda a, b, _: iter([("fp32", lambda: a @ b)]),
            "ONNX Runtime": _onnxruntime,
            "OpenVINO": _openvino,
            "JAX": _jax,
        }.items():
            all_products += [Product(library, name, size, run) for name, run in make(a, b, cores)]
    return all_products


def _torch(a: _Matrix, b: _Matrix, cores: int) -> _Products:
    import torch

    def on_all_cores(multiply: Callable[..., object], *arguments: object) -> Callable[[], object]:
        def run() -> object:
            torch.set_num_threads(cores)
            return multiply(*arguments)

        return run

    x, y = torch.from_numpy(a), torch.from_numpy(b)
    yield "fp32", on_all_cores(torch.matmul, x, y)
    yield "bf16", on_all_cores(torch.matmul, x.bfloat16(), y.bfloat16())
    yield "int8", on_all_cores(torch._int_mm, (x * 30).to(torch.int8), (y * 30).to(torch.int8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation
        packed = torch.ops.quantized.linear_prepack(
            torch.quantize_per_tensor(y, 0.03, 0, torch.qint8), None
        )
        rounded = torch.quantize_per_tensor(x, 0.03, 128, torch.quint8)
    yield "int8", on_all_cores(torch.ops.quantized.linear, rounded, packed, 1.0, 128)


def _onnxruntime(a: _Matrix, b: _Matrix, cores: int) -> _Products:
    from onnx import helper, numpy_helper

    bytes_a, bytes_b = (a * 30 + 128).clip(0, 255).astype(np.uint8), (b * 30).astype(np.int8)
    for precision, kind, left, right, into in (
        ("fp32", "MatMul", a, b, np.float32),
        ("int8", "MatMulInteger", bytes_a, bytes_b, np.int32),
    ):
        of = helper.np_dtype_to_tensor_dtype
        graph = helper.make_graph(
            [helper.make_node(kind, ["a", "b"], ["c"])],
            "product",
            [helper.make_tensor_value_info("a", of(left.dtype), left.shape)],
            [helper.make_tensor_value_info("c", of(np.dtype(into)), left.shape)],
            [numpy_helper.from_array(right, "b")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        session = onnxruntime_session(model.SerializeToString(), cores)
        yield precision, partial(session.run, None, {"a": left})


def _openvino(a: _Matrix, b: _Matrix, cores: int) -> _Products:
    without_telemetry()
    import openvino
    from openvino import opset13 as ov

    end = [ov.constant(np.float32(x)) for x in (-4, 4, -4, 4)]
    scale = ov.constant(np.float32(1 / 30))
    for precision, hint in (("fp32", "f32"), ("bf16", "bf16"), ("int8", "f32")):
        left = read = ov.parameter(a.shape, np.float32)
        right = ov.constant(b)
        if precision == "int8":
            left = ov.fake_quantize(read, *end, 256)
            right = ov.multiply(ov.convert(ov.constant((b * 30).astype(np.int8)), "f32"), scale)
        model = openvino.Model([ov.matmul(left, right, False, False)], [read])
        settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": cores}
        request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
        yield precision, partial(request.infer, [a], share_inputs=True, share_outputs=True)


def _jax(a: _Matrix, b: _Matrix, _: int) -> _Products:
    jax = importlib.import_module("jax")  # mypy may not have it
    # Products of bf16 into bf16 are slower.
    multiply = jax.jit(lambda x, y: jax.numpy.dot(x, y, preferred_element_type=jax.numpy.float32))
    for precision, kind in {"fp32": jax.numpy.float32, "bf16": jax.numpy.bfloat16}.items():
        x, y = jax.numpy.asarray(a, kind), jax.numpy.asarray(b, kind)
        yield precision, partial(_wait, multiply, x, y)


def _wait(multiply: Any, x: object, y: object) -> None:
    """Run `multiply` and wait, because JAX returns before the result is ready."""
    multiply(x, y).block_until_ready()
