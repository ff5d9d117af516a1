"""LitServe with dynamic batching, around PyTorch or a bundle's int8 network."""

from __future__ import annotations

import argparse

import litserve

_Answer = dict[str, str | float]


class ReviewAPI(litserve.LitAPI):
    """Classifies reviews: {"text": ...} to {"label": ..., "score": ...}."""

    def __init__(self, engine: str, path: str, threads: int, **batching: float) -> None:
        super().__init__(**batching)
        self._engine = engine
        self._path = path
        self._threads = threads

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's interface
        """Load the model, in each worker."""
        if self._engine == "torch":
            from torch_model import TorchModel

            self._model = TorchModel(self._path, self._threads)
        else:
            from int8_model import Int8Model

            self._model = Int8Model(self._path, self._engine, self._threads)

    def decode_request(self, request: dict[str, str]) -> str:
        """Return the text of a request."""
        return request["text"]

    def predict(self, texts: str | list[str]) -> _Answer | list[_Answer]:
        """Classify a batch, or one text if the batch size is one."""
        if isinstance(texts, str):
            return self._model([texts])[0]
        return self._model(texts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=("torch", "openvino", "onnxruntime"), required=True)
    parser.add_argument("--model", required=True, help="a checkpoint, or a bundle for int8")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, required=True, help="per worker")
    parser.add_argument("--max-batch-size", type=int, default=16)
    parser.add_argument("--batch-timeout", type=float, default=0.02)
    arguments = parser.parse_args()
    api = ReviewAPI(
        arguments.engine,
        arguments.model,
        arguments.threads,
        max_batch_size=arguments.max_batch_size,
        batch_timeout=arguments.batch_timeout,
    )
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=arguments.workers, timeout=False
    )
    server.run(host="127.0.0.1", port=arguments.port, num_api_servers=1, generate_client_file=False)
