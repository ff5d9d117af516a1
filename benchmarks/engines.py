"""The network alone: engines with the same weights on the same cores, and the processor's limit.

    .venv/bin/pip install onnxruntime==1.32.0 ctranslate2==4.8.5 jax==0.10.2
    .venv/bin/python benchmarks/engines.py --reviews data/aclImdb

Without one of these three the rest is measured; JAX is the third library that multiplies bf16.

No HTTP and no tokenizer: windows of tokens go in, logits come out. All engines get batches of
windows of like length from the same queue. A first round chooses for each how many tokens a batch
has, and whether a batch runs on all cores or each core runs one; ours runs as it is served. Later
rounds measure, every second one backwards.

The limit of a precision is the best rate that three libraries reach in large square products. What
the network needs of it is counted from its shape, two operations for a multiplication and an
addition. A window of L tokens (padding is not counted), with hidden size H, inner size F, N layers
and K outputs, takes

    (N - 1) L (8 H H + 4 H F + 4 L H)         whole layers: linear layers, and attention's products
    + L 4 H H + (4 H H + 4 H F + 4 L H)       the last one: keys and values, and one token's rest
    + 2 H H + 2 H K                           pooler and heads

All of it counts against the limit of the linear layers' precision, attention too, which int8
engines compute more precisely. Embeddings, norms, GELU and softmax take time and count for nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import json
import os
import random
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

import machine
from chart import _BLUE, _GREY, _STYLE
from reelsense import bundle as bundles
from reelsense.bundle import Bundle
from reelsense.datasets.sources import Source
from reelsense.files import write_atomically
from reelsense.inference import engine as engines
from reelsense.inference.batching import BatchQueue, Network, stack
from reelsense.inference.tokenizer import ReviewTokenizer, windows
from sections import LEAST_AGREEMENT, Bar, _number, replace_section, table
from serving import CHECKPOINT, RESULTS, ROOT, SHORT_REVIEW

OURS, BASELINE = "reelsense (OpenVINO, int8)", "PyTorch, eager, fp32"
CHART = ROOT / "docs" / "images" / "engines.png"
OPTIONAL = {"onnxruntime": "1.32.0", "ctranslate2": "4.8.5", "jax": "0.10.2"}
"""Measured where they are installed."""

_BUDGETS = (512, 1024, 2048, 4096)
_TUNING = 40
"""Reviews that a way to batch is tried on."""

_SIZES = (1024, 2048)
"""Rows and columns of the products."""

_LIBRARIES = 3
_DIFFER = 0.1
"""Rounds that differ by more than this share of their median are shown with their range."""

Run = Callable[[Sequence[Sequence[int]]], NDArray[np.float32]]
"""Windows to logits (windows, outputs)."""


# What is measured: texts as windows.


@dataclass(frozen=True, slots=True)
class Prepared:
    """Texts, ready for the network."""

    windows: Sequence[Sequence[int]]
    counts: Sequence[int]
    """Windows of each text."""

    def __len__(self) -> int:
        return len(self.counts)

    def first(self, texts: int) -> Prepared:
        """Return the first `texts` of them."""
        counts = self.counts[:texts]
        return Prepared(self.windows[: sum(counts)], counts)

    def labels(self, logits: NDArray[np.float32], among: int) -> NDArray[np.int64]:
        """Return each text's label, an index below `among`: of the mean over its windows."""
        starts = np.cumsum([0, *self.counts])[:-1]
        means = np.add.reduceat(logits[:, :among].astype(np.float64), starts, axis=0)
        return np.asarray(means.argmax(axis=1))


def prepare(texts: Sequence[str], bundle: Bundle) -> Prepared:
    """Tokenize `texts` and cut them as `bundle` is served."""
    tokenizer = ReviewTokenizer(bundle.tokenizer)
    cut = [windows(ids, bundle.manifest.window, tokenizer.frame) for ids in tokenizer.encode(texts)]
    return Prepared([window for each in cut for window in each], list(map(len, cut)))


