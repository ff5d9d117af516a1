import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from reelsense import Classifier, __version__
from reelsense.cli import cli
from reelsense.errors import DatasetError
from tests import tiny


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setattr(Classifier, "load", lambda _path: tiny.classifier())
    return CliRunner()


def test_predict_prints_one_line_for_a_text(runner: CliRunner) -> None:
    found = runner.invoke(cli, ["predict", "a good film"])
    assert found.output == "positive  88.0%\n"


def test_predict_applies_risk(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Classifier, "load", lambda _path: tiny.cautious_classifier())
    assert runner.invoke(cli, ["predict", "good film"]).output == "unsure  (positive 88.0%)\n"
    assert runner.invoke(cli, ["predict", "good film", "--risk", "0.1"]).output == (
        "positive  88.0%\n"
    )
    found = runner.invoke(cli, ["predict", "good good film", "--risk", "0.01"])
    assert found.stdout == "unsure  (positive 98.2%)\n"
    assert found.stderr == "no threshold keeps to a risk of 1.00%: every verdict is unsure\n"
    table = runner.invoke(cli, ["predict", "-"], input="good film\ngreat good film\n").stdout
    assert [line.split(",")[4] for line in table.splitlines()] == ["verdict", "unsure", "positive"]


@pytest.mark.parametrize(
    ("risk", "said"),
    [
        (
            "0.02",
            "no threshold keeps to a risk of 2.00%: every verdict in length group sentence is",
        ),
        ("0.01", "no threshold keeps to a risk of 1.00%: every verdict is"),
        ("0.1", ""),
    ],
)
def test_length_groups_that_a_risk_is_out_of_reach_for_are_named(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch, risk: str, said: str
) -> None:
    monkeypatch.setattr(Classifier, "load", lambda _path: tiny.grouped_classifier())
    found = runner.invoke(cli, ["predict", "good film", "--risk", risk])
    assert found.exit_code == 0
    assert found.stderr.startswith(said)
    assert bool(found.stderr) == bool(said)


def test_predict_reads_standard_input(runner: CliRunner) -> None:
    found = runner.invoke(cli, ["predict", "-"], input="good film\nbad film\n")
    assert [line.split(",")[1] for line in found.output.splitlines()] == [
        "label", "positive", "negative"
    ]  # fmt: skip


def test_predict_exits_with_1_if_no_row_is_scored(runner: CliRunner, tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_bytes(b"caf\xe9\n")
    found = runner.invoke(cli, ["predict", "--input", str(source)])
    assert found.exit_code == 1
    assert "no row could be scored" in found.stderr
    found = runner.invoke(cli, ["predict", "--input", str(source), "--encoding", "latin-1"])
    assert found.exit_code == 0
    found = runner.invoke(cli, ["predict", "--input", str(source), "--encoding", "klingon"])
    assert "unknown encoding 'klingon'" in str(found.exception)


def test_predict_needs_text_or_input(runner: CliRunner) -> None:
    for arguments, said in (
        (["predict"], "pass TEXT (in quotes;"),
        (["predict", "text", "--input", "a.txt"], "pass either TEXT or --input, not both"),
    ):
        found = runner.invoke(cli, arguments)
        assert found.exit_code == 2
        assert said in found.output


def test_evaluate_a_table(runner: CliRunner, tmp_path: Path) -> None:
    data, figures = tmp_path / "mine.csv", tmp_path / "figures.json"
    data.write_text("text,label\ngood film,positive\nbad film,negative\ngreat,negative\n")
    found = runner.invoke(cli, ["evaluate", "--data", str(data), "--json", str(figures)])
    assert found.exit_code == 0, found.output
    assert "66.67%" in found.output
    written = json.loads(figures.read_text())
    assert written["evaluation"]["metrics"]["accuracy"] == pytest.approx(2 / 3)
    assert (written["model"], written["version"]) == ("tiny", "0")
    assert written["evaluation"]["metrics"]["confusion"] == [[1, 1], [0, 1]]


def test_every_command_has_help(runner: CliRunner) -> None:
    for name in cli.commands:
        found = runner.invoke(cli, [name, "--help"])
        assert found.exit_code == 0
        assert len(found.output.splitlines()) > 3
    assert __version__ in runner.invoke(cli, ["--version"]).output


def test_errors_are_one_line_with_exit_code_1(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "reelsense", "predict", "--model", str(tmp_path / "x"), "hi"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    assert found.returncode == 1
    assert (
        found.stderr == f"reelsense: {tmp_path}/x does not exist: expected the folder of a bundle\n"
    )


def test_fetch_from_a_folder(runner: CliRunner, tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / "aclImdb" / part).mkdir(parents=True)
    found = runner.invoke(cli, ["data", "fetch", "imdb", "--from", str(tmp_path)])
    assert found.output == f"imdb is ready: --data {tmp_path / 'aclImdb'}\n"


def test_baseline_on_a_table(runner: CliRunner, tmp_path: Path) -> None:
    data = tmp_path / "mine.jsonl"
    lines = [
        json.dumps({"text": f"{word} film number {n}", "label": label})
        for n in range(60)
        for word, label in (("good", "positive"), ("bad", "negative"))
    ]
    data.write_text("\n".join(lines))
    found = runner.invoke(cli, ["baseline", "--data", str(data)])
    assert found.exit_code == 0, found.output
    assert "validation accuracy 100.00%" in found.output
    refused = runner.invoke(cli, ["baseline", "--data", str(data), "--test"])
    assert "has no test part" in str(refused.exception)


def test_predict_rejects_output_for_one_text(runner: CliRunner) -> None:
    found = runner.invoke(cli, ["predict", "good", "--output", "x.csv"])
    assert found.exit_code == 2
    assert "--output needs --input" in found.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["good", "--cluster", "ray"], "need --input"),
        (["--input", "a.txt", "--address", "head"], "need --cluster ray"),
        (["--input", "a.txt", "--cores-per-actor", "2"], "need --cluster ray"),
        (["good film", "--encoding", "utf-16"], "need --input"),
        (["good film", "--column", "text"], "need --input"),
        (["good film", "--format", "csv"], "need --input"),
        (["-", "--column", "text"], "--column cannot be used with -"),
        (["--input", "-", "--column", "text"], "--column cannot be used with -"),
        (["--input", "a.csv", "--input", "b.csv"], "--input can be given once"),
        (["--input", "a.csv", "--output", "-"], "leave out --output"),
        (["--input", "a.txt", "--cluster", "spark"], "'ray'"),
        (["--input", "a.txt", "--shard-rows", "0"], "--shard-rows"),
    ],
)
def test_predict_rejects_conflicting_options(
    runner: CliRunner, arguments: list[str], message: str
) -> None:
    found = runner.invoke(cli, ["predict", *arguments])
    assert found.exit_code == 2
    assert message in found.output


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--input", "-", "--output", "out/"], "pipe-to-folder"),
        (["--input", "in.txt", "--output", "x.csv", "--format", "tsv"], "conflicting-formats"),
        (["--input", "in.txt", "--format", "pdf"], "unknown-format"),
        (["--input", "in.txt", "--format", "parquet"], "parquet-stream"),
        (["--input", "in.txt", "--cluster", "ray"], "stream-on-cluster"),
        (["--input", "in.txt", "--output", ""], "blank-output"),
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
    found = runner.invoke(cli, ["predict", "good film.csv"])
    assert found.exit_code == 2
    assert "is a file: use --input 'good film.csv'" in found.stderr
    assert found.stdout == ""
    assert runner.invoke(cli, ["predict", "good film " * 1000]).exit_code == 0


