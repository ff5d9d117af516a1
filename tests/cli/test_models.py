import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from reelsense.bundle import DEFAULT_BUNDLE, NETWORK, read_bundle, write_bundle
from reelsense.cli import cli
from tests import installed, tiny_network

KEYS = ["name", "model", "version", "size", "labels", "test_accuracy", "folder", "error"]


@pytest.fixture
def accurate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the accurate model, installed. It takes good words for bad ones."""
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.chdir(tmp_path)
    folder = installed.install(tmp_path / "site")
    tiny_network.write(folder, "stand-in", weight=-1)
    return folder


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_models_lists_installed_models(accurate: Path) -> None:
    measured = read_bundle(accurate)
    manifest = replace(measured.manifest, metrics={"test": {"accuracy": 0.9612, "reviews": 25000}})
    version = write_bundle(accurate, replace(measured, manifest=manifest)).version
    default, listed = json.loads(run("models", "--json"))
    assert list(default) == list(listed) == KEYS
    assert (default["name"], default["folder"]) == ("default", str(DEFAULT_BUNDLE))
    assert listed == {
        "name": "accurate",
        "model": "stand-in",
        "version": version,
        "size": measured.size,
        "labels": ["negative", "positive"],
        "test_accuracy": 0.9612,
        "folder": str(accurate),
        "error": None,
    }
    header, first, second = run("models").splitlines()
    assert header.split() == ["NAME", "MODEL", "VERSION", "SIZE", "ACCURACY", "LABELS", "FOLDER"]
    assert first.startswith("default ")
    assert [*second.split()[:3], second.split()[-1]] == [
        "accurate", "stand-in", version, str(accurate)
    ]  # fmt: skip
    assert "96.12%" in second


@pytest.mark.parametrize("metrics", [{"test": 0.9}, {"test": {"accuracy": "high"}}, {}])
def test_models_accepts_any_metrics(accurate: Path, metrics: Any) -> None:
    model = read_bundle(accurate)
    write_bundle(accurate, replace(model, manifest=replace(model.manifest, metrics=metrics)))
    assert json.loads(run("models", "--json"))[1]["test_accuracy"] is None
    assert " - " in run("models").splitlines()[2]


def test_models_lists_damaged_model_with_its_error(accurate: Path) -> None:
    (accurate / NETWORK).write_bytes(b"damaged")
    default, damaged = json.loads(run("models", "--json"))
    assert not default["error"]
    assert (damaged["version"], damaged["labels"]) == (None, [])
    assert NETWORK in damaged["error"]
    shown = run("models")
    assert shown.splitlines()[1].startswith("default ")
    assert damaged["error"] in shown


@pytest.mark.parametrize("model", ["accurate", "./site/reelsense_accurate/bundle"])
def test_predict_accepts_name_or_folder(accurate: Path, model: str) -> None:
    assert run("predict", "--model", model, "a good film").startswith("negative")
    assert run("explain", "--model", model, "a good film").startswith("negative")
    assert run("predict", "--model", "default", "a good film").startswith("positive")


def test_evaluate_accepts_names(accurate: Path, tmp_path: Path) -> None:
    table = tmp_path / "films.csv"
    rows = [f"{word} film {n},{word}" for n in range(20) for word in ("good", "bad")]
    text = "text,label\n" + "\n".join(rows).replace(",good", ",positive").replace(
        ",bad", ",negative"
    )
    table.write_text(text)
    data = ("--data", table)
    metrics = tmp_path / "metrics.json"
    compare = ("--compare-to", "default", "--quick", "--json", metrics)
    run("evaluate", *data, "--model", "accurate", *compare)
    evaluation = json.loads(metrics.read_text())
    assert evaluation["model"] == "stand-in"
    assert evaluation["evaluation"]["metrics"]["accuracy"] == 0
    assert evaluation["evaluation"]["comparison"]["name"].startswith(
        read_bundle(DEFAULT_BUNDLE).manifest.name
    )


def test_config_rejects_unknown_model(accurate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELSENSE_MODEL", "accurate")
    assert 'model = "accurate"' in run("config")
    result = CliRunner().invoke(cli, ["config", "--model", "accurat"])
    assert result.exit_code == 1
    assert "(default, accurate)" in result.stderr
