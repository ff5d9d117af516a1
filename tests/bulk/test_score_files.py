"""The public function: progress, resume and errors. Formats are tested in test_shards."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import reelsense
from reelsense import ScoringProgress, score_files
from reelsense.bulk.output import Output
from reelsense.bulk.plan import ScoringTask
from reelsense.bulk.progress import ProgressTracker
from reelsense.errors import DatasetError, InputError
from reelsense.tables import writing
from tests import tiny, tiny_network

CLASSIFIER = tiny.classifier()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.csv"
    path.write_bytes(b"text\ngood film\nbad film\ncaf\xe9\n good \n")
    return path


def test_score_files_returns_summary(source: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()
    output = tmp_path / "scored" / "out.jsonl"
    output.parent.mkdir()
    summary = score_files(tmp_path, output, model=CLASSIFIER)
    assert (summary.rows, summary.bad_rows, summary.undecoded_rows) == (4, 1, 1)
    assert (summary.resumed_rows, summary.resumed_shards) == (0, 0)
    assert summary.inputs == (str(source),)
    assert summary.ignored == (str(tmp_path / "README.md"),)
    assert summary.output == str(output)
    assert summary.bad_rows_output == f"{output}.bad-rows.jsonl"
    assert not summary.is_failure
    assert len(output.read_text().splitlines()) == 4


def test_score_files_loads_model_from_folder(source: Path, tmp_path: Path) -> None:
    tiny_network.write(tmp_path / "bundle", "tiny")
    assert score_files(source, tmp_path / "out.csv", model=tmp_path / "bundle").rows == 4


def test_score_files_fails_if_no_row_is_scored(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("\n \n")
    assert score_files(tmp_path / "in.txt", tmp_path / "out.csv", model=CLASSIFIER).is_failure
    (tmp_path / "empty.txt").touch()
    summary = score_files(tmp_path / "empty.txt", tmp_path / "empty.csv", model=CLASSIFIER)
    assert not summary.is_failure
    assert summary.rows == 0


def test_score_files_reports_progress(source: Path, tmp_path: Path) -> None:
    reports: list[ScoringProgress] = []
    score_files(
        source, tmp_path / "out.csv", model=CLASSIFIER, shard_rows=2, on_progress=reports.append
    )
    assert [report.rows for report in reports] == [0, 2, 4]
    assert reports[0].done_bytes == 0
    assert reports[-1].done_bytes == reports[-1].total_bytes == source.stat().st_size


def test_score_files_resumes(source: Path, tmp_path: Path) -> None:
    def interrupt(progress: ScoringProgress) -> None:
        if progress.rows == 4:
            raise KeyboardInterrupt

    output = f"{tmp_path}/out/"
    with pytest.raises(KeyboardInterrupt) as caught:
        score_files(source, output, model=CLASSIFIER, shard_rows=2, on_progress=interrupt)
    assert len(caught.value.__notes__) == 1
    reports: list[ScoringProgress] = []
    summary = score_files(
        source, output, model=CLASSIFIER, shard_rows=2, on_progress=reports.append
    )
    assert (summary.rows, summary.resumed_rows, summary.resumed_shards) == (4, 2, 1)
    assert reports[1].resumed_rows == 2
    assert reports[1].done_bytes == reports[1].resumed_bytes > 0
    again = score_files(source, output, model=CLASSIFIER, shard_rows=2)
    assert (again.rows, again.bad_rows, again.resumed_shards) == (4, 1, 2)


def test_score_files_writes_to_stream(source: Path) -> None:
    stream = io.BytesIO()
    summary = score_files(source, stream, model=CLASSIFIER, output_format="jsonl")
    rows = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [row.get("label") for row in rows] == ["positive", "negative", None, "positive"]
    assert (summary.rows, summary.bad_rows) == (4, 1)
    assert summary.output is summary.bad_rows_output is None


class CountingExecutor:
    """Reports seven rows and writes no shards."""

    manifest = CLASSIFIER.manifest

    def run(self, task: ScoringTask, output: Output, tracker: ProgressTracker) -> list[str]:
        tracker.add_rows(7, 0.0)
        return []


def test_score_files_runs_executor(source: Path, tmp_path: Path) -> None:
    executor = CountingExecutor()
    assert score_files(source, tmp_path / "out.csv", executor=executor).rows == 7
    with pytest.raises(DatasetError) as caught:
        score_files(source, io.BytesIO(), executor=executor)
    assert caught.value.code == "stream-on-cluster"
    with pytest.raises(InputError) as conflict:
        score_files(source, tmp_path / "out.csv", executor=executor, model=CLASSIFIER)
    assert conflict.value.code == "conflicting-arguments"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"inputs": "none.csv"}, "unreadable-file"),
        ({"inputs": "*.tsv"}, "no-files"),
        ({"column": "review"}, "no-such-column"),
        ({"encoding": "klingon"}, "unknown-encoding"),
        ({"output": "in.csv"}, "output-is-input"),
        ({"output": ""}, "blank-output"),
        ({"output": "none/out.csv"}, "no-such-folder"),
        ({"output": "out.pdf"}, "unknown-format"),
        ({"output": "out.csv", "output_format": "tsv"}, "conflicting-formats"),
        ({"output": "full/"}, "output-not-empty"),
    ],
)
def test_score_files_rejects_arguments(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, str],
    code: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    before = source.read_bytes()
    with pytest.raises(DatasetError) as caught:
        score_files(**{"inputs": "in.csv", "output": "out.csv", "model": CLASSIFIER} | arguments)  # type: ignore[arg-type]
    assert caught.value.code == code
    assert source.read_bytes() == before
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_import_reelsense_is_lazy() -> None:
    code = "import sys, reelsense; print('numpy' in sys.modules, reelsense.score_files.__name__)"
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)  # noqa: S603
    assert printed.split() == ["False", "score_files"]
    assert set(dir(reelsense)) == set(reelsense.__all__)
    with pytest.raises(AttributeError):
        _ = reelsense.no_such_name


def test_parquet_is_streamed_as_csv(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [b"a good film", b"\xff"]}), tmp_path / "in.parquet")
    stream = io.BytesIO()
    summary = score_files(tmp_path / "in.parquet", stream, model=CLASSIFIER)
    lines = stream.getvalue().decode().splitlines()
    assert lines[1].startswith("a good film,positive")
    assert (summary.rows, summary.bad_rows) == (2, 1)


def test_messages_describe_the_dialects_of_files(tmp_path: Path) -> None:
    for name, content in (("a.csv", "id,text\n1,good\n"), ("b.csv", "text;id\nbad;2\n")):
        (tmp_path / name).write_text(content)
    messages: list[str] = []
    output = tmp_path / "out" / ""
    summary = score_files(tmp_path, f"{output}/", model=CLASSIFIER, on_message=messages.append)
    assert summary.rows == 2
    assert [message.partition(": ")[2] for message in messages] == [
        "columns separated by commas",
        "columns separated by semicolons",
    ]
    manifest = json.loads((output / "manifest.json").read_text())
    assert list(manifest["dialects"].values()) == [
        "columns separated by commas",
        "columns separated by semicolons",
    ]


def test_lost_rows_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.txt").write_text("good\nbad\n")
    encode = writing.encode
    monkeypatch.setattr(
        "reelsense.bulk.shards.encode",
        lambda schema, rows, *, header: encode(schema, rows[:1], header=header),
    )
    with pytest.raises(DatasetError) as error:
        score_files(tmp_path / "in.txt", tmp_path / "out.csv", model=CLASSIFIER)
    assert error.value.code == "rows-lost"


def test_types_of_json_are_kept_in_parquet(tmp_path: Path) -> None:
    rows = [
        {"text": "good", "n": 1, "stars": 4.5, "flag": True, "tags": ["a"]},
        {"text": "bad", "n": 2, "stars": None, "flag": False, "tags": []},
    ]
    late = {"text": "good", "n": "three", "stars": 1.0, "flag": True, "tags": []}
    lines = [*rows, *[rows[0]] * 1000, late]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    score_files(tmp_path / "in.jsonl", tmp_path / "out.parquet", model=CLASSIFIER)
    written = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [{name: row[name] for name in rows[0]} for row in written[:2]] == rows
    assert "'n' has another type" in written[-1]["error"]
    assert (written[-1]["n"], written[-1]["stars"]) == (None, 1.0)