def test_predict_rejects_blank_text(runner: CliRunner) -> None:
    assert str(runner.invoke(cli, ["predict", "  "]).exception) == "the text is blank"


def test_missing_output_folder_is_one_line(tmp_path: Path) -> None:
    output = tmp_path / "nothing" / "x.csv"
    source = tmp_path / "in.txt"
    source.write_text("A fine film.")
    command = [sys.executable, "-m", "reelsense", "predict"]
    command += ["--input", str(source), "--output", str(output)]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1].endswith("there is no such folder; create it first")
    assert "Traceback" not in found.stderr
    found_too = CliRunner().invoke(
        cli, ["evaluate", "--data", str(source), "--json", str(output)], prog_name="reelsense"
    )
    assert "expected a file in an existing folder" in found_too.output


def test_fetch_evaluation_sets(
    runner: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib
    from http.server import BaseHTTPRequestHandler

    from reelsense.datasets.fetch import EVALUATION_SETS, Archive
    from tests.local_server import serving

    def echo_the_path(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(request.path.encode())

    with serving(echo_the_path) as address:
        for place in EVALUATION_SETS:
            digest = hashlib.md5(f"/{place}".encode(), usedforsecurity=False).hexdigest()
            file = Archive(f"{address}/{place}", len(place) + 1, digest)
            monkeypatch.setitem(EVALUATION_SETS, place, file)
        found = runner.invoke(cli, ["data", "fetch", "evaluation-sets", "--output", str(tmp_path)])
    folder = tmp_path / "evaluation-sets"
    assert found.exit_code == 0, found.output
    ready = f"evaluation-sets are ready: --evaluation-sets {folder}"
    assert found.stdout.splitlines()[-1] == ready
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
    found = runner.invoke(cli, ["explain", "A good, good film.<br />Was \x1b[2J bad."])
    assert found.exit_code == 0, found.output
    assert found.output == (
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


def test_explain_respects_no_color(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["explain", "A good film."]
    assert "\x1b[" not in runner.invoke(cli, arguments).output
    assert "\x1b[" in runner.invoke(cli, arguments, color=True).output
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in runner.invoke(cli, arguments, color=True).output


def test_explain_prints_json(runner: CliRunner) -> None:
    text = "Great, good film &amp; \U0001f60d. Bad."
    found = runner.invoke(cli, ["explain", "-", "--json", "--budget", "50"], input=text)
    told = json.loads(found.output)
    assert told["budget"] == 50
    assert [part["text"] for part in told["sentences"]] == [
        "Great, good film &amp; \U0001f60d.", "Bad."
    ]  # fmt: skip
    assert told["prediction"]["label"] == "positive"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", " "], "the text is blank"),
        (["explain", "\u0001"], "the text contains no readable characters"),
        (
            ["explain", "good", "--budget", "3"],
            "invalid budget 3: expected an integer, at least 16",
        ),
        (["predict", "--explain", " "], "the text is blank"),
    ],
)
def test_explain_rejects_arguments(runner: CliRunner, arguments: list[str], message: str) -> None:
    found = runner.invoke(cli, arguments)
    assert found.exit_code == 1
    assert str(found.exception) == message
