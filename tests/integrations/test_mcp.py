"""The tools for agents, with the client of the official SDK over each transport."""

from __future__ import annotations

import asyncio
import csv
import os
import socket
import subprocess
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from reelsense.cli import cli
from reelsense.errors import InputError, ReelsenseError
from tests import tiny, tiny_network

mcp = pytest.importorskip("mcp")
create_server = pytest.importorskip("reelsense.integrations.mcp").create_server


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def call(server: Any, tool: str, **arguments: Any) -> Any:
    """Return the structured result of a tool, or the text of its error."""

    async def request() -> Any:
        async with mcp.Client(server) as client:
            result = await client.call_tool(tool, arguments)
            return result.content[0].text if result.is_error else result.structured_content

    return run(request())


def tools_of(server: Any) -> dict[str, Any]:
    async def request() -> Any:
        async with mcp.Client(server) as client:
            return (await client.list_tools()).tools

    return {tool.name: tool for tool in run(request())}


def test_server_describes_its_tools(tmp_path: Path) -> None:
    assert set(tools_of(create_server(tiny.classifier()))) == {"predict", "explain"}
    tools = tools_of(create_server(tiny.classifier(), folder=tmp_path))
    assert set(tools) == {"predict", "explain", "score_file"}
    predict = tools["predict"]
    assert predict.description.startswith("Classify texts.")
    assert "\n\nWeights are" in tools["explain"].description  # without the indentation of the code
    assert set(predict.input_schema["properties"]) == {"texts", "risk"}
    assert {"risk", "predictions"} <= set(predict.output_schema["required"])
    assert predict.annotations.read_only_hint
    assert not tools["score_file"].annotations.read_only_hint


def test_predict_returns_verdicts_with_the_target_error_rate() -> None:
    server = create_server(tiny.cautious_classifier())
    result = call(server, "predict", texts=["good", "bad, awful", " "])
    predictions = result.pop("predictions")
    assert result == {"model": "tiny", "version": "0", "risk": 0.02}
    assert [row["verdict"] for row in predictions] == ["unsure", "negative", None]
    assert [row["error"] for row in predictions] == [None, None, "is blank"]
    assert predictions[0]["label"] == "positive"
    assert predictions[0]["score"] == pytest.approx(0.881, abs=0.001)
    chosen = call(server, "predict", texts=["good"], risk=0.1)
    assert (chosen["risk"], chosen["predictions"][0]["verdict"]) == (0.1, "positive")


def test_server_has_a_default_target_error_rate() -> None:
    server = create_server(tiny.cautious_classifier(), risk=0.1)
    assert call(server, "predict", texts=["good"])["risk"] == 0.1
    assert call(server, "explain", text="good")["risk"] == 0.1
    with pytest.raises(InputError) as caught:
        create_server(tiny.cautious_classifier(), risk=2)
    assert caught.value.code == "invalid-risk"


def test_predict_warns_if_the_target_error_rate_cannot_be_met() -> None:
    result = call(create_server(tiny.cautious_classifier()), "predict", texts=["good"], risk=0.001)
    assert result["predictions"][0]["verdict"] == "unsure"
    assert "0.1" in result["warning"]


def test_explain_returns_sentences_with_their_texts() -> None:
    result = call(
        create_server(tiny.classifier()), "explain", text="It was good, great. It was bad."
    )
    explanation = result["explanation"]
    assert [part["text"] for part in explanation["sentences"]] == [
        "It was good, great.",
        "It was bad.",
    ]
    assert explanation["counterfactual"]["prediction"]["label"] == "negative"
    assert result["risk"] is None


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("explain", {"text": " "}, "(blank)"),
        ("predict", {"texts": ["good"], "risk": 7}, "(invalid-risk)"),
        ("predict", {"texts": []}, "texts"),
        ("predict", {"texts": "good"}, "texts"),
        ("predict", {"texts": ["good"] * 257}, "texts"),
    ],
)
def test_errors_of_tools_say_what_is_wrong(tool: str, arguments: Any, code: str) -> None:
    assert code in call(create_server(tiny.cautious_classifier()), tool, **arguments)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "films.csv").write_text("id,review\n1,good\n2,bad\n3,\n")
    (tmp_path / "secret.csv").write_text("review\ngood\n")
    (folder / "taken.csv.bad-rows.jsonl").write_text("{}\n")
    (folder / "link.csv").symlink_to(tmp_path / "secret.csv")
    return folder


def test_score_file_writes_a_new_file(folder: Path) -> None:
    server = create_server(tiny.cautious_classifier(), folder=folder)
    result = call(server, "score_file", path="films.csv", output="scored.csv", column="review")
    assert result == {
        "model": "tiny",
        "version": "0",
        "risk": 0.02,
        "rows": 3,
        "bad_rows": 1,
        "output": "scored.csv",
    }
    with (folder / "scored.csv").open() as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["positive", "negative", ""]


@pytest.mark.security
@pytest.mark.parametrize(
    ("path", "output", "code"),
    [
        ("../secret.csv", "new.csv", "outside-folder"),
        ("link.csv", "new.csv", "outside-folder"),
        ("/etc/passwd", "new.txt", "outside-folder"),
        ("s3://bucket/films.csv", "new.csv", "no-such-file"),
        ("*.csv", "new.csv", "no-such-file"),
        ("-", "new.csv", "no-such-file"),
        (".", "new.csv", "no-such-file"),
        ("films.csv", "../new.csv", "outside-folder"),
        ("films.csv", "films.csv", "output-exists"),
        ("films.csv", "taken.csv", "output-exists"),
        ("films.csv", "new/", "output-exists"),
        ("films.csv", "", "output-exists"),
        ("films.csv", "no/new.csv", "no-such-folder"),
    ],
)
def test_score_file_stays_in_its_folder(folder: Path, path: str, output: str, code: str) -> None:
    before = {file: file.read_text() for file in folder.iterdir()}
    server = create_server(tiny.classifier(), folder=folder)
    assert f"({code})" in call(server, "score_file", path=path, output=output)
    assert {file: file.read_text() for file in folder.iterdir()} == before
    assert not (folder.parent / "new.csv").exists()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    tiny_network.write(tmp_path / "tiny", "tiny")
    return tmp_path / "tiny"


@pytest.mark.slow
def test_command_serves_standard_input_and_output(model: Path, folder: Path) -> None:
    arguments = ["-m", "reelsense", "mcp", "--model", str(model), "--folder", str(folder)]
    command = mcp.StdioServerParameters(
        command=sys.executable, args=arguments, env=dict(os.environ)
    )
    assert set(tools_of(command)) == {"predict", "explain", "score_file"}
    assert call(command, "predict", texts=["good"])["predictions"][0]["label"] == "positive"


@pytest.mark.slow
def test_command_serves_streamable_http(model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "reelsense", "mcp", "--model", str(model), "--http", str(port)]
    process = subprocess.Popen(command)  # noqa: S603
    try:
        deadline = time.monotonic() + 60
        while not is_listening(port):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        url = f"http://127.0.0.1:{port}/mcp"
        assert set(tools_of(url)) == {"predict", "explain"}
        assert call(url, "predict", texts=["bad"])["predictions"][0]["label"] == "negative"
    finally:
        process.terminate()
        process.wait(20)


def test_command_reports_a_port_in_use(model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = CliRunner().invoke(cli, ["mcp", "--model", str(model), "--http", str(port)])
    assert isinstance(result.exception, ReelsenseError)
    assert result.exception.code == "cannot-listen"


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
