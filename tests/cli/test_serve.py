import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from reelsense.cli import cli
from reelsense.errors import SettingsError
from reelsense.server.settings import GROUPS, Settings, flag, variable


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings of the servers that are started; nothing is started."""
    settings: list[Settings] = []
    monkeypatch.setattr("reelsense.server.process.run.run", settings.append)
    return settings


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


def test_serve_merges_flags_environment_and_file(served: list[Settings], tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("cache_size = 0\nmax_texts = 8\n")
    command = ["serve", "--port", "5051", "--max-texts", "9", "--config", str(tmp_path / "a.toml")]
    result = CliRunner().invoke(cli, command, env={"REELSENSE_HOST": "0.0.0.0"})  # noqa: S104
    assert result.exit_code == 0, result.output
    assert served == [Settings(host="0.0.0.0", port=5051, cache_size=0, max_texts=9)]  # noqa: S104


def test_serve_reports_invalid_setting_in_one_line(served: list[Settings]) -> None:
    command = [sys.executable, "-m", "reelsense", "serve", "--port", "many"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("reelsense: --port: ")
    assert result.stderr.count("\n") == 1
    assert served == []


def test_config_shows_settings_with_their_origins(tmp_path: Path) -> None:
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


def test_help_groups_flags_under_headings() -> None:
    shown = CliRunner().invoke(cli, ["serve", "--help"]).output
    for heading in (*GROUPS, "Cluster", "Options"):
        assert f"\n{heading}:\n" in shown
    assert "\nCluster:\n" not in CliRunner().invoke(cli, ["config", "--help"]).output


def test_list_of_commands_truncates_no_description() -> None:
    assert "..." not in CliRunner().invoke(cli, ["--help"]).output.split("Commands:")[1]


@pytest.mark.parametrize(
    "flags",
    [
        ["--host", "0.0.0.0"],  # noqa: S104
        ["--host", "nohost.invalid"],
        ["--host", "[::1]:5000"],
        ["--host", "unix:/run/x", "--trusted-proxies", "1"],
        ["--model", "nosuch"],
        ["--model", "./nosuch"],
        ["--model", "nosuch", "--keys-file", "nosuch"],
        ["--database", "nosuch://host"],
        ["--database", "sqlite:////nosuch/jobs.db"],
    ],
)
def test_config_reports_why_serve_would_not_start(flags: list[str]) -> None:
    result = CliRunner().invoke(cli, ["config", *flags])
    assert result.exit_code == 1
    assert result.stderr.startswith("the server would not start: ")
    assert (
        flags[1].strip("[]") in result.stderr
        or "nosuch" in result.stderr
        or "proxy" in result.stderr
    )
    assert result.stderr.count("\n") == 1
    assert result.stdout.startswith("host = ")


def test_config_does_not_create_a_database(tmp_path: Path) -> None:
    command = ["config", "--database", f"sqlite:///{tmp_path / 'jobs.db'}"]
    assert CliRunner().invoke(cli, command).exit_code == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "code"),
    [([], 0), (["--keep-predictions", "unsure"], 1), (["--max-jobs", "1"], 1)],
)
def test_config_checks_database_that_the_server_needs(options: list[str], code: int) -> None:
    command = ["config", "--max-jobs", "0", "--database", "nosuch://host", *options]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == code
    assert ("unsupported database 'nosuch'" in result.stderr) == bool(code)


def test_key_does_not_create_folders(tmp_path: Path) -> None:
    file = tmp_path / "typo" / "keys"
    result = CliRunner().invoke(cli, ["key", "x", "--keys-file", str(file)])
    assert isinstance(result.exception, SettingsError)
    assert list(tmp_path.iterdir()) == []


def test_other_commands_do_not_import_the_server() -> None:
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
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    assert result.stdout == "[]\n['pydantic']\n"


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (["--replicas", "2"], "conflicting-settings"),
        (["--address", "auto"], "conflicting-settings"),
        (["--cores-per-replica", "2"], "conflicting-settings"),
        (["--cluster", "ray", "--workers", "2"], "conflicting-settings"),
        (["--cluster", "ray", "--shadow", "challenger"], "conflicting-settings"),
        (["--cluster", "ray", "--replicas", "3-2"], "invalid-setting"),
        (["--cluster", "ray", "--replicas", "0"], "invalid-setting"),
        (["--cluster", "ray", "--replicas", "few"], "invalid-setting"),
    ],
)
def test_serve_rejects_cluster_flags(served: list[Settings], flags: list[str], code: str) -> None:
    error = CliRunner().invoke(cli, ["serve", *flags]).exception
    assert isinstance(error, SettingsError)
    assert error.code == code
    assert served == []


def test_serve_passes_plan_to_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    pytest.importorskip("a2wsgi")
    arguments: list[object] = []
    monkeypatch.setattr("reelsense.cluster.serving.run", lambda *args: arguments.extend(args))
    command = ["serve", "--cluster", "ray", "--address", "head", "--replicas", "2-8"]
    assert CliRunner().invoke(cli, [*command, "--port", "5051"]).exit_code == 0
    from reelsense.cluster.serving import Plan

    assert arguments == [Settings(port=5051), Plan("head", (2, 8), None)]


def test_serve_without_cluster_does_not_import_ray() -> None:
    code = (
        "import sys; from reelsense.server.process.run import run; from reelsense.cli import cli; "
        "cli(['serve', '--help'], standalone_mode=False); "
        "sys.exit('ray' in sys.modules or 'a2wsgi' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, capture_output=True, timeout=60)  # noqa: S603
