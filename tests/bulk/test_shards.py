"""Formats, many files, and interrupted runs."""

import csv
import gzip
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fsspec.registry import _registry
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelsense.cli import cli
from reelsense.errors import DatasetError, MissingExtraError
from tests import tiny, tiny_network
from tests.scoring import score_file
from tests.waiting import wait_until

CLASSIFIER = tiny.classifier()
ROWS = [{"id": str(n), "text": f"a {mood} film"} for n, mood in enumerate(["good", "bad"] * 5)]


def lines_of(path: Path) -> list[str]:
    raw = path.read_bytes()
    return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode().splitlines()


def write_jsonl(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_as(folder: Path, kind: str) -> Path:
    """Write ROWS as a file with the suffix `kind`, without the code under test."""
    path = folder / f"in{kind}"
    if kind == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
        return path
    with gzip.open(path, "wt", newline="") if kind.endswith(".gz") else path.open("w") as file:
        if ".jsonl" in kind:
            file.writelines(json.dumps(row) + "\n" for row in ROWS)
        elif ".txt" in kind:
            file.writelines(row["text"] + "\n" for row in ROWS)
        else:
            table = csv.DictWriter(file, ROWS[0], delimiter="\t" if ".tsv" in kind else ",")
            table.writeheader()
            table.writerows(ROWS)
    return path


def read_back(path: Path) -> list[dict[str, object]]:
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        rows: list[dict[str, object]] = pytest.importorskip("pyarrow.parquet").read_table(path)
        return rows.to_pylist()  # type: ignore[attr-defined, no-any-return]
    lines = lines_of(path)
    if name.endswith(".jsonl"):
        return list(map(json.loads, lines))
    return list(csv.DictReader(lines, delimiter="\t" if name.endswith(".tsv") else ","))


TEXT_KINDS = [".csv", ".tsv", ".jsonl", ".txt"]
KINDS = [*TEXT_KINDS, *(f"{kind}.gz" for kind in TEXT_KINDS), ".parquet"]


@pytest.mark.parametrize("out", KINDS)
@pytest.mark.parametrize("given", KINDS)
def test_every_format_converts_to_every_format(tmp_path: Path, given: str, out: str) -> None:
    target = tmp_path / f"out{out}"
    score_file(CLASSIFIER, write_as(tmp_path, given), target, shard_rows=3)
    labels = ["positive", "negative"] * 5
    if ".txt" in out:
        assert lines_of(target) == labels
        return
    rows = read_back(target)
    assert [row["label"] for row in rows] == labels
    assert [row["text"] for row in rows] == [row["text"] for row in ROWS]
    if ".txt" not in given:
        assert [row["id"] for row in rows] == [row["id"] for row in ROWS]
    alone = CLASSIFIER.predict(["a good film"])[0]
    assert float(str(rows[0]["score"])) == alone.score
    assert {path.name for path in tmp_path.iterdir()} == {f"in{given}", target.name}


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table(
        {
            "text": pyarrow.array(["good", None, "bad"]).dictionary_encode(),
            "label": pyarrow.array([3, None, 5], pyarrow.int16()),
            "when": pyarrow.array([0, 10**12 * 1000, None], pyarrow.timestamp("ns", "UTC")),
            "tags": pyarrow.array([["a"], [], None], pyarrow.list_(pyarrow.string())),
            "raw": pyarrow.array([b"\xff", None, b""], pyarrow.binary()),
        }
    )
    parquet.write_table(table, tmp_path / "in.parquet")
    score_file(CLASSIFIER, tmp_path / "in.parquet", tmp_path / "out.parquet", shard_rows=2)
    written = parquet.read_table(tmp_path / "out.parquet")
    assert written.schema.names[:6] == ["text", "label", "when", "tags", "raw", "predicted_label"]
    assert written.column("label").type == pyarrow.int16()
    for name in ("label", "tags", "raw"):
        assert written.column(name).to_pylist() == table.column(name).to_pylist()
    assert written.column("when").cast(table.schema.field("when").type) == table.column("when")
    assert written.column("predicted_label").to_pylist() == ["positive", None, "negative"]
    assert written.column("error").to_pylist() == [None, "'text' is blank", None]
    score_file(CLASSIFIER, tmp_path / "in.parquet", tmp_path / "out.jsonl")
    first = read_back(tmp_path / "out.jsonl")[0]
    assert (first["raw"], first["when"]) == ("/w==", "1970-01-01 00:00:00+00:00")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in.parquet", b"no"),
        ("in.csv.gz", b"no"),
        ("in.csv.gz", gzip.compress(b"text\ngood\n" * 99, mtime=0)[:-9]),
    ],
)
def test_damaged_file_is_rejected(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=name) as error:
        score_file(CLASSIFIER, tmp_path / name, tmp_path / "out.csv")
    assert error.value.code == "damaged-file"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_jsonl_row_with_a_late_key_is_a_bad_row_of_a_table(tmp_path: Path) -> None:
    rows = [{"text": "good"}] * 1000 + [{"text": "bad", "late": "x"}, {"text": "bad"}]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    score_file(CLASSIFIER, source, tmp_path / "out.csv")
    written = read_back(tmp_path / "out.csv")
    assert [row["label"] for row in written[-3:]] == ["positive", "", "negative"]
    assert str(written[-2]["error"]).startswith("no column for 'late': ")
    [bad] = read_back(tmp_path / "out.csv.bad-rows.jsonl")
    assert (bad["line"], bad["row"]) == (1001, {"text": "bad", "late": "x"})


