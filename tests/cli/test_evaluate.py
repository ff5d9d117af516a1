from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from reelsense.bundle import DEFAULT_BUNDLE, Provenance, read_bundle, write_bundle
from reelsense.cli import cli, main
from reelsense.datasets import imdb
from reelsense.datasets.evaluation_sets import PHRASES
from reelsense.errors import BundleError
from reelsense.report.record import EvaluationRecord
from tests import tiny
from tests.datasets.test_evaluation_sets import write

PACKAGED = DEFAULT_BUNDLE


class FakeEngine:
    """Counts words, whatever the network."""

    tokens_per_batch = 512
    vector_size = 0

    def __init__(
        self, network: Path, threads: int | None = None, *, int8_activations: bool = False
    ) -> None:
        self.latency_network = tiny.count_moods
        self.throughput_networks = [self.latency_network]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle with decision thresholds. It replaces the bundled model."""
    bundle = tiny.bundle()
    manifest = replace(bundle.manifest, risk_control=tiny.RISKS)
    write_bundle(tmp_path / "model", replace(bundle, manifest=manifest))
    monkeypatch.setattr("reelsense.inference.pipeline.Engine", FakeEngine)
    monkeypatch.setattr("reelsense.bundle.installed.DEFAULT_BUNDLE", tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Forty reviews that the model gets right and one that it gets wrong."""
    rows = [f"{word} film {n},{label}" for n in range(20) for word, label in WORDS]
    (tmp_path / "mine.csv").write_text("\n".join(["text,label", *rows, "an awful film,positive"]))
    return tmp_path / "mine.csv"


WORDS = [("good", "positive"), ("bad", "negative")]


