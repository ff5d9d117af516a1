"""Public endpoints do not reveal paths of the server."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from reelsense.bundle import write_bundle
from reelsense.server.app import create_app
from reelsense.server.settings import Settings
from tests import tiny
from tests.waiting import wait_until

pytestmark = pytest.mark.security


def test_readyz_names_the_kind_of_failure_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "private-folder"
    write_bundle(folder, tiny.bundle())
    (folder / "tokenizer.json").write_text("changed")
    with caplog.at_level(logging.ERROR):
        client = create_app(Settings(model=str(folder))).test_client()
        wait_until(lambda: "could not be loaded" in client.get("/readyz").text)
    for path in ("/readyz", "/v2/health/ready", "/v1/info"):
        answer = client.get(path)
        assert "private-folder" not in answer.text
        assert "tokenizer" not in answer.text
    assert "bundle-changed" in client.get("/readyz").text
    assert "private-folder" in caplog.text
