import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from reelsense.cli import cli
from reelsense.server.settings import GROUPS, Settings, flag, variable


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    found: list[Settings] = []
    monkeypatch.setattr("reelsense.server.process.run.run", found.append)
    return found


def test_help_shows_every_flag_with_its_variable_and_default() -> None:
    for command in ("serve", "config"):
        shown = " ".join(CliRunner().invoke(cli, [command, "--help"]).output.split())
        for name, field in Settings.model_fields.items():
            default = "none" if field.default in (None, "") else str(field.default)
            default = default.lower() if field.default is False else default
            assert f"{flag(name)} " in shown
            assert f"{' '.join(str(field.description).split())} " in shown
            assert f" [env var: {variable(name)}; default: {default}]" in shown
        assert "[env var: REELSENSE_CONFIG]" in shown


def test_settings_reach_the_server(served: list[Settings], tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("cache_size = 0\nmax_texts = 8\n")
    asked = ["serve", "--port", "5051", "--max-texts", "9", "--config", str(tmp_path / "a.toml")]
    found = CliRunner().invoke(cli, asked, env={"REELSENSE_HOST": "0.0.0.0"})  # noqa: S104
    assert found.exit_code == 0, found.output
    assert served == [Settings(host="0.0.0.0", port=5051, cache_size=0, max_texts=9)]  # noqa: S104


def test_a_wrong_setting_is_one_line_and_nothing_is_served(served: list[Settings]) -> None:
    command = [sys.executable, "-m", "reelsense", "serve", "--port", "many"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    assert found.returncode == 1
    assert found.stdout == ""
    assert found.stderr.startswith("reelsense: --port: ")
    assert found.stderr.count("\n") == 1
    assert served == []


def test_config_shows_what_serve_would_run_with(tmp_path: Path) -> None:
    shown = (
        CliRunner()
        .invoke(cli, ["config", "--deadline", "2.5"], env={"REELSENSE_PORT": "5050"})
        .output
    )
    lines = [line.split() for line in shown.splitlines()]
    assert ["port", "=", "5050", "#", "REELSENSE_PORT"] in lines
    assert ["deadline", "=", "2.5", "#", "--deadline"] in lines
    assert ["#", "model:", "not", "set", "#", "default"] in lines
    file = tmp_path / "saved.toml"
    file.write_text(shown)
    again = CliRunner().invoke(cli, ["config", "--config", str(file)]).output
    assert [line.split("  ")[0] for line in again.splitlines()] == [
        line.split("  ")[0] for line in shown.splitlines()
    ]


def test_help_has_headings() -> None:
    shown = CliRunner().invoke(cli, ["serve", "--help"]).output
    for heading in (*GROUPS, "Cluster", "Options"):
        assert f"\n{heading}:\n" in shown
    assert "\nCluster:\n" not in CliRunner().invoke(cli, ["config", "--help"]).output


def test_no_description_is_cut() -> None:
    assert "..." not in CliRunner().invoke(cli, ["--help"]).output.split("Commands:")[1]


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--host", "0.0.0.0"], "the server on 0.0.0.0 would be open"),  # noqa: S104
        (["--host", "nohost.invalid"], "unknown host"),
        (["--model", "nosuch"], 'there is no model "nosuch"'),
        (["--model", "./nosuch"], "nosuch is not a folder"),
        (["--model", "nosuch", "--keys-file", "nosuch"], "cannot read the keys in nosuch"),
        (["--database", "nosuch://host"], "unsupported database 'nosuch'"),
        (["--database", "sqlite:////nosuch/jobs.db"], "folder /nosuch does not exist"),
    ],
)
def test_config_says_why_serve_would_not_start(flags: list[str], reason: str) -> None:
    found = CliRunner().invoke(cli, ["config", *flags])
    assert found.exit_code == 1
    assert found.stderr.startswith("the server would not start: ")
    assert reason in found.stderr
    assert found.stderr.count("\n") == 1
    assert found.stdout.startswith("host = ")


def test_config_opens_no_database(tmp_path: Path) -> None:
    asked = ["config", "--database", f"sqlite:///{tmp_path / 'jobs.db'}"]
    assert CliRunner().invoke(cli, asked).exit_code == 0
    assert list(tmp_path.iterdir()) == []


def test_a_key_goes_to_no_folder_that_is_not_there(tmp_path: Path) -> None:
    found = CliRunner().invoke(cli, ["key", "x", "--keys-file", str(tmp_path / "typo" / "keys")])
    assert "does not exist" in str(found.exception)
    assert list(tmp_path.iterdir()) == []


def test_other_commands_do_without_the_server() -> None:
    program = """
import sys
from click.testing import CliRunner
from reelsense.cli import cli
assert CliRunner().invoke(cli, ["--help"]).exit_code == 0
assert CliRunner().invoke(cli, ["predict", "--help"]).exit_code == 0
print(sorted({"pydantic", "flask", "openvino"} & set(sys.modules)))
assert CliRunner().invoke(cli, ["serve", "--help"]).exit_code == 0
print(sorted({"pydantic", "flask", "openvino"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    assert found.stdout == "[]\n['pydantic']\n"


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (["--replicas", "2"], "--replicas requires --cluster ray"),
        (["--address", "auto"], "--address requires --cluster ray"),
        (["--cores-per-replica", "2"], "--cores-per-replica requires --cluster ray"),
        (["--cluster", "ray", "--workers", "2"], "--workers cannot be combined"),
        (["--cluster", "ray", "--replicas", "3-2"], 'invalid value "3-2"'),
        (["--cluster", "ray", "--replicas", "0"], 'invalid value "0"'),
        (["--cluster", "ray", "--replicas", "few"], 'invalid value "few"'),
    ],
)
def test_what_fits_a_cluster(served: list[Settings], flags: list[str], fault: str) -> None:
    found = CliRunner().invoke(cli, ["serve", *flags])
    assert fault in str(found.exception)
    assert served == []


def test_a_cluster_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    pytest.importorskip("a2wsgi")
    found: list[object] = []
    monkeypatch.setattr("reelsense.cluster.serving.run", lambda *given: found.extend(given))
    asked = ["serve", "--cluster", "ray", "--address", "head", "--replicas", "2-8"]
    assert CliRunner().invoke(cli, [*asked, "--port", "5051"]).exit_code == 0
    from reelsense.cluster.serving import Plan

    assert found == [Settings(port=5051), Plan("head", (2, 8), None)]


def test_ray_is_for_clusters_alone() -> None:
    code = (
        "import sys; from reelsense.server.process.run import run; from reelsense.cli import cli; "
        "cli(['serve', '--help'], standalone_mode=False); "
        "sys.exit('ray' in sys.modules or 'a2wsgi' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, capture_output=True, timeout=60)  # noqa: S603
