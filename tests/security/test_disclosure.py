"""Public endpoints do not reveal paths of the server."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from reelsense.bundle import write_bundle
from reelsense.server.app import create_app
from reelsense.server.settings import Settings
from tests import tiny

pytestmark = pytest.mark.security


def test_readyz_names_the_kind_of_failure_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "private-folder"
    write_bundle(folder, tiny.bundle())
    (folder / "tokenizer.json").write_text("changed")
    with caplog.at_level(logging.ERROR):
        client = create_app(Settings(model=str(folder))).test_client()
        while "could not be loaded" not in client.get("/readyz").text:
            time.sleep(0.01)
    for path in ("/readyz", "/v2/health/ready", "/v1/info"):
        answer = client.get(path)
        assert "private-folder" not in answer.text
        assert "tokenizer" not in answer.text
    assert "bundle-changed" in client.get("/readyz").text
    assert "private-folder" in caplog.text
