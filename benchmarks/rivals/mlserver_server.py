"""MLServer with adaptive batching, around PyTorch as a custom inference runtime.

Writes the two settings files of `mlserver start`, then executes it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from ports import free_port
from torch_model import TorchModel


class ReviewRuntime(MLModel):
    """Classifies reviews: an input of texts to outputs of labels and scores."""

    async def load(self) -> bool:
        """Load the checkpoint, in the worker process."""
        parameters = self.settings.parameters
        self._model = TorchModel(parameters.uri, parameters.extra["threads"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Classify a batch of the texts of several requests."""
        answers = self._model(StringCodec.decode_input(payload.inputs[0]))
        return InferenceResponse(
            model_name=self.name,
            outputs=[StringCodec.encode_output("label", [answer["label"] for answer in answers])],
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True, help="with one thread each")
    parser.add_argument("--max-batch-size", type=int, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    arguments = parser.parse_args()
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": arguments.port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": arguments.workers,
    }
    model_settings = {
        "name": "reviews",
        "implementation": "mlserver_server.ReviewRuntime",
        "max_batch_size": arguments.max_batch_size,
        "max_batch_time": 0.01,
        "parameters": {"uri": arguments.checkpoint, "extra": {"threads": 1}},
    }
    arguments.scratch.joinpath("settings.json").write_text(json.dumps(settings))
    arguments.scratch.joinpath("model-settings.json").write_text(json.dumps(model_settings))
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    program = str(Path(sys.executable).with_name("mlserver"))
    os.execv(program, [program, "start", str(arguments.scratch)])  # noqa: S606 - no shell wanted
