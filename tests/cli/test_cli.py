import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from reelsense import Classifier, __version__
from reelsense.cli import cli
from reelsense.errors import DatasetError, InputError
from tests import any_labels, tiny


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setattr(Classifier, "load", lambda _path: tiny.classifier())
    return CliRunner()


def test_predict_prints_one_line_for_a_text(runner: CliRunner) -> None:
    result = runner.invoke(cli, ["predict", "a good film"])
    assert result.output == "positive  88.0%\n"


def test_predict_applies_risk(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Classifier, "load", lambda _path: tiny.cautious_classifier())
    assert runner.invoke(cli, ["predict", "good film"]).output == "unsure  (positive 88.0%)\n"
    assert runner.invoke(cli, ["predict", "good film", "--risk", "0.1"]).output == (
        "positive  88.0%\n"
    )
    result = runner.invoke(cli, ["predict", "good good film", "--risk", "0.01"])
    assert result.stdout == "unsure  (positive 98.2%)\n"
    assert result.stderr == (
        "warning: Every verdict is unsure: on its validation data, the model cannot meet a target "
        "error rate of 1 %. The lowest rate that it can meet is 2 %. Choose another rate with "
        "--risk.\n"
    )
    table = runner.invoke(cli, ["predict", "-"], input="good film\ngreat good film\n").stdout
    assert [line.split(",")[4] for line in table.splitlines()] == ["verdict", "unsure", "positive"]


@pytest.mark.parametrize(
    ("risk", "verdicts"),
    [
        ("0.02", "every verdict in length group sentence is unsure"),
        ("0.01", "Every verdict is unsure"),
        ("0.1", ""),
    ],
)
def test_predict_warns_of_length_groups_that_cannot_meet_the_risk(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch, risk: str, verdicts: str
) -> None:
    monkeypatch.setattr(Classifier, "load", lambda _path: tiny.grouped_classifier())
    result = runner.invoke(cli, ["predict", "good film", "--risk", risk])
    assert result.exit_code == 0
    assert verdicts in result.stderr
    assert bool(result.stderr) == bool(verdicts)


def test_commands_use_the_labels_of_the_model(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classifier, "load", lambda _path: Classifier(any_labels.bundle()))
    assert runner.invoke(cli, ["predict", "a crash and an error"]).output == "bug  96.4%\n"
    text = runner.invoke(
        cli, ["explain", "It is broken. Thanks. Send the invoice, a refund."]
    ).output
    assert "log-odds of billing" in text
    table = runner.invoke(cli, ["predict", "-"], input="thanks\n").stdout
    assert table.splitlines()[0].split(",")[1:] == ["label", "score", "verdict", "error"]
    assert not re.search("positive|negative|stars", text + table)