def operations(config: Mapping[str, Any], outputs: int, lengths: Sequence[int]) -> int:
    """Return what windows of `lengths` tokens take, as the docstring of this file counts it."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    square = hidden * hidden
    total = 0
    for length in lengths:
        token = 8 * square + 4 * hidden * inner + 4 * length * hidden
        total += (config["num_hidden_layers"] - 1) * length * token
        total += length * 4 * square + token - 4 * square
        total += 2 * square + 2 * hidden * outputs
    return total


# The engines.


@dataclass(frozen=True, slots=True)
class Contender:
    """An engine with the network."""

    name: str
    precision: str
    """Of its linear layers."""
    whole: Network
    """A batch on all cores."""
    side_by_side: Sequence[Network]
    """A batch on each core; run them from a thread each."""


def load_checkpoint(bundle: Bundle) -> Any:
    """Return the network that `bundle` was made from, in PyTorch, fp32."""
    from reelsense.training import checkpoint
    from reelsense.training.model import load_model

    ratings = checkpoint.facts(CHECKPOINT)["ratings"]
    labels = bundle.manifest.labels
    return load_model(CHECKPOINT, labels, dropout=0, attention_dropout=0, ratings=ratings).train(
        False
    )


def contenders(bundle: Bundle, cores: int, folder: Path) -> list[Contender]:
    """Return all that can run here; `folder` keeps the networks made for them."""
    model = load_checkpoint(bundle)
    weights = hashlib.sha256((CHECKPOINT / "model.safetensors").read_bytes()).hexdigest()
    folder = folder / weights[:12]
    folder.mkdir(parents=True, exist_ok=True)
    exact = _kept(folder / "fp32.onnx", lambda path: _export(model, path))
    return [
        pytorch(model, cores),
        pytorch(model, cores, bf16=True),
        _pytorch_int8(model, cores),
        *_onnxruntime(exact, cores, folder),
        _openvino(exact, "f32", cores),
        _openvino(exact, "bf16", cores),
        *_ctranslate2(model, cores, folder),
        ours(bundle, cores),
    ]


def ours(bundle: Bundle, cores: int) -> Contender:
    """Return `bundle` as it is served."""
    int8 = bundle.manifest.int8_activations
    engine = engines.Engine(bundle.network, cores, int8_activations=int8)
    return Contender(OURS, "int8", engine.whole, engine.side_by_side)


def pytorch(
    model: Any, cores: int, name: str = BASELINE, precision: str = "fp32", *, bf16: bool = False
) -> Contender:
    """Return `model` in PyTorch, eager."""
    import torch

    from reelsense.training.model import logits

    def on(threads: int) -> Network:
        @torch.no_grad()
        def run(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
            torch.set_num_threads(threads)  # it holds for the calling thread
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                scores = logits(model, torch.from_numpy(ids), torch.from_numpy(mask))
            found: NDArray[np.float32] = scores.float().numpy()
            return found

        return run

    if bf16:
        name, precision = "PyTorch, autocast, bf16", "bf16"
    return Contender(name, precision, on(cores), [on(1)] * cores)


def _pytorch_int8(model: Any, cores: int) -> Contender:
    import torch
    from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on its own future
        smaller = quantize_dynamic(model, {torch.nn.Linear: per_channel_dynamic_qconfig})
    return pytorch(smaller, cores, "PyTorch, its dynamic int8", "int8")


def _onnxruntime(exact: Path, cores: int, folder: Path) -> Iterator[Contender]:
    if not _installed("onnxruntime"):
        return
    quantization = importlib.import_module("onnxruntime.quantization")

    def load(path: Path, threads: int) -> Network:
        session = _session(path, threads)
        return lambda ids, mask: session.run(None, {"input_ids": ids, "attention_mask": mask})[0]

    smaller = _kept(
        folder / "onnxruntime-int8.onnx",
        lambda path: quantization.quantize_dynamic(exact, path, per_channel=True),
    )
    for precision, path in {"fp32": exact, "int8": smaller}.items():
        name = "fp32" if precision == "fp32" else "its dynamic int8"
        single = [load(path, 1) for _ in range(cores)]
        yield Contender(f"ONNX Runtime, {name}", precision, load(path, cores), single)


def _session(network: Path | bytes, threads: int) -> Any:
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])


def _openvino(exact: Path, precision: str, cores: int) -> Contender:
    engines.without_telemetry()
    import openvino

    def compiled(streams: int) -> Any:
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": cores,
            "NUM_STREAMS": streams,
        }
        return openvino.Core().compile_model(exact, "CPU", settings)

    side_by_side = compiled(cores)
    name = {"f32": "fp32"}.get(precision, precision)
    return Contender(
        f"OpenVINO, {name}",
        name,
        engines.Network(compiled(1)),
        [engines.Network(side_by_side) for _ in range(cores)],
    )


def _ctranslate2(model: Any, cores: int, folder: Path) -> Iterator[Contender]:
    """Return its encoder with our heads on top; it computes the last layer for every token."""
    if not _installed("ctranslate2"):
        return
    ctranslate2 = importlib.import_module("ctranslate2")
    converters = importlib.import_module("ctranslate2.converters")
    convert = converters.TransformersConverter(str(CHECKPOINT)).convert
    path = _kept(folder / "ctranslate2", lambda place: convert(str(place), force=True))
    heads = [model.classifier, *([model.stars] if model.stars else [])]
    weights = np.concatenate([head.weight.detach().numpy() for head in heads])
    bias = np.concatenate([head.bias.detach().numpy() for head in heads])

    def load(precision: str, side_by_side: int) -> Network:
        encoder = ctranslate2.Encoder(
            str(path),
            compute_type=precision,
            inter_threads=side_by_side,
            intra_threads=cores // side_by_side,
        )

        def run(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
            rows = [row[:count].tolist() for row, count in zip(ids, mask.sum(axis=1), strict=True)]
            pooled = np.array(encoder.forward_batch(rows).pooler_output)
            found: NDArray[np.float32] = pooled @ weights.T + bias
            return found

        return run

    for name, precision in {"fp32": "float32", "int8": "int8"}.items():
        single = [load(precision, cores)] * cores
        yield Contender(f"CTranslate2, {name}", name, load(precision, 1), single)


def _installed(name: str) -> bool:
    """Say whether one of OPTIONAL is there, and how to get it if not."""
    found = importlib.util.find_spec(name) is not None
    if not found:
        print(f"{name}: not installed (pip install {name}=={OPTIONAL[name]})", flush=True)
    return found


def _export(model: Any, path: Path) -> None:
    import onnx

    from reelsense.training.export import to_onnx

    onnx.save(to_onnx(model), path)


def _kept(path: Path, make: Callable[[Path], object]) -> Path:
    """Return `path`, which `make` writes if it is not there."""
    if not path.exists():
        part = path.with_name(f"part-{path.name}")
        make(part)
        os.replace(part, path)
    return path


# How they are measured.


@dataclass(frozen=True, slots=True)
class Way:
    """A way to run many windows."""

    name: str
    run: Run


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of a contender: one of each round."""

    contender: Contender
    way: Way
    reviews_per_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    """Processor seconds a review."""
    short_ms: list[float] = field(default_factory=list)
    window_ms: list[float] = field(default_factory=list)
    labels: list[NDArray[np.int64]] = field(default_factory=list)

    def agreement(self, other: Figures) -> float:
        """Return the share of equal labels in the last round."""
        return float((self.labels[-1] == other.labels[-1]).mean())


