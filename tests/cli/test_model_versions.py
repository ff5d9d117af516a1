"""The commands on a model directory, and a server that follows its champion."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from reelsense.bundle import CARD, Calibration, read_bundle, write_bundle
from reelsense.cli import cli
from reelsense.datasets.feedback import is_held_out
from reelsense.datasets.text_hashes import hash_texts
from reelsense.errors import BundleError, ModelDirectoryError, ReelsenseError, SettingsError
from reelsense.model_directory import ModelDirectory
from reelsense.server.process.run import check_start
from reelsense.server.settings import Settings
from tests import tiny_network
from tests.processes import ask, server
from tests.waiting import wait_until


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelDirectory:
    monkeypatch.setenv("REELSENSE_MODELS", str(tmp_path / "models"))
    return ModelDirectory(tmp_path / "models")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["models", *map(str, arguments)])


def run(*arguments: object) -> Any:
    """Run a command with `--json -`, and return the JSON."""
    result = invoke(*arguments, "--json", "-")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def code(result: Result) -> str:
    assert isinstance(result.exception, ReelsenseError)
    return result.exception.code


def bundle(folder: Path, weight: float = 1.0) -> Path:
    tiny_network.write(folder, "tiny", weight=weight)
    return folder


def test_commands_manage_the_versions_of_a_directory(
    directory: ModelDirectory, tmp_path: Path
) -> None:
    source = bundle(tmp_path / "source")
    version = read_bundle(source).manifest.version
    assert run("add", source, "--challenger") == {"version": version, "aliases": ["challenger"]}
    [entry] = run("list")
    assert entry == {
        "version": version,
        "aliases": ["challenger"],
        "model": "tiny",
        "size": read_bundle(source).size,
        "labels": ["negative", "positive"],
        "test_accuracy": None,
        "folder": str(directory.path / version),
        "error": None,
    }
    directory.promote(version, None, {"forced": False}, accepted=True)
    other = run("add", bundle(tmp_path / "other", weight=2))["version"]
    directory.promote(other, version, {"forced": True}, accepted=True)
    shown = run("show")
    assert (shown["version"], shown["aliases"]) == (other, ["champion"])
    [decision] = shown["decisions"]
    assert (decision["champion"], decision["version"]) == (version, other)
    assert f"promote {version} -> {other}, forced" in invoke("show", other).stdout
    assert run("rollback") == {"champion": version}
    assert run("remove", other) == {"removed": other}
    assert [entry["version"] for entry in run("list")] == [version]
    assert code(invoke("remove", "champion")) == "version-in-use"
    header, row = invoke("list").stdout.splitlines()
    assert header.split() == ["ALIAS", "MODEL", "VERSION", "SIZE", "ACCURACY", "LABELS", "FOLDER"]
    assert row.split()[:3] == ["champion", "tiny", version]


def test_result_is_written_to_a_file(directory: ModelDirectory, tmp_path: Path) -> None:
    result = invoke("add", bundle(tmp_path / "source"), "--json", tmp_path / "result.json")
    version = json.loads((tmp_path / "result.json").read_text())["version"]
    assert result.stdout == f"added {version}\n"


def test_verify_reports_damaged_versions_and_broken_aliases(
    directory: ModelDirectory, tmp_path: Path
) -> None:
    first = directory.add(bundle(tmp_path / "source"), "challenger")
    second = directory.add(bundle(tmp_path / "source", weight=2))
    assert run("verify") == [{"name": first, "error": None}, {"name": second, "error": None}]
    (directory.path / first / CARD).write_text("changed")
    result = invoke("verify", "--json", "-")
    assert result.exit_code == 1
    errors = {entry["name"]: entry["error"] for entry in json.loads(result.stdout)}
    assert CARD in errors[first]
    assert errors[second] is None
    assert invoke("verify", second).exit_code == 0
    (directory.path / first).rename(tmp_path / "gone")
    result = invoke("verify", "--json", "-")
    assert result.exit_code == 1
    assert [e["name"] for e in json.loads(result.stdout) if e["error"]] == ["challenger"]


def test_commands_need_a_directory() -> None:
    for command in (("show",), ("verify",), ("rollback",), ("add", "x"), ("remove", "x")):
        result = invoke(*command)
        assert result.exit_code == 2
        assert "--models" in result.stderr
    assert invoke("list").stdout.startswith("NAME ")


@pytest.mark.parametrize(
    ("settings", "error", "code"),
    [
        ({"model": "default"}, SettingsError, "conflicting-settings"),
        ({"models": "nowhere"}, ModelDirectoryError, "no-model-directory"),
        ({}, ModelDirectoryError, "no-champion"),
        ({"models": "", "shadow": "nosuch"}, BundleError, "no-such-model"),
    ],
)
def test_server_needs_a_champion(
    directory: ModelDirectory,
    tmp_path: Path,
    settings: dict[str, str],
    error: type[ReelsenseError],
    code: str,
) -> None:
    directory.add(bundle(tmp_path / "source"), "challenger")
    with pytest.raises(error) as raised:
        check_start(Settings.model_validate({"models": str(directory.path)} | settings))
    assert raised.value.code == code


@pytest.mark.slow
def test_server_follows_the_champion_without_failed_requests(
    directory: ModelDirectory, tmp_path: Path
) -> None:
    first = directory.add(bundle(tmp_path / "source"))
    second = directory.add(bundle(tmp_path / "source", weight=-1))
    directory.promote(first, None, {}, accepted=True)
    answers: list[tuple[int, str, str]] = []
    ended = threading.Event()

    def send(address: str) -> None:
        while not ended.is_set():
            answer = ask(f"{address}/v1/predict", {"text": "good"})
            label = answer.body["predictions"][0]["label"]
            answers.append((answer.status, answer.body["model"]["version"], label))

    with server("--models", str(directory.path), "--workers", "2") as (address, _):
        client = threading.Thread(target=send, args=[address])
        client.start()
        try:
            wait_until(lambda: answers)
            directory.promote(second, first, {}, accepted=True)
            wait_until(lambda: {version for _, version, _ in answers[-20:]} == {second}, 30)
            assert run("rollback") == {"champion": first}
            wait_until(lambda: {version for _, version, _ in answers[-20:]} == {first}, 30)
        finally:
            ended.set()
            client.join()
    assert set(answers) == {(200, first, "positive"), (200, second, "negative")}


LABELS = ("bad", "good")  # not those of sentiment, which add thousands of generated sentences


def films(path: Path, count: int = 60) -> Path:
    rows = [f"a {word} film {n},{word}" for n in range(count // 2) for word in LABELS]
    path.write_text("\n".join(["text,label", *rows]))
    return path


@pytest.fixture
def pair(directory: ModelDirectory, tmp_path: Path) -> tuple[str, str]:
    """The versions of a champion, and of a challenger that takes good words for bad ones."""
    source = tmp_path / "source"
    tiny_network.write(source, "tiny", labels=LABELS)
    champion = directory.add(source)
    directory.promote(champion, None, {}, accepted=True)
    tiny_network.write(source, "tiny", labels=LABELS, weight=-1)
    return champion, directory.add(source, "challenger")


def test_promote_rejects_a_regression_and_records_it(
    directory: ModelDirectory, pair: tuple[str, str], tmp_path: Path
) -> None:
    champion, challenger = pair
    result = invoke("promote", "--data", films(tmp_path / "films.csv"), "--json", "-")
    assert result.exit_code == 1
    assert code(result) == "regression"
    rejected = json.loads(result.stdout)
    assert {key: rejected[key] for key in ("accepted", "champion", "version", "forced")} == {
        "accepted": False, "champion": champion, "version": challenger, "forced": False
    }  # fmt: skip
    assert rejected["rejected_by"] == ["films.csv: correct labels"]
    [check] = [c for c in rejected["checks"] if c["name"] == "films.csv: correct labels"]
    assert (check["champion"], check["challenger"], check["outcome"]) == (1, 0, "regressed")
    assert check["regressed"][0]["text"] == "a bad film 0"
    assert directory.aliases() == {"champion": champion, "challenger": challenger}
    recorded = directory.decisions()[-1]
    assert (recorded["accepted"], recorded["rejected_by"]) == (False, rejected["rejected_by"])
    assert recorded["checks"][0]["p_value"] == check["p_value"]
    assert "a bad film" not in json.dumps(recorded)


def test_promote_prints_figures_and_examples(pair: tuple[str, str], tmp_path: Path) -> None:
    result = invoke("promote", "--data", films(tmp_path / "films.csv"))
    row = next(line for line in result.stdout.splitlines() if line.startswith("films.csv: corr"))
    assert row.split()[3:] == ["60", "100.0%", "0.0%", "-100.0%", "(-100.0%", "to", "-100.0%)", "0.000", "regressed"]  # fmt: skip  # noqa: E501
    assert "films.csv: correct labels: 0 better, 60 worse\n" in result.stdout
    assert "  worse: bad 88% -> good 88%: a bad film 0\n" in result.stdout
    assert f"rejected: {pair[1]}\n" in result.stdout


def test_promote_with_force_records_that(
    directory: ModelDirectory, pair: tuple[str, str], tmp_path: Path
) -> None:
    champion, challenger = pair
    promoted = run("promote", "--data", films(tmp_path / "films.csv"), "--force")
    assert (promoted["accepted"], promoted["forced"]) == (True, True)
    assert promoted["rejected_by"] == ["films.csv: correct labels"]
    assert directory.aliases() == {"champion": challenger}
    assert directory.decisions()[-1]["forced"] is True
    assert run("rollback") == {"champion": champion}
    assert run("promote", challenger, "--force")["checks"] == []


def test_promote_accepts_an_improvement(
    directory: ModelDirectory, pair: tuple[str, str], tmp_path: Path
) -> None:
    champion, challenger = pair
    data = films(tmp_path / "films.csv")
    directory.promote(challenger, champion, {"forced": True}, accepted=True)
    sets = ("--data", data, "--data", films(tmp_path / "more.csv"))
    # A typo hides the only word that this network reads.
    assert code(invoke("promote", champion, *sets)) == "regression"
    promoted = run("promote", champion, *sets, "--robustness-margin", "0.5")
    assert (promoted["accepted"], promoted["forced"]) == (True, False)
    outcomes = {check["name"]: check["outcome"] for check in promoted["checks"]}
    assert outcomes["films.csv: correct labels"] == "improved"
    assert outcomes["more.csv: correct labels"] == "improved"
    assert directory.aliases() == {"champion": champion}


def test_promote_uses_held_out_feedback_only(pair: tuple[str, str], tmp_path: Path) -> None:
    rows = [{"text": f"a good film {n}", "label": "good"} for n in range(200)]
    feedback = tmp_path / "feedback.jsonl"
    feedback.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = invoke("promote", "--feedback", feedback, "--json", "-")
    [check] = [c for c in json.loads(result.stdout)["checks"] if c["name"].endswith("t labels")]
    held_out = sum(is_held_out(row["text"]) for row in rows)
    assert (check["name"], check["texts"]) == ("held-out feedback: correct labels", held_out)
    assert 0 < held_out < 100
    assert code(result) == "regression"


def test_promote_skips_feedback_without_held_out_texts(
    pair: tuple[str, str], tmp_path: Path
) -> None:
    text = next(f"a good film {n}" for n in range(100) if not is_held_out(f"a good film {n}"))
    feedback = tmp_path / "feedback.jsonl"
    feedback.write_text(json.dumps({"text": text, "label": "good"}) + "\n")
    result = invoke("promote", "--feedback", feedback)
    assert code(result) == "no-unseen-texts"
    assert "no held-out text" in str(result.exception)
    result = invoke("promote", "--feedback", feedback, "--data", films(tmp_path / "films.csv"))
    assert code(result) == "regression"
    assert "no held-out text" in result.stderr


def test_promote_is_inconclusive_on_few_texts(pair: tuple[str, str], tmp_path: Path) -> None:
    data = films(tmp_path / "films.csv", count=4)
    result = invoke("promote", "--data", data, "--strict")
    assert code(result) == "inconclusive"
    assert run("promote", "--data", data)["accepted"]


def test_promote_leaves_out_training_texts(
    directory: ModelDirectory, pair: tuple[str, str], tmp_path: Path
) -> None:
    data = films(tmp_path / "films.csv")
    base = replace(
        read_bundle(directory.path / "challenger"),
        training_texts=hash_texts(f"a {word} film {n}" for n in range(20) for word in LABELS),
    )
    manifest = replace(base.manifest, name="trained", calibration=Calibration(temperature=3))
    write_bundle(tmp_path / "trained", replace(base, manifest=manifest))
    run("add", tmp_path / "trained", "--challenger")
    result = invoke("promote", "--data", data, "--json", "-")
    assert {check["texts"] for check in json.loads(result.stdout)["checks"]} <= {20, 19}
    assert "40 of 60 texts left out" in result.stderr
    result = invoke("promote", "--data", films(tmp_path / "few.csv", count=10))
    assert code(result) == "no-unseen-texts"


def test_promote_needs_data_and_another_version(pair: tuple[str, str]) -> None:
    result = invoke("promote")
    assert result.exit_code == 2
    assert "--data" in result.stderr
    assert code(invoke("promote", "champion", "--force")) == "is-champion"
    assert code(invoke("promote", "0123456789ab")) == "no-such-version"


def test_promote_rejects_other_labels(
    directory: ModelDirectory, pair: tuple[str, str], tmp_path: Path
) -> None:
    run("add", bundle(tmp_path / "other"), "--challenger")
    result = invoke("promote", "--data", films(tmp_path / "films.csv"), "--force")
    assert code(result) == "labels-differ"


def test_first_champion_is_not_compared(directory: ModelDirectory, tmp_path: Path) -> None:
    version = directory.add(bundle(tmp_path / "source"), "challenger")
    promoted = run("promote")
    assert (promoted["accepted"], promoted["champion"], promoted["checks"]) == (True, None, [])
    assert directory.aliases() == {"champion": version}