def test_predict_exits_with_1_if_no_row_is_scored(runner: CliRunner, tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_bytes(b"caf\xe9\n")
    result = runner.invoke(cli, ["predict", "--input", str(source)])
    assert result.exit_code == 1
    assert "no row could be scored" in result.stderr
    result = runner.invoke(cli, ["predict", "--input", str(source), "--encoding", "latin-1"])
    assert result.exit_code == 0
    result = runner.invoke(cli, ["predict", "--input", str(source), "--encoding", "klingon"])
    assert isinstance(result.exception, DatasetError)
    assert result.exception.code == "unknown-encoding"


def test_predict_requires_text_or_input(runner: CliRunner) -> None:
    assert runner.invoke(cli, ["predict"]).exit_code == 2
    assert runner.invoke(cli, ["predict", "text", "--input", "a.txt"]).exit_code == 2


@pytest.mark.parametrize("command", [["predict"], ["explain"], ["explain", "--json"]])
@pytest.mark.parametrize(
    "text", ["-1 stars. Awful.", "-1", "-awful", "-h as in horrible", "--great movie", "-it's bad"]
)
def test_error_for_text_with_dash_suggests_double_dash(
    runner: CliRunner, command: list[str], text: str
) -> None:
    result = runner.invoke(cli, [*command, text], prog_name="reelsense")
    assert result.exit_code == 2
    suggestion = result.stderr.partition("put -- before it: ")[2]
    assert shlex.split(suggestion) == ["reelsense", command[0], "--", text]
    assert runner.invoke(cli, [*command, "--", text]).exit_code == 0


def test_error_for_mistyped_option_suggests_no_text(runner: CliRunner) -> None:
    result = runner.invoke(cli, ["predict", "--exlain", "good"])
    assert result.exit_code == 2
    assert "'--explain'" in result.stderr
    assert "put --" not in result.stderr


def test_evaluate_writes_metrics_of_a_table(
    monkeypatch: pytest.MonkeyPatch, runner: CliRunner, tmp_path: Path
) -> None:
    words = {"negative": ["bad"], "positive": ["good", "great"]}
    bundle = any_labels.bundle(words, name="tiny")
    monkeypatch.setattr("reelsense.bundle.read_bundle", lambda _folder: bundle)
    data, metrics = tmp_path / "mine.csv", tmp_path / "metrics.json"
    data.write_text("text,label\ngood film,positive\nbad film,negative\ngreat,negative\n")
    result = runner.invoke(cli, ["evaluate", "--data", str(data), "--json", str(metrics)])
    assert result.exit_code == 0, result.output
    assert "66.67%" in result.output
    written = json.loads(metrics.read_text())
    assert written["evaluation"]["metrics"]["accuracy"] == pytest.approx(2 / 3)
    assert (written["model"], written["version"]) == ("tiny", "0")
    assert written["evaluation"]["metrics"]["confusion"] == [[1, 1], [0, 1]]


def test_every_command_has_help(runner: CliRunner) -> None:
    for name in cli.commands:
        result = runner.invoke(cli, [name, "--help"])
        assert result.exit_code == 0
        assert len(result.output.splitlines()) > 3
    assert __version__ in runner.invoke(cli, ["--version"]).output


def test_errors_are_one_line_with_exit_code_1(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "reelsense", "predict", "--model", str(tmp_path / "x"), "hi"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    assert result.returncode == 1
    assert (
        result.stderr
        == f"reelsense: {tmp_path}/x does not exist: expected the folder of a bundle\n"
    )


def test_fetch_uses_an_unpacked_copy(runner: CliRunner, tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / "aclImdb" / part).mkdir(parents=True)
    result = runner.invoke(cli, ["data", "fetch", "imdb", "--from", str(tmp_path)])
    assert result.output == f"imdb is ready: --data {tmp_path / 'aclImdb'}\n"


def test_baseline_prints_validation_accuracy(runner: CliRunner, tmp_path: Path) -> None:
    data = tmp_path / "mine.jsonl"
    lines = [
        json.dumps({"text": f"{word} film number {n}", "label": label})
        for n in range(60)
        for word, label in (("good", "positive"), ("bad", "negative"))
    ]
    data.write_text("\n".join(lines))
    result = runner.invoke(cli, ["baseline", "--data", str(data)])
    assert result.exit_code == 0, result.output
    assert "validation accuracy 100.00%" in result.output
    result = runner.invoke(cli, ["baseline", "--data", str(data), "--test"])
    assert isinstance(result.exception, DatasetError)


def test_predict_rejects_output_for_one_text(runner: CliRunner) -> None:
    result = runner.invoke(cli, ["predict", "good", "--output", "x.csv"])
    assert result.exit_code == 2
    assert "--output requires --input" in result.output


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["good", "--cluster", "ray"], "require --input"),
        (["--input", "a.txt", "--address", "head"], "require --cluster ray"),
        (["--input", "a.txt", "--cores-per-actor", "2"], "require --cluster ray"),
        (["good film", "--encoding", "utf-16"], "require --input"),
        (["good film", "--column", "text"], "require --input"),
        (["good film", "--format", "csv"], "require --input"),
        (["-", "--column", "text"], "add --input-format"),
        (["--input", "-", "--column", "text"], "add --input-format"),
        (["--input", "a.csv", "--input", "b.csv"], "--input can be given once"),
        (["--input", "a.csv", "--output", "-"], "omit --output"),
        (["--input", "a.txt", "--cluster", "spark"], "'ray'"),
        (["--input", "a.txt", "--shard-rows", "0"], "--shard-rows"),
    ],
)
def test_predict_rejects_conflicting_options(
    runner: CliRunner, arguments: list[str], option: str
) -> None:
    result = runner.invoke(cli, ["predict", *arguments])
    assert result.exit_code == 2
    assert option in result.output


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--input", "-", "--output", "out/"], "pipe-to-folder"),
        (["--input", "in.txt", "--format", "pdf"], "unknown-format"),
        (["--input", "in.txt", "--format", "parquet"], "parquet-stream"),
        (["--input", "in.txt", "--cluster", "ray"], "stream-on-cluster"),
    ],
)
def test_predict_rejects_conflicting_files(
    runner: CliRunner,
    arguments: list[str],
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.txt").write_text("good\n")
    error = runner.invoke(cli, ["predict", *arguments]).exception
    assert isinstance(error, DatasetError)
    assert error.code == code


def test_predict_suggests_input_for_text_that_is_a_file(
    runner: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good film.csv").write_text("text\ngood\n")
    result = runner.invoke(cli, ["predict", "good film.csv"])
    assert result.exit_code == 2
    assert "is a file: use --input 'good film.csv'" in result.stderr
    assert result.stdout == ""
    assert runner.invoke(cli, ["predict", "good film " * 1000]).exit_code == 0


def test_predict_rejects_blank_text(runner: CliRunner) -> None:
    error = runner.invoke(cli, ["predict", "  "]).exception
    assert isinstance(error, InputError)
    assert error.code == "blank"


def test_missing_output_folder_is_an_error_of_one_line(tmp_path: Path) -> None:
    output = tmp_path / "nothing" / "x.csv"
    source = tmp_path / "in.txt"
    source.write_text("A fine film.")
    command = [sys.executable, "-m", "reelsense", "predict"]
    command += ["--input", str(source), "--output", str(output)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert f"folder {output.parent} does not exist" in result.stderr
    evaluation = CliRunner().invoke(cli, ["evaluate", "--data", str(source), "--json", str(output)])
    assert evaluation.exit_code == 2


def test_fetch_evaluation_sets(
    runner: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib
    from http.server import BaseHTTPRequestHandler

    from reelsense.datasets.fetch import EVALUATION_SETS, Archive
    from tests.local_server import serving

    def echo_path(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(request.path.encode())

    with serving(echo_path) as address:
        for path in EVALUATION_SETS:
            digest = hashlib.md5(f"/{path}".encode(), usedforsecurity=False).hexdigest()
            file = Archive(f"{address}/{path}", len(path) + 1, digest)
            monkeypatch.setitem(EVALUATION_SETS, path, file)
        result = runner.invoke(cli, ["data", "fetch", "evaluation-sets", "--output", str(tmp_path)])
    folder = tmp_path / "evaluation-sets"
    assert result.exit_code == 0, result.output
    ready = f"evaluation-sets are ready: --evaluation-sets {folder}"
    assert result.stdout.splitlines()[-1] == ready
    assert {path: (folder / path).read_text() for path in EVALUATION_SETS} == {
        path: f"/{path}" for path in EVALUATION_SETS
    }


def test_predict_prints_stars(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Classifier, "load", lambda _path: tiny.star_classifier())
    assert (
        runner.invoke(cli, ["predict", "a good film"]).output
        == "positive  88.0%  8.0 of 10 stars\n"
    )
    table = runner.invoke(cli, ["predict", "-"], input="good film\n").stdout
    assert table.startswith("text,label,score,positive,verdict,stars,error\n")


def test_explain_prints_sentences_words_and_counterfactual(runner: CliRunner) -> None:
    result = runner.invoke(cli, ["explain", "A good, good film.<br />Was \x1b[2J bad."])
    assert result.exit_code == 0, result.output
    assert result.output == (
        "positive  88.0%\n"
        "\n"
        "Contribution of each sentence to the log-odds of positive:\n"
        " +4.00 \u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588 A good, good film.\n"
        " -2.00 \u2588\u2588\u2588\u2588     Was  [2J bad.\n"
        "\n"
        "Words with the most weight in the strongest sentence: good +2.00, good +2.00\n"
        "\n"
        "Without this sentence: negative  88.0%\n"
        "  - A good, good film.\n"
    )
    assert runner.invoke(cli, ["predict", "--explain", "good film"]).output.endswith(
        "(5 forward passes, budget 200).\n"
    )


def test_explain_prints_aspects(runner: CliRunner) -> None:
    result = runner.invoke(cli, ["explain", "--aspects", "The music is good. The plot was bad."])
    assert result.output.endswith(
        "\n"
        "Aspects, each with the verdict for its clause alone:\n"
        "  music      positive  The music is good\n"
        "  story      negative  The plot was bad\n"
    )
    nothing = runner.invoke(cli, ["explain", "--aspects", "good"])
    assert nothing.output.endswith("\nNo clause judges an aspect of the film.\n")
    as_json = runner.invoke(cli, ["explain", "--json", "--aspects", "The music is good."])
    [mention] = json.loads(as_json.output)["aspects"]
    assert (mention["aspect"], mention["text"]) == ("music", "The music is good")
    assert "aspects" not in json.loads(runner.invoke(cli, ["explain", "--json", "good"]).output)


def test_explain_respects_no_color(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["explain", "A good film."]
    assert "\x1b[" not in runner.invoke(cli, arguments).output
    assert "\x1b[" in runner.invoke(cli, arguments, color=True).output
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in runner.invoke(cli, arguments, color=True).output


def test_explain_prints_json(runner: CliRunner) -> None:
    text = "Great, good film &amp; \U0001f60d. Bad."
    result = runner.invoke(cli, ["explain", "-", "--json", "--budget", "50"], input=text)
    printed = json.loads(result.output)
    assert printed["budget"] == 50
    assert [part["text"] for part in printed["sentences"]] == [
        "Great, good film &amp; \U0001f60d.", "Bad."
    ]  # fmt: skip
    assert printed["prediction"]["label"] == "positive"


@pytest.mark.parametrize(
    "arguments",
    [
        ["explain", " "],
        ["explain", "\u0001"],
        ["explain", "good", "--budget", "3"],
        ["predict", "--explain", " "],
    ],
)
def test_explain_rejects_arguments(runner: CliRunner, arguments: list[str]) -> None:
    result = runner.invoke(cli, arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, InputError)
