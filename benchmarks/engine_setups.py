"""Run the network with each inference library and batching strategy."""

from __future__ import annotations

import importlib
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from machine import seconds
from reelsense.bundle import Bundle
from reelsense.inference import engine
from reelsense.inference.batching import BatchQueue, Network
from reference import CHECKPOINT, load_checkpoint

OURS, BASELINE = "reelsense (OpenVINO, int8)", "PyTorch, eager, fp32"

_TOKEN_BUDGETS = (512, 1024, 2048, 4096)


@dataclass(frozen=True, slots=True)
class EngineSetup:
    """An inference engine with the network."""

    name: str
    precision: str  # of its linear layers
    latency_network: Network  # runs a batch on all cores
    # Each runs a batch on one core, in a separate thread.
    throughput_networks: Sequence[Network]


@dataclass(frozen=True, slots=True)
class BatchingStrategy:
    """A way to batch windows."""

    name: str
    queue: BatchQueue


def batching_strategies(setup: EngineSetup, pad: int) -> list[BatchingStrategy]:
    """Return the strategies to try with `setup`; for reelsense the one that is served."""
    if setup.name == OURS:
        budget = engine.Engine.tokens_per_batch
        queue = BatchQueue(setup.throughput_networks, pad, budget, setup.latency_network)
        return [BatchingStrategy("as served", queue)]
    placements = {
        "on all cores": [setup.latency_network],
        "on each core": setup.throughput_networks,
    }
    return [
        BatchingStrategy(f"{budget} tokens, {placement}", BatchQueue(networks, pad, budget))
        for budget, (placement, networks) in product(_TOKEN_BUDGETS, placements.items())
    ]


def fastest_strategy(
    setup: EngineSetup, pad: int, windows: Sequence[Sequence[int]]
) -> BatchingStrategy:
    """Return the strategy that is fastest for `windows`."""
    return min(
        batching_strategies(setup, pad),
        key=lambda strategy: seconds(lambda: strategy.queue.run(windows)),
    )


def engine_setups(bundle: Bundle, cores: int) -> list[EngineSetup]:
    """Return all engines, each with the network of `bundle`."""
    import onnx

    from reelsense.training.onnx_network import to_onnx

    model = load_checkpoint(bundle)
    with tempfile.TemporaryDirectory() as folder:
        fp32 = Path(folder) / "fp32.onnx"
        onnx.save(to_onnx(model), fp32)
        return [
            pytorch_setup(model, cores),
            pytorch_setup(model, cores, "PyTorch, autocast, bf16", "bf16"),
            _pytorch_int8(model, cores),
            *_onnxruntime(fp32, cores),
            _openvino(fp32, "fp32", cores),
            _openvino(fp32, "bf16", cores),
            *_ctranslate2(model, cores, Path(folder) / "ctranslate2"),
            reelsense_setup(bundle, cores),
        ]


def reelsense_setup(bundle: Bundle, cores: int) -> EngineSetup:
    """Return the engine that serves `bundle`."""
    int8 = bundle.manifest.int8_activations
    served = engine.Engine(bundle.network, cores, int8_activations=int8)
    return EngineSetup(OURS, "int8", served.latency_network, served.throughput_networks)


def pytorch_setup(
    model: Any, cores: int, name: str = BASELINE, precision: str = "fp32"
) -> EngineSetup:
    """Return `model` in PyTorch, eager."""
    import torch

    from reelsense.training.model import logits

    def network(threads: int) -> Network:
        @torch.no_grad()
        def run(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
            torch.set_num_threads(threads)  # applies to the calling thread
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                scores = logits(model, torch.from_numpy(ids), torch.from_numpy(mask))
            array: NDArray[np.float32] = scores.float().numpy()
            return array

        return run

    return EngineSetup(name, precision, network(cores), [network(1)] * cores)


def _pytorch_int8(model: Any, cores: int) -> EngineSetup:
    import torch
    from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation
        int8 = quantize_dynamic(model, {torch.nn.Linear: per_channel_dynamic_qconfig})
    return pytorch_setup(int8, cores, "PyTorch, dynamic int8", "int8")


def _onnxruntime(fp32: Path, cores: int) -> Iterator[EngineSetup]:
    from onnxruntime.quantization import quantize_dynamic

    def load(path: Path, threads: int) -> Network:
        session = onnxruntime_session(path, threads)
        return lambda ids, mask: session.run(None, {"input_ids": ids, "attention_mask": mask})[0]

    int8 = fp32.with_name("int8.onnx")
    quantize_dynamic(fp32, int8, per_channel=True)
    for name, precision, path in (
        ("ONNX Runtime, fp32", "fp32", fp32),
        ("ONNX Runtime, dynamic int8", "int8", int8),
    ):
        per_core = [load(path, 1) for _ in range(cores)]
        yield EngineSetup(name, precision, load(path, cores), per_core)


def onnxruntime_session(network: Path | bytes, threads: int) -> Any:
    """Return `network` in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])


def _openvino(fp32: Path, precision: str, cores: int) -> EngineSetup:
    engine.without_telemetry()
    import openvino

    def compiled(streams: int) -> Any:
        settings = {
            "INFERENCE_PRECISION_HINT": precision.replace("fp32", "f32"),
            "INFERENCE_NUM_THREADS": cores,
            "NUM_STREAMS": streams,
        }
        return openvino.Core().compile_model(fp32, "CPU", settings)

    streams = compiled(cores)
    per_core = [engine.Network(streams) for _ in range(cores)]
    return EngineSetup(f"OpenVINO, {precision}", precision, engine.Network(compiled(1)), per_core)


def _ctranslate2(model: Any, cores: int, folder: Path) -> Iterator[EngineSetup]:
    """Yield its encoder with our heads; it computes the last layer for every token."""
    ctranslate2 = importlib.import_module("ctranslate2")  # mypy may not have it
    ctranslate2.converters.TransformersConverter(str(CHECKPOINT)).convert(str(folder))
    layer = model.classifier
    heads = [head for head in (layer, getattr(layer, "stars", None)) if head]
    weights = np.concatenate([head.weight.detach().numpy() for head in heads])
    bias = np.concatenate([head.bias.detach().numpy() for head in heads])

    def load(precision: str, workers: int) -> Network:
        encoder = ctranslate2.Encoder(
            str(folder),
            compute_type=precision,
            inter_threads=workers,
            intra_threads=cores // workers,
        )

        def run(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
            rows = [row[:count].tolist() for row, count in zip(ids, mask.sum(axis=1), strict=True)]
            pooled = np.array(encoder.forward_batch(rows).pooler_output)
            logits: NDArray[np.float32] = pooled @ weights.T + bias
            return logits

        return run

    for name, precision in {"fp32": "float32", "int8": "int8"}.items():
        per_core = [load(precision, cores)] * cores
        yield EngineSetup(f"CTranslate2, {name}", name, load(precision, 1), per_core)
