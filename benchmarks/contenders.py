"""Run the network with each inference library and batching strategy."""

from __future__ import annotations

import importlib
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reelsense.bundle import Bundle
from reelsense.inference import engine
from reelsense.inference.batching import BatchQueue, Network
from reference import CHECKPOINT, load_checkpoint

OURS, BASELINE = "reelsense (OpenVINO, int8)", "PyTorch, eager, fp32"

_BUDGETS = (512, 1024, 2048, 4096)


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


@dataclass(frozen=True, slots=True)
class Way:
    """A way to run many windows."""

    name: str
    queue: BatchQueue


def ways(contender: Contender, pad: int) -> list[Way]:
    """Return the ways to run many windows through `contender`; ours has one."""
    both = contender.side_by_side
    if contender.name == OURS:
        budget = engine.Engine.tokens_per_batch
        return [Way("as served", BatchQueue(both, pad, budget, contender.whole))]
    places = {"on all cores": [contender.whole], "on each core": both}
    return [
        Way(f"{budget} tokens, {where}", BatchQueue(networks, pad, budget))
        for budget, (where, networks) in product(_BUDGETS, places.items())
    ]


def best_way(contender: Contender, pad: int, windows: Sequence[Sequence[int]]) -> Way:
    """Return the way that takes `windows` fastest."""
    return min(ways(contender, pad), key=lambda way: seconds(lambda: way.queue.run(windows)))


def seconds(run: Callable[[], object]) -> float:
    """Return how long `run` takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def contenders(bundle: Bundle, cores: int) -> list[Contender]:
    """Return all of them."""
    import onnx

    from reelsense.training.export import to_onnx

    model = load_checkpoint(bundle)
    with tempfile.TemporaryDirectory() as folder:
        exact = Path(folder) / "fp32.onnx"
        onnx.save(to_onnx(model), exact)
        return [
            pytorch(model, cores),
            pytorch(model, cores, "PyTorch, autocast, bf16", "bf16"),
            _pytorch_int8(model, cores),
            *_onnxruntime(exact, cores),
            _openvino(exact, "fp32", cores),
            _openvino(exact, "bf16", cores),
            *_ctranslate2(model, cores, Path(folder) / "ctranslate2"),
            ours(bundle, cores),
        ]


def ours(bundle: Bundle, cores: int) -> Contender:
    """Return `bundle` as it is served."""
    int8 = bundle.manifest.int8_activations
    served = engine.Engine(bundle.network, cores, int8_activations=int8)
    return Contender(OURS, "int8", served.whole, served.side_by_side)


def pytorch(model: Any, cores: int, name: str = BASELINE, precision: str = "fp32") -> Contender:
    """Return `model` in PyTorch, eager."""
    import torch

    from reelsense.training.model import logits

    def on(threads: int) -> Network:
        @torch.no_grad()
        def run(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
            torch.set_num_threads(threads)  # it holds for the calling thread
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                scores = logits(model, torch.from_numpy(ids), torch.from_numpy(mask))
            found: NDArray[np.float32] = scores.float().numpy()
            return found

        return run

    return Contender(name, precision, on(cores), [on(1)] * cores)


def _pytorch_int8(model: Any, cores: int) -> Contender:
    import torch
    from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on its own future
        smaller = quantize_dynamic(model, {torch.nn.Linear: per_channel_dynamic_qconfig})
    return pytorch(smaller, cores, "PyTorch, its dynamic int8", "int8")


def _onnxruntime(exact: Path, cores: int) -> Iterator[Contender]:
    from onnxruntime.quantization import quantize_dynamic

    def load(path: Path, threads: int) -> Network:
        session = onnxruntime_session(path, threads)
        return lambda ids, mask: session.run(None, {"input_ids": ids, "attention_mask": mask})[0]

    smaller = exact.with_name("int8.onnx")
    quantize_dynamic(exact, smaller, per_channel=True)
    for name, precision, path in (
        ("ONNX Runtime, fp32", "fp32", exact),
        ("ONNX Runtime, its dynamic int8", "int8", smaller),
    ):
        yield Contender(name, precision, load(path, cores), [load(path, 1) for _ in range(cores)])


def onnxruntime_session(network: Path | bytes, threads: int) -> Any:
    """Return `network` in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])


def _openvino(exact: Path, precision: str, cores: int) -> Contender:
    engine.without_telemetry()
    import openvino

    def compiled(streams: int) -> Any:
        settings = {
            "INFERENCE_PRECISION_HINT": precision.replace("fp32", "f32"),
            "INFERENCE_NUM_THREADS": cores,
            "NUM_STREAMS": streams,
        }
        return openvino.Core().compile_model(exact, "CPU", settings)

    side_by_side = compiled(cores)
    single = [engine.Network(side_by_side) for _ in range(cores)]
    return Contender(f"OpenVINO, {precision}", precision, engine.Network(compiled(1)), single)


def _ctranslate2(model: Any, cores: int, folder: Path) -> Iterator[Contender]:
    """Return its encoder with our heads on top; it computes the last layer for every token."""
    ctranslate2 = importlib.import_module("ctranslate2")  # mypy may not have it
    ctranslate2.converters.TransformersConverter(str(CHECKPOINT)).convert(str(folder))
    layer = model.classifier
    heads = [head for head in (layer, getattr(layer, "stars", None)) if head]
    weights = np.concatenate([head.weight.detach().numpy() for head in heads])
    bias = np.concatenate([head.bias.detach().numpy() for head in heads])

    def load(precision: str, side_by_side: int) -> Network:
        encoder = ctranslate2.Encoder(
            str(folder),
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