def ways(contender: Contender, pad: int) -> list[Way]:
    """Return the ways to run many windows through `contender`; ours has one."""
    both = contender.side_by_side
    if contender.name == OURS:
        return [
            Way(
                "as served",
                BatchQueue(both, pad, engines.Engine.tokens_per_batch, contender.whole).run,
            )
        ]
    return [
        Way(f"{budget} tokens, {where}", BatchQueue(networks, pad, budget).run)
        for budget, (where, networks) in product(
            _BUDGETS, {"on all cores": [contender.whole], "on each core": both}.items()
        )
    ]


def seconds(run: Callable[[], object]) -> float:
    """Return how long `run` takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def best_way(contender: Contender, pad: int, windows: Sequence[Sequence[int]]) -> Way:
    """Return the way that takes `windows` fastest."""
    return min(ways(contender, pad), key=lambda way: seconds(lambda: way.run(windows)))


def p50_ms(network: Network, window: Sequence[int], pad: int, at_least: float) -> float:
    """Return the median time of one `window` alone, from calls for `at_least` seconds."""
    ids, mask = stack([window], pad)
    network(ids, mask)
    taken: list[float] = []
    while sum(taken) < at_least or len(taken) < 5:
        taken.append(seconds(lambda: network(ids, mask)))
    return median(taken) * 1000


@dataclass(frozen=True, slots=True)
class Task:
    """What every contender does in every round."""

    reviews: Prepared
    short: Sequence[int]
    window: Sequence[int]
    pad: int
    labels: int
    seconds: float

    def measure(self, into: Figures) -> None:
        """Add a round to `into`."""
        whole = into.contender.whole
        into.short_ms.append(p50_ms(whole, self.short, self.pad, self.seconds))
        into.window_ms.append(p50_ms(whole, self.window, self.pad, self.seconds))
        start, cpu = time.perf_counter(), time.process_time()
        logits = into.way.run(self.reviews.windows)
        passed, cpu = time.perf_counter() - start, time.process_time() - cpu
        into.reviews_per_s.append(len(self.reviews) / passed)
        into.cpu_s.append(cpu / len(self.reviews))
        into.labels.append(self.reviews.labels(logits, self.labels))


# The limit: large products of matrices.


@dataclass(frozen=True, slots=True)
class Product:
    """A product of two square matrices, on all cores."""

    library: str
    precision: str
    size: int
    run: Callable[[], object]

    def rate(self, at_least: float) -> float:
        """Return 10**9 operations a second, from calls for `at_least` seconds."""
        self.run()
        calls, start = 0, time.perf_counter()
        while (passed := time.perf_counter() - start) < at_least or calls < 2:
            self.run()
            calls += 1
        return calls * 2 * self.size**3 / passed / 1e9


_Matrix = NDArray[np.float32]
_Products = Iterator[tuple[str, Callable[[], object]]]
"""Precisions, and what multiplies in them; more than one way may be tried."""


def products(cores: int) -> list[Product]:
    """Return the products of all libraries."""
    found: list[Product] = []
    for size in _SIZES:
        a, b = np.random.default_rng(0).standard_normal((2, size, size), dtype=np.float32)
        for library, make in {
            "PyTorch": _torch_products,
            "NumPy": lambda a, b, _: iter([("fp32", lambda: a @ b)]),
            "ONNX Runtime": _onnxruntime_products,
            "OpenVINO": _openvino_products,
            "JAX": _jax_products,
        }.items():
            found += [Product(library, name, size, run) for name, run in make(a, b, cores)]
    return found


def _torch_products(a: _Matrix, b: _Matrix, cores: int) -> _Products:
    import torch

    def on_all(multiply: Callable[..., object], *arguments: object) -> Callable[[], object]:
        def run() -> object:
            torch.set_num_threads(cores)
            return multiply(*arguments)

        return run

    x, y = torch.from_numpy(a), torch.from_numpy(b)
    yield "fp32", on_all(torch.matmul, x, y)
    yield "bf16", on_all(torch.matmul, x.bfloat16(), y.bfloat16())
    yield "int8", on_all(torch._int_mm, (x * 30).to(torch.int8), (y * 30).to(torch.int8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on its own future
        packed = torch.ops.quantized.linear_prepack(
            torch.quantize_per_tensor(y, 0.03, 0, torch.qint8), None
        )
        rounded = torch.quantize_per_tensor(x, 0.03, 128, torch.quint8)
    yield "int8", on_all(torch.ops.quantized.linear, rounded, packed, 1.0, 128)


def _onnxruntime_products(a: _Matrix, b: _Matrix, cores: int) -> _Products:
    if not _installed("onnxruntime"):
        return
    from onnx import helper, numpy_helper

    bytes_a, bytes_b = (a * 30 + 128).clip(0, 255).astype(np.uint8), (b * 30).astype(np.int8)
    for precision, kind, left, right in (
        ("fp32", "MatMul", a, b),
        ("int8", "MatMulInteger", bytes_a, bytes_b),
    ):
        of = helper.np_dtype_to_tensor_dtype
        into = np.dtype(np.float32 if precision == "fp32" else np.int32)
        graph = helper.make_graph(
            [helper.make_node(kind, ["a", "b"], ["c"])],
            "product",
            [helper.make_tensor_value_info("a", of(left.dtype), left.shape)],
            [helper.make_tensor_value_info("c", of(into), left.shape)],
            [numpy_helper.from_array(right, "b")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        session = _session(model.SerializeToString(), cores)
        yield precision, partial(session.run, None, {"a": left})


def _openvino_products(a: _Matrix, b: _Matrix, cores: int) -> _Products:
    engines.without_telemetry()
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


def _jax_products(a: _Matrix, b: _Matrix, _: int) -> _Products:
    if not _installed("jax"):
        return
    jax = importlib.import_module("jax")
    numpy = importlib.import_module("jax.numpy")
    # Of bf16 with results in bf16, it is slower.
    multiply = jax.jit(lambda x, y: numpy.dot(x, y, preferred_element_type=numpy.float32))
    for precision, kind in {"fp32": numpy.float32, "bf16": numpy.bfloat16}.items():
        x, y = numpy.asarray(a, kind), numpy.asarray(b, kind)
        yield precision, partial(_wait, multiply, x, y)


def _wait(multiply: Any, x: object, y: object) -> None:
    """JAX returns before it is done."""
    multiply(x, y).block_until_ready()


@dataclass(frozen=True, slots=True)
class Limit:
    """What large products of a precision reach, in 10**9 operations a second."""

    rate: float
    """Of the third best library."""
    library: str
    best: float
    best_library: str


Rates = dict[str, dict[str, float]]
"""By precision and library."""


def best_rates(measured: Sequence[tuple[Product, Sequence[float]]]) -> Rates:
    """Return the best of each library's medians over the rounds, for each precision."""
    found: Rates = {}
    for each, rates in measured:
        libraries = found.setdefault(each.precision, {})
        libraries[each.library] = max(libraries.get(each.library, 0.0), median(rates))
    return found


