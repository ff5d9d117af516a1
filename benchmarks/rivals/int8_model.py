"""The int8 network of a bundle in OpenVINO or ONNX Runtime, to run it in other servers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

_Batch = dict[str, NDArray[np.int64]]
_LABELS = ("negative", "positive")


class Int8Model:
    """A bundle's network that classifies a batch of texts, padded to its longest."""

    def __init__(self, bundle: str, engine: str, threads: int) -> None:
        """Load `bundle` into `engine`, "openvino" or "onnxruntime", to run on `threads` threads."""
        self._tokenizer = Tokenizer.from_file(str(Path(bundle, "tokenizer.json")))
        self._tokenizer.enable_truncation(512)
        self._tokenizer.enable_padding()
        load = {"openvino": _openvino, "onnxruntime": _onnxruntime}[engine]
        self._run = load(str(Path(bundle, "model.onnx")), threads)

    def __call__(self, texts: list[str]) -> list[dict[str, str | float]]:
        """Return the label and its probability for each of `texts`, truncated at 512 tokens."""
        encodings = self._tokenizer.encode_batch_fast(texts)
        logits = self._run(
            {
                "input_ids": np.array([encoding.ids for encoding in encodings]),
                "attention_mask": np.array([encoding.attention_mask for encoding in encodings]),
            }
        )[:, : len(_LABELS)]
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = weights / weights.sum(axis=1, keepdims=True)
        return [{"label": _LABELS[row.argmax()], "score": float(row.max())} for row in scores]


def _openvino(path: str, threads: int) -> Callable[[_Batch], NDArray[np.float32]]:
    """Compile the network at `path` with OpenVINO, for batches one after another."""
    # Disable usage statistics: OpenVINO sends none if this package cannot be imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    return lambda batch: request.infer(batch)[0]


def _onnxruntime(path: str, threads: int) -> Callable[[_Batch], NDArray[np.float32]]:
    """Load the network at `path` into ONNX Runtime, all its graph optimizations on."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, batch)[0]