def test_bad_rows_are_collected_in_another_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in.csv"
    source.write_text("id,text\n1,good\n2,\n3\n4,bad\n")
    score_file(CLASSIFIER, source, tmp_path / "out.csv", shard_rows=2)
    bad = read_back(tmp_path / "out.csv.bad-rows.jsonl")
    assert bad == [
        {
            "file": str(source),
            "line": 3,
            "error": "'text' is blank",
            "row": {"id": "2", "text": ""},
        },
        {
            "file": str(source),
            "line": 4,
            "error": "1 fields where the header has 2",
            "row": {"id": "3", "text": ""},
        },
    ]
    assert f"2 rows could not be scored: see the column error and {tmp_path}/out.csv.bad-rows" in (
        capsys.readouterr().err
    )
    source.write_text("id,text\n1,good\n")
    score_file(CLASSIFIER, source, tmp_path / "out.csv")
    assert {path.name for path in tmp_path.iterdir()} == {"in.csv", "out.csv"}


def test_folder_of_files_becomes_folder_of_shards(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    (source / "b").mkdir(parents=True)
    for n, name in enumerate(["b/2.jsonl", "a.jsonl", "c.jsonl", "b/.hidden.jsonl", "_x.jsonl"]):
        write_jsonl(source / name, [{"text": "good", "id": f"{n}-{k}"} for k in range(3)])
    score_file(CLASSIFIER, source, f"{target}/", shard_rows=4)
    manifest = json.loads((target / "manifest.json").read_text())
    names = [shard["file"] for shard in manifest["shards"]]
    assert {path.name for path in target.iterdir()} == {"manifest.json", *names}
    rows = [row for name in names for row in read_back(target / name)]
    assert [row["id"] for row in rows] == [f"{n}-{k}" for n in (1, 0, 2) for k in range(3)]
    assert [row["file"] for row in rows[2:4]] == [f"{source}/a.jsonl", f"{source}/b/2.jsonl"]
    assert [shard["rows"] for shard in manifest["shards"]] == [4, 4, 1]
    assert (manifest["rows"], manifest["bad_rows"]) == (9, 0)


def test_every_shard_of_a_folder_has_a_header(tmp_path: Path) -> None:
    source = write_as(tmp_path, ".csv")
    score_file(CLASSIFIER, source, f"{tmp_path}/out/", shard_rows=4, output_format="tsv.gz")
    parts = sorted((tmp_path / "out").glob("part-*.tsv.gz"))
    assert [row["id"] for part in parts for row in read_back(part)] == [row["id"] for row in ROWS]
    assert len(parts) == 3


def test_pattern_does_not_match_the_output(tmp_path: Path) -> None:
    for name in ("1.csv", "2.csv"):
        (tmp_path / name).write_text("text\ngood\n")
    for _ in range(2):
        score_file(CLASSIFIER, f"{tmp_path}/*.csv", tmp_path / "out.csv")
        assert len(read_back(tmp_path / "out.csv")) == 2


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("none/", "unreadable-file"),
        ("*.jsonl", "no-files"),
        (".", "mixed-formats"),
        ("*.csv", "different-columns"),
    ],
)
def test_inputs_that_do_not_match_are_rejected(tmp_path: Path, source: str, code: str) -> None:
    (tmp_path / "one.csv").write_text("text\ngood\n")
    (tmp_path / "two.csv").write_text("text,more\ngood,1\n")
    (tmp_path / "three.txt").write_text("good\n")
    with pytest.raises(DatasetError) as error:
        score_file(CLASSIFIER, f"{tmp_path}/{source}", tmp_path / "out.csv")
    assert error.value.code == code


class Interrupted(Exception):  # noqa: N818  # stands for a crash
    pass


