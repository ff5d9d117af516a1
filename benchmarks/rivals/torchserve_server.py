"""TorchServe with its batching, around PyTorch as a custom handler. Needs Java.

Packs this file as the handler of a model archive, then executes `torchserve`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ports import free_port
from torch_model import TorchModel


class ReviewHandler:
    """Classifies reviews: {"text": ...} to {"label": ..., "score": ...}."""

    def initialize(self, context: Any) -> None:
        """Load the checkpoint, in each worker."""
        self._model = TorchModel(context.model_yaml_config["handler"]["checkpoint"], threads=1)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[dict[str, str | float]]:  # noqa: ARG002
        """Classify a batch of the texts of several requests."""
        return self._model([request["body"]["text"] for request in data])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True, help="with one thread each")
    parser.add_argument("--max-batch-size", type=int, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    arguments = parser.parse_args()
    os.environ |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # its workers run `python`
        "PYTHONPATH": str(Path(__file__).parent),
        "TMPDIR": str(arguments.scratch),
        "LOG_LOCATION": str(arguments.scratch),
        "METRICS_LOCATION": str(arguments.scratch),
    }
    model_settings = {
        "minWorkers": arguments.workers,
        "maxWorkers": arguments.workers,
        "batchSize": arguments.max_batch_size,
        "maxBatchDelay": 10,
        "handler": {"checkpoint": arguments.checkpoint},
    }
    settings = {
        "inference_address": f"http://127.0.0.1:{arguments.port}",
        "management_address": f"http://127.0.0.1:{free_port()}",
        "metrics_address": f"http://127.0.0.1:{free_port()}",
        "grpc_inference_port": free_port(),
        "grpc_management_port": free_port(),
        "vmargs": f"-Djava.io.tmpdir={arguments.scratch}",
    }
    store = arguments.scratch / "store"
    store.mkdir()
    model_file = arguments.scratch / "model-config.yaml"
    model_file.write_text(json.dumps(model_settings))  # JSON is YAML
    settings_file = arguments.scratch / "config.properties"
    settings_file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    archive = (
        "torch-model-archiver", "--model-name", "reviews", "--version", "1", "--handler", __file__,
        "--config-file", str(model_file), "--export-path", str(store),
        "--archive-format", "no-archive",
    )  # fmt: skip
    serve = (
        "torchserve", "--foreground", "--no-config-snapshots", "--disable-token-auth",
        "--ts-config", str(settings_file), "--model-store", str(store),
        "--models", "reviews=reviews",
    )  # fmt: skip
    subprocess.run(archive, check=True)  # noqa: S603 - our own command, from this file
    os.execvp(serve[0], serve)  # noqa: S606 - no shell wanted
