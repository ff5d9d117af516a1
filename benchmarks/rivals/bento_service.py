"""BentoML with adaptive batching, around PyTorch or a bundle's int8 network."""

from __future__ import annotations

import bentoml
from pydantic import BaseModel


class Arguments(BaseModel):
    """Arguments of `bentoml serve --arg NAME=VALUE`."""

    engine: str  # "torch", "openvino" or "onnxruntime"
    model: str  # a checkpoint for torch, a bundle for the others
    workers: int
    threads: int  # per worker
    max_batch_size: int  # 1: no batching


arguments = bentoml.use_arguments(Arguments)


@bentoml.service(workers=arguments.workers, traffic={"timeout": 120})
class Reviews:
    """Classifies reviews: {"texts": [...]} to [{"label": ..., "score": ...}, ...]."""

    def __init__(self) -> None:
        if arguments.engine == "torch":
            from torch_model import TorchModel

            self._model = TorchModel(arguments.model, arguments.threads)
        else:
            from int8_model import Int8Model

            self._model = Int8Model(arguments.model, arguments.engine, arguments.threads)

    @bentoml.api(
        batchable=arguments.max_batch_size > 1,
        max_batch_size=max(2, arguments.max_batch_size),
        max_latency_ms=60_000,
    )
    def predict(self, texts: list[str]) -> list[dict[str, str | float]]:
        """Classify a batch of the texts of several requests."""
        return self._model(texts)
