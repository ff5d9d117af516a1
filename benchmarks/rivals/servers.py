"""The other servers for text classifiers that reelsense is compared with."""

from __future__ import annotations

import json
from urllib.parse import urlencode

from rivals.server import Request, Server

_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}


def _query(text: str) -> Request:
    """Return the request of the original Flask API."""
    return Request("/predict?" + urlencode({"sentence": text}))


def _original_label(body: bytes) -> str:
    answer = json.loads(body)["response"]
    return "positive" if float(answer["positive"]) > float(answer["negative"]) else "negative"


def _text(text: str) -> Request:
    """Return the request of the small programs in this folder."""
    return Request("/predict", json.dumps({"text": text}).encode())


def _label(body: bytes) -> str:
    return str(json.loads(body)["label"])


def _texts(text: str) -> Request:
    """Return the request of BentoML, which batches lists."""
    return Request("/predict", json.dumps({"texts": [text]}).encode())


def _first_label(body: bytes) -> str:
    return str(json.loads(body)[0]["label"])


def _infinity_input(text: str) -> Request:
    return Request("/classify", json.dumps({"model": "reviews", "input": [text]}).encode())


def _infinity_label(body: bytes) -> str:
    scores = json.loads(body)["data"][0]
    return str(max(scores, key=lambda score: score["score"])["label"])


def _torchserve_input(text: str) -> Request:
    return Request("/predictions/reviews", json.dumps({"text": text}).encode())


