"""A local replacement for the Hugging Face hub that serves one model from a folder."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

from tests.local_server import serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def hub(model: str, folder: Path) -> AbstractContextManager[str]:
    """Serve `folder` as `model` during the block; yield the value for HF_ENDPOINT."""
    names = sorted(path.name for path in folder.iterdir())

    def respond(request: BaseHTTPRequestHandler) -> None:
        path = urlsplit(request.path).path
        name = path.rpartition("/")[2]
        if path.startswith(f"/api/models/{model}/revision/"):
            listing = {"id": model, "sha": COMMIT, "siblings": [{"rfilename": n} for n in names]}
            send(request, json.dumps(listing).encode(), "application/json")
        elif path.startswith(f"/api/models/{model}/tree/"):
            tree = [
                {"type": "file", "path": n, "size": (folder / n).stat().st_size, "oid": n}
                for n in names
            ]
            send(request, json.dumps(tree).encode(), "application/json")
        elif path.startswith(f"/{model}/resolve/") and name in names:
            send(request, (folder / name).read_bytes(), "application/octet-stream")
        else:
            request.send_response(404)
            request.send_header("X-Error-Code", "RepoNotFound")
            request.send_header("Content-Length", "0")
            request.end_headers()

    return serving(respond)


def send(request: BaseHTTPRequestHandler, content: bytes, kind: str) -> None:
    request.send_response(200)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(content)))
    request.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
    request.send_header("X-Repo-Commit", COMMIT)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(content)