def limits(rates: Rates) -> dict[str, Limit]:
    """Return the limit of each precision that at least three libraries multiply in."""
    found = {}
    for precision, libraries in rates.items():
        ranked = sorted(libraries, key=lambda library: -libraries[library])
        if len(ranked) >= _LIBRARIES:
            third, best = ranked[_LIBRARIES - 1], ranked[0]
            found[precision] = Limit(libraries[third], third, libraries[best], best)
    return found


# What is said of it.


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found."""

    intro: str
    figures: Sequence[Figures]
    rates: Rates
    operations: float
    """Of a review, in the mean."""
    tokens: float
    """Of a review, in the mean."""

    def named(self, name: str) -> Figures:
        """Return what was measured of the contender `name`."""
        return next(each for each in self.figures if each.contender.name == name)

    def achieved(self, each: Figures) -> float:
        """Return its 10**9 operations a second."""
        return median(each.reviews_per_s) * self.operations / 1e9

    def facts(self) -> dict[str, Any]:
        """Return all as JSON has it; the first three are what benchmarks/serving.py reads."""
        mine, baseline = self.named(OURS), self.named(BASELINE)
        return {
            "short_review_ms": median(mine.short_ms),
            "network_reviews_per_s": median(mine.reviews_per_s),
            "network_cpu_s_per_review": median(mine.cpu_s),
            "about": self.intro,
            "operations_per_review": self.operations,
            "tokens_per_review": self.tokens,
            "engines": {
                each.contender.name: {
                    "way": each.way.name,
                    "reviews_per_s": each.reviews_per_s,
                    "cpu_s_per_review": each.cpu_s,
                    "short_review_ms": each.short_ms,
                    "window_256_ms": each.window_ms,
                    "agreement": each.agreement(baseline),
                    "gigaoperations_per_s": self.achieved(each),
                }
                for each in self.figures
            },
            "products_gigaoperations_per_s": self.rates,
            "limits": {name: each.rate for name, each in limits(self.rates).items()},
        }

    def bars(self) -> list[Bar]:
        """Return what issue 5 asks of the network alone."""
        mine, baseline = self.named(OURS), self.named(BASELINE)
        ratio = median(mine.reviews_per_s) / median(baseline.reviews_per_s)
        limit, achieved = limits(self.rates).get("int8"), self.achieved(mine)
        what = "network alone, share of the int8 product rate"
        found = [Bar("reviews/s against PyTorch eager fp32, sorted batches", 5, 8, ratio)]
        for title, rate in (
            (f"{what} that three libraries reach", limit and limit.rate),
            (f"{what} of the best library", limit and limit.best),
        ):
            found.append(Bar(title, 0.5, 0.7, achieved / rate if rate else None, "%"))
        return found

    def section(self) -> str:
        """Return the section of RESULTS.md."""
        parts = [
            "## The network alone",
            self.intro,
            _HOW,
            "![Reviews a second of each engine](../docs/images/engines.png)",
            self._engines_table(),
            "### Products of large matrices",
            f"10**9 operations a second, on all cores, the best of {_SIZES} rows and columns. The "
            "limit is the third best; JAX multiplies bf16 into fp32. ONNX Runtime and NumPy do not "
            "multiply bf16 on processors, and CTranslate2 has no product to call.",
            self._products_table(),
            f"A review takes {self.operations / 1e9:.2f} x 10**9 operations in the mean, for its "
            f"{self.tokens:.0f} tokens (benchmarks/engines.py has the formula).",
            "### Asked and got",
            table(["what", "at least", "aim", "got", ""], [each.row() for each in self.bars()]),
            self._ceiling(),
        ]
        return "\n\n".join(parts)

    def _ceiling(self) -> str:
        """Say what of the limit the asked speed would take."""
        limit = limits(self.rates).get("int8")
        if limit is None:
            return "Too few libraries multiplied int8 for a limit."
        share = self.achieved(self.named(BASELINE)) / limit.rate
        return (
            f"5 x the rate of PyTorch, eager, fp32, would be {5 * share:.0%} of the int8 limit, "
            f"and 8 x {8 * share:.0%}; the limit itself is {1 / share:.1f} x."
        )

    def ranked(self) -> list[Figures]:
        """Return the fastest first."""
        return sorted(self.figures, key=lambda each: -median(each.reviews_per_s))

    def _engines_table(self) -> str:
        baseline = self.named(BASELINE)
        found = limits(self.rates)
        rows = []
        for each in self.ranked():
            contender = each.contender
            limit = found.get(contender.precision)
            ratio = median(each.reviews_per_s) / median(baseline.reviews_per_s)
            rows.append(
                [
                    f"**{contender.name}**" if contender.name == OURS else contender.name,
                    shown(each.reviews_per_s),
                    f"{ratio:.2f}",
                    f"{self.achieved(each) / limit.rate:.0%} of {contender.precision}"
                    if limit
                    else "-",
                    shown(each.cpu_s),
                    shown(each.short_ms),
                    shown(each.window_ms),
                    f"{each.agreement(baseline):.2%}",
                    each.way.name,
                ]
            )
        head = [
            "engine", "reviews/s", "x PyTorch", "share of the limit", "processor s a review",
            "ms, short review", "ms, 256 tokens", "agreement", "batches",
        ]  # fmt: skip
        return table(head, rows)

    def _products_table(self) -> str:
        precisions = ("fp32", "bf16", "int8")
        libraries = sorted({name for each in self.rates.values() for name in each})
        rows = [
            [
                library,
                *(
                    f"{rate:.0f}" if (rate := self.rates.get(name, {}).get(library)) else "-"
                    for name in precisions
                ),
            ]
            for library in libraries
        ]
        found = limits(self.rates)
        last = [f"{found[name].rate:.0f}" if name in found else "-" for name in precisions]
        return table(["library", *precisions], [*rows, ["**limit**", *last]])


_HOW = f"""\
The same fine-tuned weights; windows of tokens go in, logits come out. Reviews/s are those of whole
reviews in batches of like length, by the way of batching that a first round found fastest for the
engine (the last column); ours batches as it is served. Milliseconds are those of one text alone on
all cores. Figures are medians over the rounds, with the range where that is more than
{_DIFFER:.0%} of the median. Agreement is with the labels of PyTorch, fp32. torch.compile is left
out: each new shape compiled for many seconds, and was no faster then."""


def shown(values: Sequence[float]) -> str:
    """Return the median for people, with the range where the rounds differ."""
    middle, low, high = median(values), min(values), max(values)
    text = _number(middle)
    differ = high - low > _DIFFER * middle
    return f"{text} ({_number(low)}-{_number(high)})" if differ else text


def draw(report: Report, cores: int, path: Path = CHART) -> None:
    """Draw how many reviews a second each engine takes, the fastest on top."""
    ranked = report.ranked()
    rates = [median(each.reviews_per_s) for each in ranked]
    baseline = report.named(BASELINE)
    marked = [each.agreement(baseline) < LEAST_AGREEMENT for each in ranked]
    places = range(len(ranked), 0, -1)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 1.1 + 0.36 * len(ranked)), layout="constrained")
        axes = figure.subplots()
        bars = axes.barh(
            places,
            rates,
            height=0.7,
            color=[_BLUE if each.contender.name == OURS else _GREY for each in ranked],
            hatch=["//" if each else "" for each in marked],
            edgecolor="white",
            linewidth=0,
        )
        axes.bar_label(bars, [f"{rate:.1f}" for rate in rates], padding=4)
        axes.set_yticks(places, [each.contender.name for each in ranked])
        axes.tick_params(left=False, bottom=False, labelbottom=False)
        axes.set_xlim(0, 1.1 * max(rates))
        figure.suptitle(
            f"Whole movie reviews through the network a second, {cores} cores", fontweight="bold"
        )
        if any(marked):
            label = f"labels agree with PyTorch, fp32, on less than {LEAST_AGREEMENT:.1%}"
            hatched = Patch(
                facecolor=_GREY, edgecolor="white", linewidth=0, hatch="//", label=label
            )
            figure.legend(handles=[hatched], loc="outside lower right", frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, metadata={"Software": None})


def measure(options: argparse.Namespace) -> Report:
    """Measure all in interleaved rounds."""
    bundle, cores = bundles.read(bundles.DEFAULT), engines.available_cores()
    config = json.loads((CHECKPOINT / "config.json").read_text())
    outputs = len(bundle.manifest.labels) + len(bundle.manifest.ratings)
    reviews = Source(options.reviews).part(options.split)
    chosen = random.Random(0).sample(reviews, min(options.sample, len(reviews)))
    prepared = prepare([review.text for review in chosen], bundle)
    tokenizer = ReviewTokenizer(bundle.tokenizer)
    long = [x for window in prepared.windows for x in window[1:-1]][:254]
    task = Task(
        reviews=prepared,
        short=prepare([SHORT_REVIEW], bundle).windows[0],
        window=tokenizer.frame.around(long),
        pad=tokenizer.pad,
        labels=len(bundle.manifest.labels),
        seconds=options.seconds,
    )
    tuning = prepared.first(_TUNING).windows
    figures = []
    for contender in contenders(bundle, cores, options.results / "networks"):
        figures.append(Figures(contender, best_way(contender, task.pad, tuning)))
        print(f"{contender.name}: {figures[-1].way.name}", flush=True)
    rates: list[tuple[Product, list[float]]] = [(each, []) for each in products(cores)]
    for turn in range(options.rounds):
        print(f"round {turn + 1} of {options.rounds}", flush=True)
        for each in figures[:: (-1) ** turn]:
            task.measure(each)
            print(f"  {each.contender.name}: {each.reviews_per_s[-1]:.1f}/s", flush=True)
        for multiplied, found in rates[:: (-1) ** turn]:
            found.append(multiplied.rate(options.seconds))
    lengths = [len(window) for window in prepared.windows]
    command = shlex.join(["python", "benchmarks/engines.py", *sys.argv[1:]])
    return Report(
        intro=f"{machine.describe()}.\n\n`{command}`: {len(prepared)} reviews of the "
        f"{options.split} part, rounds: {options.rounds}, {options.seconds:g} s for what runs "
        "one by one.",
        figures=figures,
        rates=best_rates(rates),
        operations=operations(config, outputs, lengths) / len(prepared),
        tokens=sum(lengths) / len(prepared),
    )


def main() -> None:
    """Measure, and write the figures, their section of RESULTS.md and the chart."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reviews", type=Path, required=True, help="the unpacked dataset")
    parser.add_argument("--split", choices=["test", "held-out"], default="held-out")
    parser.add_argument("--sample", type=int, default=300, help="reviews")
    parser.add_argument("--seconds", type=float, default=1, help="of each text and each product")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "bench")
    options = parser.parse_args()
    report = measure(options)
    write_atomically(options.results / "engines.json", json.dumps(report.facts(), indent=1) + "\n")
    replace_section(RESULTS, "engines", report.section())
    draw(report, engines.available_cores())
    print(report.section())


if __name__ == "__main__":
    main()
