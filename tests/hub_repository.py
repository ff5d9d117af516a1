"""A local replacement for the Hugging Face hub, with a repository that can be written.

It checks the token, and takes the network like the hub: as a large file with its own upload. It
supports uploads by Git LFS only: clients need HF_HUB_DISABLE_XET=1.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from tests.local_server import serving
from tests.training.hub import COMMIT, send

TOKEN = "hf_secret"  # noqa: S105  # of the replacement


@dataclass
class Repository:
    """The files of one repository, and what clients asked for."""

    name: str
    files: dict[str, bytes] = field(default_factory=dict)
    created: dict[str, Any] = field(default_factory=dict)  # content of the request to create it
    messages: list[str] = field(default_factory=list)  # of the commits
    large: dict[str, bytes] = field(default_factory=dict)  # uploaded large files by SHA-256

    @contextmanager
    def served(self) -> Iterator[str]:
        """Yield the value for HF_ENDPOINT."""
        with serving(self._respond) as address:
            self._address = address
            yield address

    def _respond(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        path = urlsplit(request.path).path
        if request.command == "PUT":
            self.large[path.rpartition("/")[2]] = body
            return send(request, b"", "text/plain")
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._fail(request, 401, "GatedRepo")
        if request.command == "POST":
            return self._post(request, path, body)
        return self._get(request, path)

    def _post(self, request: BaseHTTPRequestHandler, path: str, body: bytes) -> None:
        if path == "/api/repos/create":
            self.created = json.loads(body)
            answer: object = {"url": f"{self._address}/{self.name}"}
        elif path == "/api/validate-yaml":
            answer = {"errors": [], "warnings": []}
        elif path.startswith(f"/api/models/{self.name}/preupload/"):
            answer = {
                "files": [
                    {"path": name, "uploadMode": mode, "shouldIgnore": False}
                    for file in json.loads(body)["files"]
                    for name in [file["path"]]
                    for mode in ["lfs" if name.startswith("model.") else "regular"]
                ]
            }
        elif path == f"/{self.name}.git/info/lfs/objects/batch":
            objects = json.loads(body)["objects"]
            answer = {
                "transfer": "basic",
                "objects": [
                    entry | {"actions": {"upload": {"href": f"{self._address}/up/{entry['oid']}"}}}
                    for entry in objects
                ],
            }
        elif path == f"/api/models/{self.name}/commit/main":
            self._commit([json.loads(line) for line in body.splitlines()])
            url = f"{self._address}/{self.name}/commit/{COMMIT}"
            answer = {"commitUrl": url, "commitOid": COMMIT}
        else:
            return self._fail(request, 404, "RepoNotFound")
        return send(request, json.dumps(answer).encode(), "application/json")

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.messages.append(value["summary"])
            elif line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del self.files[value["path"]]
            else:
                content = self.large[value["oid"]]
                assert hashlib.sha256(content).hexdigest() == value["oid"]
                self.files[value["path"]] = content

    def _get(self, request: BaseHTTPRequestHandler, path: str) -> None:
        name = path.rpartition("/")[2]
        if path.startswith(f"/api/models/{self.name}/revision/"):
            siblings = [{"rfilename": name} for name in self.files]
            content = json.dumps({"id": self.name, "sha": COMMIT, "siblings": siblings}).encode()
            return send(request, content, "application/json")
        if path.startswith(f"/api/models/{self.name}/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": name}
                for name, content in self.files.items()
            ]
            return send(request, json.dumps(tree).encode(), "application/json")
        if path.startswith(f"/{self.name}/resolve/") and name in self.files:
            return send(request, self.files[name], "application/octet-stream")
        return self._fail(request, 404, "RepoNotFound")

    def _fail(self, request: BaseHTTPRequestHandler, status: int, code: str) -> None:
        request.send_response(status)
        request.send_header("X-Error-Code", code)
        request.send_header("Content-Length", "0")
        request.end_headers()