def run(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(cli, ["evaluate", *map(str, arguments)])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.stdout if code == 0 else result.output


def test_evaluate_writes_metrics_and_report(model: Path, table: Path, tmp_path: Path) -> None:
    metrics, folder = tmp_path / "metrics.json", tmp_path / "new" / "report"
    output = run("--data", table, "--json", metrics, "--report", folder, "--quick", "--no-texts")
    version = read_bundle(model).manifest.version
    assert output.startswith(f"tiny {version} on mine.csv\n")
    assert re.search(r"^accuracy +97\.56%$", output, re.MULTILINE)
    assert re.search(
        r"^target error rate 10\.0% +coverage 100\.0%, selective error 2\.44%", output, re.MULTILINE
    )
    written = json.loads(metrics.read_text())
    assert (written["model"], written["version"]) == ("tiny", version)
    assert (written["data"], written["plots"]) == ("mine.csv", [])
    results = written["evaluation"]
    assert results["metrics"]["confusion"] == [[20, 0], [1, 20]]
    assert results["label_changes"] == results["identity"] == []
    assert results["behaviours"] is None
    assert {path.name for path in folder.iterdir()} == {"index.html", "MODEL_CARD.md"}
    page = (folder / "index.html").read_text()
    assert str(folder / "index.html") in output
    assert "mine.csv:42" in page
    assert "an awful film" not in page
    assert read_bundle(model).card == "# tiny\n"


def test_evaluate_compares_with_bag_of_words(model: Path, table: Path) -> None:
    """On the validation set only: the baseline is trained on the rest of the table."""
    options = ("--data", table, "--quick", "--compare-to", "bag-of-words")
    output = run(*options, "--split", "validation")
    assert "comparison: bag of words" in output
    assert re.search(r"^McNemar's exact p +\d", output, re.MULTILINE)
    assert "--split validation" in run(*options, code=2)


def test_evaluate_compares_with_another_bundle(model: Path, table: Path, tmp_path: Path) -> None:
    """Its labels are swapped: it is right where this one is wrong."""
    write_bundle(tmp_path / "other", tiny.bundle(labels=("positive", "negative")))
    output = run("--data", table, "--quick", "--compare-to", tmp_path / "other")
    assert re.search(r"^correct where this model is wrong +1$", output, re.MULTILINE)
    assert re.search(r"^wrong where this model is correct +40$", output, re.MULTILINE)


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """A stand-in for the Large Movie Review Dataset; half of its labels are wrong."""
    for part in ("train", "test"):
        for folder, rating in (("neg", 3), ("pos", 8)):
            home = tmp_path / "aclImdb" / part / folder
            home.mkdir(parents=True)
            for n in range(20):
                (home / f"{n}_{rating}.txt").write_text(f"a good film, {part} {folder} {n}")
            films = "".join(f"http://www.imdb.com/title/tt{n}/usercomments\n" for n in range(20))
            (home.parent / f"urls_{folder}.txt").write_text(films)
    return tmp_path / "aclImdb"


def test_update_card_stores_accuracy_on_the_test_set(model: Path, official: Path) -> None:
    before = read_bundle(model).manifest
    run("--data", official, "--update-card")
    after = read_bundle(model).manifest
    assert after.metrics == {"test": {"reviews": 40, "accuracy": 0.5}}
    assert after.version == before.version


@pytest.mark.parametrize("split", ["train", "all"])
def test_update_card_stores_no_other_accuracy(
    model: Path, official: Path, table: Path, split: str
) -> None:
    data = table if split == "all" else official
    run("--data", data, "--split", split, "--update-card")
    assert read_bundle(model).manifest.metrics == {}


@pytest.mark.parametrize("named", [True, False])
def test_update_card_writes_card_and_evaluation(model: Path, table: Path, named: bool) -> None:
    before, packaged = read_bundle(model), (PACKAGED / "MODEL_CARD.md").read_bytes()
    options: Sequence[str | Path] = ("--model", model) if named else ()
    output = run("--data", table, "--update-card", *options)
    assert str(model / "MODEL_CARD.md") in output
    assert "--quick" in run("--data", table, "--quick", "--update-card", code=2)
    after = read_bundle(model)
    assert after.card.startswith("---\n")
    assert "97.56%" in after.card
    assert after.evaluation is not None
    record = EvaluationRecord.from_json(after.evaluation)
    assert (record.model, record.data) == ("tiny", "mine.csv")
    assert record.evaluation.metrics.accuracy == pytest.approx(40 / 41)
    assert record.plots
    assert record.evaluation.label_errors.likeliest[0].name == "mine.csv:42"
    assert "an awful film" not in after.evaluation  # even without --no-texts
    new = {name: after.manifest.files[name] for name in ("MODEL_CARD.md", "evaluation.json")}
    manifest = replace(before.manifest, files=before.manifest.files | new)
    assert after == replace(before, card=after.card, evaluation=after.evaluation, manifest=manifest)
    assert (PACKAGED / "MODEL_CARD.md").read_bytes() == packaged
    backup = model.with_name("model.backup")
    assert {path.name for path in backup.iterdir()} == {"MODEL_CARD.md", "manifest.json"}
    shutil.copytree(backup, model, dirs_exist_ok=True)
    assert read_bundle(model) == before


def test_update_card_keeps_a_folder_with_the_name_of_its_backup(model: Path, table: Path) -> None:
    mine = model.with_name("model.backup") / "mine"
    mine.parent.mkdir()
    mine.touch()
    result = CliRunner().invoke(cli, ["evaluate", "--data", str(table), "--update-card"])
    assert isinstance(result.exception, BundleError)
    assert result.exception.code == "not-a-bundle-folder"
    assert mine.exists()


def test_evaluate_uses_evaluation_sets_on_the_test_set(model: Path, tmp_path: Path) -> None:
    root, sets = tmp_path / "aclImdb", tmp_path / "sets"
    for part in ("train", "test"):
        for folder, rating, word in (("neg", 3, "bad"), ("pos", 8, "good")):
            home = root / part / folder
            home.mkdir(parents=True)
            for n in range(3):
                text = f"{word} film" + f" {part}" * n  # of n = 0, the same in both parts
                (home / f"{n}_{rating}.txt").write_text(text)
            urls = "".join(f"http://www.imdb.com/title/tt000{n}/\n" for n in range(3))
            (home.parent / f"urls_{folder}.txt").write_text(urls)
    (sets / "sst2").mkdir(parents=True)
    (sets / "sst2" / "dev.tsv").write_text("sentence\tlabel\na good film\t1\na good bore\t0\n")
    votes = {"given": 0, "guessed": 5, "neutral": 0, "off-topic": 0}
    labels = {"given_original_label": "Negative", "our_guessed_label": "Positive"}
    entry = {"id": "test/neg/1_3", **labels, "mturk": votes}
    (sets / "imdb_label_audit.json").write_text(json.dumps([entry]))
    output = run("--data", root, "--evaluation-sets", sets)
    assert f" on the official test set of {imdb.NAME}\n" in output
    for line in (
        r"texts +6",
        r"accuracy, audited labels +83\.33%",
        r"accuracy, .* the 2 texts that also occur in train +100\.00%",
        r"single sentences \(SST-2\)\naccuracy +50\.0% .*",
        r"upper case +0\.0% .*",
        r"religion, held-out terms, templates +[\d.]+% .*",
        r"negation +[\d.]+% .*",
    ):
        assert re.search(f"^{line}$", output, re.MULTILINE), line


def test_missing_evaluation_sets_are_an_error_of_one_line(
    model: Path,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--data", str(table), "--evaluation-sets", str(tmp_path / "none")]
    monkeypatch.setattr("sys.argv", ["reelsense", "evaluate", *arguments])
    with pytest.raises(SystemExit, match="1"):
        main()
    dialect, error = capsys.readouterr().err.splitlines()
    assert dialect == f"{table}: columns separated by commas"
    assert error.startswith(f"reelsense: {tmp_path / 'none'} ")


@pytest.mark.parametrize(
    ("option", "target"),
    [
        ("--report", "mine.csv"),
        ("--report", "mine.csv/deeper"),
        ("--report", "model"),
        ("--json", "."),
        ("--json", "nowhere/metrics.json"),
    ],
)
def test_evaluate_rejects_output_before_it_loads_the_model(
    model: Path, table: Path, option: str, target: str
) -> None:
    before = read_bundle(model)
    output = run("--data", table, option, table.parent / target, "--model", "none", code=2)
    assert option in output
    assert read_bundle(model) == before


def test_evaluate_warns_of_training_data(model: Path, table: Path) -> None:
    bundle = read_bundle(model)
    manifest = replace(bundle.manifest, provenance={"data": "mine.csv"})
    write_bundle(model, replace(bundle, manifest=manifest))
    result = CliRunner().invoke(cli, ["evaluate", "--data", str(table), "--quick"])
    assert "warning: tiny was trained on mine.csv" in result.stderr


def test_no_texts_omits_texts_of_reviews(model: Path, table: Path, tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.json"
    run("--data", table, "--json", metrics, "--no-texts")
    assert "an awful film" not in metrics.read_text()
    run("--data", table, "--json", metrics, "--quick")
    assert "an awful film" in metrics.read_text()


def test_calibrate_writes_a_bundle(model: Path, table: Path, tmp_path: Path) -> None:
    write_bundle(model, replace(read_bundle(model), evaluation="of the earlier calibration"))
    output = str(tmp_path / "new")
    command = ["calibrate", "--data", str(table), "--split", "all", "--output", output]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    assert re.search(r"^validation texts +41$", result.stdout, re.MULTILINE)
    made = read_bundle(tmp_path / "new")
    calibration = made.manifest.calibration
    assert made.card.startswith("# tiny\n> Recalibrated on mine.csv (41 texts)")
    assert made.evaluation is None
    assert calibration is not None
    assert (calibration.data, calibration.reviews) == ("mine.csv", 41)
    command = ["evaluate", "--data", str(table), "--model", str(tmp_path / "new"), "--quick"]
    assert "calibrated on these texts" in CliRunner().invoke(cli, command).stderr


def test_calibrate_keeps_an_existing_bundle(model: Path, table: Path) -> None:
    """Before it reads the data."""
    before = read_bundle(model)
    command = ["calibrate", "--split", "all", "--output", str(model), "--data"]
    result = CliRunner().invoke(cli, [*command, "none.csv"])
    assert isinstance(result.exception, BundleError)
    assert result.exception.code == "bundle-exists"
    assert read_bundle(model) == before
    result = CliRunner().invoke(cli, [*command, str(table), "--overwrite"])
    assert result.exit_code == 0, result.output
    assert read_bundle(model).manifest.version != before.manifest.version


def test_calibrate_keeps_an_evaluation_that_still_applies(model: Path, table: Path) -> None:
    command = ["calibrate", "--data", str(table), "--split", "all", "--output", str(model)]
    write_bundle(model, replace(read_bundle(model), evaluation="of the earlier calibration"))
    result = CliRunner().invoke(cli, [*command, "--overwrite"])
    assert "has no evaluation.json" in result.stderr
    calibrated = read_bundle(model)
    assert calibrated.evaluation is None
    evaluated = replace(calibrated, evaluation="of this calibration")
    write_bundle(model, evaluated)
    result = CliRunner().invoke(cli, [*command, "--overwrite"])
    assert "has no evaluation.json" not in result.stderr
    assert read_bundle(model).evaluation == "of this calibration"
    assert read_bundle(model).card == calibrated.card


@pytest.mark.parametrize(("options", "warned"), [((), True), (("--default-risk", "0.2"), False)])
def test_calibrate_warns_if_every_verdict_is_unsure(
    model: Path, table: Path, tmp_path: Path, options: tuple[str, ...], warned: bool
) -> None:
    """41 texts cannot prove an error rate of 5 %."""
    new = str(tmp_path / "new")
    command = ["calibrate", "--data", str(table), "--split", "all", "--output", new, *options]
    result = CliRunner().invoke(cli, command)
    assert ("warning: Every verdict is unsure" in result.stderr) == warned
    assert ("every verdict is unsure" in result.stdout) == warned
    result = CliRunner().invoke(cli, ["predict", "--model", new, "good good good film"])
    assert ("warning: Every verdict is unsure" in result.stderr) == warned
    assert result.stdout.startswith("unsure" if warned else "positive")


def test_calibrate_fits_length_groups(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenth of the sentences and none of the reviews have a wrong label."""
    monkeypatch.setattr("reelsense.evaluation.calibrate.MIN_TEXTS", 300)
    words = ("good", "positive"), ("bad", "negative")
    end = "the film was a film " * 30
    rows = [f"{word} {end}{n},{label}" for n in range(200) for word, label in words]
    (tmp_path / "films.csv").write_text("\n".join(["text,label", *rows]))
    sentences = [
        f"{word} film number {n} \t{int((label == 'positive') != (n % 10 == 0))}"
        for n in range(1000)
        for word, label in words
    ]
    sets = write(tmp_path / "sets", {"sst2/train.tsv": "\n".join(["sentence\tlabel", *sentences])})
    new = tmp_path / "new"
    command = ["calibrate", "--data", tmp_path / "films.csv", "--split", "all"]
    result = CliRunner().invoke(
        cli, list(map(str, [*command, "--evaluation-sets", sets, "--output", new]))
    )
    assert result.exit_code == 0, result.output
    for group in ("sentence (up to 64 tokens)", "long"):
        assert re.search(
            rf"^calibration, {re.escape(group)}\nvalidation texts +400$", result.stdout, re.M
        )
    assert json.loads((new / "manifest.json").read_text())["format"] == 3
    command = ["predict", "--model", new, "--risk", "0.05"]
    short, long = (
        CliRunner().invoke(cli, list(map(str, [*command, text]))).stdout
        for text in ("good film", f"good {end}")
    )
    assert short.startswith("unsure  (positive ")
    assert long.startswith("positive  9")


def test_calibrate_rejects_training_sentences(
    model: Path,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle = read_bundle(model)
    seen = Provenance(extra_examples={PHRASES: 9})
    write_bundle(model, replace(bundle, manifest=replace(bundle.manifest, provenance=seen)))
    sets = write(tmp_path / "sets", {"sst2/train.tsv": "sentence\tlabel\ngood \t1\n"})
    data = ["--data", table, "--split", "all", "--evaluation-sets", sets]
    command = ["calibrate", *data, "--output"]
    monkeypatch.setattr("sys.argv", ["reelsense", *map(str, command), str(tmp_path / "new")])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert "tiny was trained on" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