def _v2_input(text: str) -> Request:
    """Return a request of the Open Inference Protocol."""
    tensor = {"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [text]}
    return Request("/v2/models/reviews/infer", json.dumps({"inputs": [tensor]}).encode())


def _v2_label(body: bytes) -> str:
    return str(json.loads(body)["outputs"][0]["data"][0])


_BATCHES_SLOWER = "batches of up to 8 took more processor time per review here"
_WORKERS = "one single-threaded worker per core"
_THREADS = "one worker with one thread per core"


def _litserve(engine: str, name: str, *, model: str, workers: str, threads: str) -> Server:
    return Server(
        key=f"litserve-{engine}",
        name=f"LitServe, {name}",
        environment=f"litserve-{engine}",
        command=(
            "{bin}/python", "{rivals}/litserve_server.py", "--engine", engine, "--model", model,
            "--port", "{port}", "--workers", workers, "--threads", threads,
            "--max-batch-size", "1", "--batch-timeout", "0",
        ),
        request=_text,
        label=_label,
        settings=f"{_WORKERS if workers == '{cores}' else _THREADS}, timeout off "
        "(lightning.ai/docs/litserve/api-reference/litserver), max_batch_size=1 "
        f"(lightning.ai/docs/litserve/features/batching): {_BATCHES_SLOWER}",
        by_hand=engine != "torch",
        environ=_OFFLINE,
    )  # fmt: skip


def _infinity(key: str, name: str, *, engine: str, settings: str) -> Server:
    return Server(
        key=key,
        name=f"infinity, {name}",
        environment=key,
        command=(
            "{bin}/python", "{rivals}/infinity_server.py", "{checkpoint}", "{scratch}",
            "--engine", engine, "--device", "cpu", "--served-model-name", "reviews",
            "--no-vector-disk-cache", "--no-compile", "--batch-size", "2",
            "--host", "127.0.0.1", "--port", "{port}",
        ),
        request=_infinity_input,
        label=_infinity_label,
        settings=f"engine {engine}, {settings}, no cache on disk, batch size 2, which took less "
        "processor time per review here than 8, and about as much as 1 (infinity_emb v2 --help)",
        environ=_OFFLINE | {"INFINITY_ANONYMOUS_USAGE_STATS": "0"},
    )  # fmt: skip


def _bento(engine: str, name: str, *, model: str, workers: str, threads: str) -> Server:
    return Server(
        key=f"bentoml-{engine}",
        name=f"BentoML, {name}",
        environment=f"bentoml-{engine}",
        command=(
            "{bin}/bentoml", "serve", "bento_service:Reviews", "--working-dir", "{rivals}",
            "--host", "127.0.0.1", "--port", "{port}", "--arg", f"engine={engine}",
            "--arg", f"model={model}", "--arg", f"workers={workers}",
            "--arg", f"threads={threads}", "--arg", "max_batch_size=1",
        ),
        request=_texts,
        label=_first_label,
        settings=f"{_WORKERS if workers == '{cores}' else _THREADS} "
        "(docs.bentoml.com/en/latest/guides/workers.html), batchable=False "
        f"(docs.bentoml.com/en/latest/guides/adaptive-batching.html): {_BATCHES_SLOWER}",
        by_hand=engine != "torch",
        environ=_OFFLINE | {"BENTOML_DO_NOT_TRACK": "True"},
    )  # fmt: skip


RIVALS: tuple[Server, ...] = (
    Server(
        key="starting-system",
        name="original Flask API, PyTorch",
        environment="starting-system",
        command=(
            "{bin}/python", "{rivals}/starting_system.py",
            "--checkpoint", "{checkpoint}", "--port", "{port}",
        ),
        request=_query,
        label=_original_label,
        settings="unchanged: Flask's development server, padded to 512 tokens, with gradients "
        "(github.com/VikasSingh-DS/Movies-Reviews-Bert-Sentiment-Flask-API)",
        environ=_OFFLINE,
    ),
    Server(
        key="pipeline-flask",
        name="Hugging Face pipeline, Flask and gunicorn",
        environment="pipeline-flask",
        command=(
            "{bin}/gunicorn", "--chdir", "{rivals}", "--bind", "127.0.0.1:{port}",
            "--workers", "{cores}", "--timeout", "120", "pipeline_flask:create_app('{checkpoint}')",
        ),
        request=_text,
        label=_label,
        settings="one synchronous, single-threaded worker per core (gunicorn.org/design: "
        "sync, one request at a time; "
        "docs.pytorch.org/docs/stable/notes/multiprocessing.html: no more threads than cores); "
        "no batches (huggingface.co/docs/transformers/main_classes/pipelines: none on a CPU)",
        environ=_OFFLINE,
    ),
    _litserve("torch", "PyTorch", model="{checkpoint}", workers="{cores}", threads="1"),
    _litserve("openvino", "OpenVINO, int8", model="{bundle}", workers="1", threads="{cores}"),
    _litserve(
        "onnxruntime",
        "ONNX Runtime, int8 weights",
        model="{bundle}",
        workers="{cores}",
        threads="1",
    ),
    _infinity(
        "infinity-torch",
        "PyTorch",
        engine="torch",
        settings="BetterTransformer on, torch.compile off (they exclude each other, and it "
        "recommends the former for BERT)",
    ),
    _infinity(
        "infinity-onnx",
        "ONNX Runtime",
        engine="optimum",
        settings="fp32, optimized by infinity at the start",
    ),
    _bento("torch", "PyTorch", model="{checkpoint}", workers="{cores}", threads="1"),
    _bento("openvino", "OpenVINO, int8", model="{bundle}", workers="1", threads="{cores}"),
    Server(
        key="rayserve-torch",
        name="Ray Serve, PyTorch",
        environment="rayserve-torch",
        command=(
            "{bin}/python", "{rivals}/ray_server.py", "--checkpoint", "{checkpoint}",
            "--port", "{port}", "--replicas", "{cores}", "--max-batch-size", "1",
        ),
        request=_text,
        label=_label,
        settings="one single-threaded replica per core, max_ongoing_requests=64 "
        "(docs.ray.io/en/latest/serve/configure-serve-deployment.html), serve.batch with "
        "max_batch_size=1 (docs.ray.io/en/latest/serve/advanced-guides/dyn-req-batch.html): "
        f"{_BATCHES_SLOWER}",
        environ=_OFFLINE | {"RAY_USAGE_STATS_ENABLED": "0"},
    ),
    Server(
        key="mlserver-torch",
        name="MLServer, PyTorch",
        environment="mlserver-torch",
        command=(
            "{bin}/python", "{rivals}/mlserver_server.py", "--checkpoint", "{checkpoint}",
            "--port", "{port}", "--workers", "{cores}", "--max-batch-size", "0",
            "--scratch", "{scratch}",
        ),
        request=_v2_input,
        label=_v2_label,
        settings="a custom runtime (docs.seldon.ai/mlserver/user-guide/custom), "
        f"{_WORKERS} (docs.seldon.ai/mlserver/user-guide/parallel-inference), debug off, "
        "max_batch_size=0: no batches (docs.seldon.ai/mlserver/user-guide/adaptive-batching): "
        f"{_BATCHES_SLOWER}",
        environ=_OFFLINE,
    ),
    Server(
        key="torchserve-torch",
        name="TorchServe, PyTorch",
        environment="torchserve-torch",
        command=(
            "{bin}/python", "{rivals}/torchserve_server.py", "--checkpoint", "{checkpoint}",
            "--port", "{port}", "--workers", "{cores}", "--max-batch-size", "1",
            "--scratch", "{scratch}",
        ),
        request=_torchserve_input,
        label=_label,
        settings=f"a custom handler, {_WORKERS}, batchSize=1 "
        "(docs.pytorch.org/serve/batch_inference_with_ts.html): "
        f"{_BATCHES_SLOWER}; no longer maintained, archived in August 2025",
        environ=_OFFLINE,
    ),
    Server(
        key="triton-torch",
        name="NVIDIA Triton, PyTorch",
        environment="triton-torch",
        command=(
            "{bin}/python", "{rivals}/triton_server.py", "--checkpoint", "{checkpoint}",
            "--port", "{port}", "--instances", "{cores}", "--max-batch-size", "1",
        ),
        request=_v2_input,
        label=_v2_label,
        settings="as the package PyTriton; one single-threaded instance per core, "
        "max_batch_size=1 (triton-inference-server.github.io/pytriton): "
        f"{_BATCHES_SLOWER}",
        environ=_OFFLINE,
    ),
)  # fmt: skip

# Servers that were not measured, and why: only pip packages are installed, no images.
UNAVAILABLE: dict[str, str] = {
    "Hugging Face Text Embeddings Inference": "a Rust program, available as Docker images or from "
    "source (huggingface.co/docs/text-embeddings-inference); pip: no matching "
    "distribution found for text-embeddings-inference",
    "OpenVINO Model Server": "available as Docker images and binary archives; pip: no matching "
    "distribution found for openvino-model-server",
    "Hugging Face Inference Toolkit": "available as Docker images; pip: no matching distribution "
    "found for huggingface-inference-toolkit",
    "KServe's Hugging Face server": "available as Docker images; pip: no matching distribution "
    "found for huggingfaceserver",
    "vLLM": "the package (0.33.0) is built for CUDA and needs torch==2.14.0 with CUDA",
}