def interrupt_after(monkeypatch: pytest.MonkeyPatch, shards: int) -> None:
    """Interrupt a run after it has written this number of shards."""
    from reelsense.bulk import output

    write_shard, left = output.write_shard, [shards]

    def write(*args: Any) -> None:
        if not left[0]:
            raise Interrupted
        left[0] -= 1
        write_shard(*args)

    monkeypatch.setattr(output, "write_shard", write)


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl.gz", "out.parquet", "out/"])
def test_interrupted_run_resumes(
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("pyarrow")
    rows = [{"text": text} for text in ["good", "", "bad", "good good", "", "bad", "good"]]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    (tmp_path / "whole").mkdir()
    score_file(CLASSIFIER, source, f"{tmp_path}/whole/{name}", shard_rows=2)
    (tmp_path / "cut").mkdir()
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(Interrupted):
            score_file(CLASSIFIER, source, f"{tmp_path}/cut/{name}", shard_rows=2)
    capsys.readouterr()
    score_file(CLASSIFIER, source, f"{tmp_path}/cut/{name}", shard_rows=2)
    assert "resumed: 2 shards (4 rows)" in capsys.readouterr().err
    assert tree(tmp_path / "cut") == tree(tmp_path / "whole")


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_changed_rows_are_scored_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "in.txt", tmp_path / "out.csv"
    source.write_text("good\nbad\ngood\nbad\n")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(Interrupted):
            score_file(CLASSIFIER, source, target, shard_rows=1)
    source.write_text("good\ngood good\ngood\n")
    score_file(CLASSIFIER, source, target, shard_rows=1)
    assert "resumed: 1 shard (1 row)" in capsys.readouterr().err
    assert [row["text"] for row in read_back(target)] == ["good", "good good", "good"]


def test_complete_folder_is_unchanged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_as(tmp_path, ".csv")
    score_file(CLASSIFIER, source, f"{tmp_path}/out/", shard_rows=4)
    before = tree(tmp_path / "out")
    capsys.readouterr()
    score_file(CLASSIFIER, source, f"{tmp_path}/out", shard_rows=4)
    assert "resumed: 3 shards (10 rows)" in capsys.readouterr().err
    assert tree(tmp_path / "out") == before


def test_output_rejects_other_settings(tmp_path: Path) -> None:
    source = write_as(tmp_path, ".csv")
    score_file(CLASSIFIER, source, f"{tmp_path}/out/", shard_rows=4)
    with pytest.raises(DatasetError, match="shard_rows 4, now 5") as error:
        score_file(CLASSIFIER, source, f"{tmp_path}/out/", shard_rows=5)
    assert error.value.code == "output-of-other-settings"
    with pytest.raises(DatasetError, match="added"):
        score_file(tiny.star_classifier(), source, f"{tmp_path}/out/", shard_rows=4)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    texts=st.lists(
        st.sampled_from(["", "good", "bad film", "the good " * 40, "awful"]), max_size=30
    ),
    shard_rows=st.integers(1, 12),
)
def test_output_does_not_depend_on_shard_size(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], shard_rows: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    source = write_jsonl(folder / "in.jsonl", [{"text": text} for text in texts])
    score_file(CLASSIFIER, source, folder / "whole.jsonl")
    score_file(CLASSIFIER, source, folder / "parts.jsonl", shard_rows=shard_rows)
    assert (folder / "parts.jsonl").read_bytes() == (folder / "whole.jsonl").read_bytes()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that another process can load."""
    folder = tmp_path_factory.mktemp("model") / "bundle"
    tiny_network.write(folder, "tiny")
    return folder


def predict(model: Path, source: Path, target: str) -> list[str]:
    command = [sys.executable, "-m", "reelsense", "predict", "--model", str(model)]
    return [*command, "--input", str(source), "--output", target, "--shard-rows", "50"]


@pytest.mark.parametrize("name", ["out.csv", "out/"])
def test_killed_run_repeats_at_most_one_shard(tmp_path: Path, model: Path, name: str) -> None:
    source = tmp_path / "in.txt"
    source.write_text("".join(f"a good film {'bad ' * (n % 97)}\n" for n in range(4000)))
    for folder in ("whole", "killed"):
        (tmp_path / folder).mkdir()
    subprocess.run(predict(model, source, f"{tmp_path}/whole/{name}"), check=True)  # noqa: S603
    parts = tmp_path / "killed" / (name if name.endswith("/") else f"{name}.parts")
    killed = 0
    for _ in range(3):
        done = len(list(parts.glob("record-*")))
        with subprocess.Popen(predict(model, source, f"{tmp_path}/killed/{name}")) as run:  # noqa: S603
            wait_until(lambda: len(list(parts.glob("record-*"))) > done + 3, 30)  # noqa: B023
            run.send_signal(signal.SIGKILL)
        killed += run.returncode == -signal.SIGKILL
    assert killed == 3
    done = len(list(parts.glob("record-*")))
    last = subprocess.run(  # noqa: S603
        predict(model, source, f"{tmp_path}/killed/{name}"),
        check=True,
        capture_output=True,
        text=True,
    )
    assert f"resumed: {done} shards ({50 * done:,} rows)" in last.stderr
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")


def test_folder_has_no_manifest_while_it_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "in.txt", f"{tmp_path}/out/"
    source.write_text("good\nbad\ngood\nbad\n")
    score_file(CLASSIFIER, source, target, shard_rows=1)
    source.write_text("good\nbad\ngood good\n")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 0)
        with pytest.raises(Interrupted):
            score_file(CLASSIFIER, source, target, shard_rows=1)
    assert not (tmp_path / "out" / "manifest.json").exists()
    capsys.readouterr()
    score_file(CLASSIFIER, source, target, shard_rows=1)
    assert "resumed: 2 shards (2 rows)" in capsys.readouterr().err
    score_file(CLASSIFIER, source, f"{tmp_path}/anew/", shard_rows=1)
    assert tree(tmp_path / "out") == tree(tmp_path / "anew")


@pytest.mark.parametrize("content", ["", "[]", '{"run": 7}', '{"shards": []}', '"'])
def test_output_rejects_damaged_state(tmp_path: Path, content: str) -> None:
    source = write_as(tmp_path, ".txt")
    for folder, name in (("whole", "manifest.json"), ("begun", "run.json")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(content)
        with pytest.raises(DatasetError) as error:
            score_file(CLASSIFIER, source, f"{tmp_path}/{folder}/")
        assert error.value.code in ("output-damaged", "output-of-other-settings")


def test_text_column_must_be_a_key_of_jsonl(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [{"film": "good"}, {"film": "bad", "id": "1"}])
    with pytest.raises(DatasetError) as error:
        score_file(CLASSIFIER, source, tmp_path / "out.jsonl")
    assert error.value.code == "no-such-column"


def test_run_resumes_after_a_late_file_with_other_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("reelsense.bulk.plan._MAX_FILES", 1)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1.csv").write_text("text\ngood\nbad\n")
    (tmp_path / "in" / "2.csv").write_text("text,more\ngood,1\n")
    with pytest.raises(DatasetError) as error:
        score_file(CLASSIFIER, tmp_path / "in", tmp_path / "out.csv", shard_rows=2)
    assert error.value.code == "different-columns"
    assert "completed shards are stored" in capsys.readouterr().err
    (tmp_path / "in" / "2.csv").write_text("text\ngood\n")
    score_file(CLASSIFIER, tmp_path / "in", tmp_path / "out.csv", shard_rows=2)
    assert "resumed: 1 shard (2 rows)" in capsys.readouterr().err


def test_parquet_requires_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "in.parquet").touch()
    with pytest.raises(MissingExtraError, match=r"\[parquet\]"):
        score_file(CLASSIFIER, tmp_path / "in.parquet", tmp_path / "out.csv")
    write_as(tmp_path, ".csv")
    arguments = ["predict", "--input", f"{tmp_path}/in.csv", "--model", "not loaded"]
    for output in (["--output", f"{tmp_path}/out.parquet"], ["--format", "parquet"]):
        result = CliRunner().invoke(cli, [*arguments, *output])
        assert isinstance(result.exception, MissingExtraError)


def test_s3_requires_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    write_as(tmp_path, ".csv")
    for name in ("s3", "s3a"):  # forget an earlier import
        monkeypatch.delitem(_registry, name, raising=False)
    for source, output in ((f"{tmp_path}/in.csv", "s3://a/b/"), ("s3://a/b.csv", "out.csv")):
        arguments = ["predict", "--model", "not loaded", "--input", source, "--output", output]
        result = CliRunner().invoke(cli, arguments)
        assert isinstance(result.exception, MissingExtraError)
        assert "[s3]" in str(result.exception)


def test_parquet_with_repeated_column_is_rejected(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table([["good"], ["bad"]], names=["text", "text"])
    parquet.write_table(table, tmp_path / "in.parquet")
    with pytest.raises(DatasetError) as error:
        score_file(CLASSIFIER, tmp_path / "in.parquet", tmp_path / "out.csv")
    assert error.value.code == "duplicate-column"


def test_deeply_nested_row_is_a_bad_row(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "good", "x": ' + "[" * 300 + "]" * 300 + '}\n{"text": "bad"}\n')
    score_file(CLASSIFIER, source, tmp_path / "out.jsonl")
    rows = read_back(tmp_path / "out.jsonl")
    assert "levels deep" in str(rows[0]["error"])
    assert rows[1]["label"] == "negative"


def test_shard_ends_after_many_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reelsense.bulk.shards._MAX_SHARD_SIZE", 200)
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": "good", "other": "x" * 60}] * 6)
    score_file(CLASSIFIER, source, f"{tmp_path}/out/")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [shard["rows"] for shard in manifest["shards"]] == [2, 2, 2]
