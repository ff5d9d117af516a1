"""NVIDIA's Triton, as the package PyTriton, with its dynamic batching, around PyTorch.

The process executes itself again with two environment variables: one lets Triton find libpython,
the other limits its Python functions, which are threads of one process, to one core each.
"""

from __future__ import annotations

import argparse
import os
import sys
import sysconfig
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from ports import free_port

_ENVIRONMENT = {"LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR"), "OMP_NUM_THREADS": "1"}


def classifier(checkpoint: str) -> Callable[..., dict[str, NDArray[np.bytes_]]]:
    """Return a function from texts (batch, 1) to labels (batch, 1), with a separate model."""
    from pytriton.decorators import batch
    from torch_model import TorchModel

    model = TorchModel(checkpoint)

    @batch
    def classify(text: NDArray[np.bytes_]) -> dict[str, NDArray[np.bytes_]]:
        answers = model([review.decode() for review in text[:, 0]])
        return {"label": np.array([[str(answer["label"]).encode()] for answer in answers])}

    return classify


def serve(checkpoint: str, port: int, instances: int, max_batch_size: int) -> None:
    """Serve until stopped."""
    from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
    from pytriton.triton import Triton, TritonConfig

    ports = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
    with Triton(config=TritonConfig(http_address="127.0.0.1", **ports)) as triton:
        triton.bind(
            model_name="reviews",
            infer_func=[classifier(checkpoint) for _ in range(instances)],
            inputs=[Tensor(name="text", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="label", dtype=bytes, shape=(1,))],
            config=ModelConfig(max_batch_size=max_batch_size, batcher=DynamicBatcher()),
        )
        triton.serve()


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in _ENVIRONMENT.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | _ENVIRONMENT)  # noqa: S606
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--instances", type=int, required=True, help="with one core each")
    parser.add_argument("--max-batch-size", type=int, required=True)
    arguments = parser.parse_args()
    serve(arguments.checkpoint, arguments.port, arguments.instances, arguments.max_batch_size)
