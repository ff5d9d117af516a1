"""Ray Serve with dynamic request batching, around PyTorch."""

from __future__ import annotations

import argparse

import ray
from ray import serve
from starlette.requests import Request
from torch_model import TorchModel


@serve.deployment
class Reviews:
    """Classifies reviews: {"text": ...} to {"label": ..., "score": ...}."""

    def __init__(self, checkpoint: str, max_batch_size: int) -> None:
        self._model = TorchModel(checkpoint, threads=1)
        self.classify.set_max_batch_size(max_batch_size)

    @serve.batch(batch_wait_timeout_s=0.01)
    async def classify(self, texts: list[str]) -> list[dict[str, str | float]]:
        """Classify a batch."""
        return self._model(texts)

    async def __call__(self, request: Request) -> dict[str, str | float]:
        """Answer one request, as part of a batch."""
        return await self.classify((await request.json())["text"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--replicas", type=int, required=True, help="with one core each")
    parser.add_argument("--max-batch-size", type=int, required=True)
    arguments = parser.parse_args()
    ray.init(num_cpus=arguments.replicas, include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": arguments.port})
    reviews = Reviews.options(
        num_replicas=arguments.replicas,
        max_ongoing_requests=64,
        ray_actor_options={"num_cpus": 1},
    )
    application = reviews.bind(arguments.checkpoint, arguments.max_batch_size)
    serve.run(application, route_prefix="/predict", blocking=True)
