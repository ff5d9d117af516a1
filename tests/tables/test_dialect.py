import csv
import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.errors import DatasetError
from reelsense.tables.dialect import detect
from reelsense.tables.records import Dialect, Record, read_records

REVIEWS = (
    "A warm and funny film, well worth the ticket.",
    'They say "see it"; I say don\'t.',
    "Dull from start to finish.\n\nI left early.",
    "Plain fun.",
    "The worst film, ever: slow, loud, long.",
    "Not for me | maybe for you",
)
HEADER = ["id", "review", "sentiment"]


def lines_of(text: str) -> list[str]:
    return list(io.StringIO(text, newline=""))


def read(text: str, suffix: str = ".csv") -> list[list[str]]:
    lines = lines_of(text)
    layout = detect(lines, suffix)
    records = list(read_records(lines[layout.first_line :], layout.dialect, layout.is_row))
    assert not [record.error for record in records if record.error]
    return [record.fields for record in records]


def table(count: int, *, breaks: bool) -> list[list[str]]:
    choose = random.Random(count)
    rows = [
        [str(n), choose.choice(REVIEWS), choose.choice(["positive", "negative"])]
        for n in range(1, count + 1)
    ]
    if not breaks:
        rows = [[cell.replace("\n", " ") for cell in row] for row in rows]
    return [HEADER, *rows]


def written(rows: list[list[str]], **options: object) -> str:
    output = io.StringIO()
    csv.writer(output, **options).writerows(rows)  # type: ignore[arg-type]
    return output.getvalue()


@pytest.mark.parametrize("count", [1, 5, 300])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
def test_detect_finds_doubled_quotes(count: int, delimiter: str, quoting: int) -> None:
    rows = table(count, breaks=True)
    text = written(rows, delimiter=delimiter, quoting=quoting)
    assert read(text, ".tsv" if delimiter == "\t" else ".csv") == rows


@pytest.mark.parametrize("count", [5, 300])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_detect_finds_quotes_escaped_by_a_backslash(count: int, delimiter: str) -> None:
    rows = table(count, breaks=True)
    text = written(
        rows, delimiter=delimiter, quoting=csv.QUOTE_ALL, doublequote=False, escapechar="\\"
    )
    assert read(text, ".tsv" if delimiter == "\t" else ".csv") == rows


@pytest.mark.parametrize("count", [5, 300])
def test_detect_finds_files_without_quoting(count: int) -> None:
    rows = [[*row[:1], '"' * (n % 3 == 1) + row[1], row[2]] for n, row in
            enumerate(table(count, breaks=False))]  # fmt: skip
    text = "".join("\t".join(row) + "\r\n" for row in rows)
    assert read(text, ".tsv") == rows


@pytest.mark.parametrize(
    ("text", "suffix", "rows"),
    [
        pytest.param(
            'id\treview\n1\t" A bore\n2\tFine\n3\tGood "\n4\tBad\n',
            ".tsv",
            [["id", "review"], ["1", '" A bore'], ["2", "Fine"], ["3", 'Good "'], ["4", "Bad"]],
            id="quotes that hide rows of a .tsv",
        ),
        pytest.param(
            'id,review\n1," A bore\n2,Fine\n3,Good "\n4,Bad\n',
            ".csv",
            [["id", "review"], ["1", '" A bore'], ["2", "Fine"], ["3", 'Good "'], ["4", "Bad"]],
            id="quotes that hide rows of a .csv with a column of numbers",
        ),
        pytest.param(
            'id,review\n1,"Great film.\nI loved it, really"\n2,"Bad"\n',
            ".csv",
            [["id", "review"], ["1", "Great film.\nI loved it, really"], ["2", "Bad"]],
            id="a line break inside a quoted field",
        ),
        pytest.param(
            'id,path\n1,"C:\\films"\n2,"a \\"b\\""\n',
            ".csv",
            [["id", "path"], ["1", "C:\\films"], ["2", 'a "b"']],
            id="a backslash that escapes nothing stays",
        ),
        pytest.param(
            "Great film.\nBad film, really.\n", ".csv", [["Great film."], ["Bad film, really."]],
            id="one column with commas",
        ),
        pytest.param("\n\nid,review\n1,Fine\n", ".csv", [["id", "review"], ["1", "Fine"]],
                     id="blank lines before the header"),
        pytest.param("sep=;\r\na;b\r\n1;2\r\n", ".csv", [["a", "b"], ["1", "2"]],
                     id="a line with the separator"),
        pytest.param('"Review\n(please)";id\n"Great, really.";1\n', ".csv",
                     [["Review\n(please)", "id"], ["Great, really.", "1"]],
                     id="a line break in the header"),
        pytest.param("", ".csv", [], id="an empty file"),
        pytest.param('"', ".csv", [['"']], id="a single quote"),
    ],
)  # fmt: skip
def test_detect_reads_real_world_shapes(text: str, suffix: str, rows: list[list[str]]) -> None:
    assert read(text, suffix) == rows


def test_detect_keeps_what_the_user_chose() -> None:
    layout = detect(["a;b\n", "1;2\n"], ".csv", delimiter=",", quoting="none")
    assert layout.dialect == Dialect(",", "none")
    with pytest.raises(DatasetError) as error:
        detect(["a\n"], ".csv", delimiter="ab")
    assert error.value.code == "invalid-delimiter"


@given(st.text(alphabet='a1,;\t"\\\n\r ', max_size=200))
def test_detect_and_read_lose_no_line(text: str) -> None:
    lines = lines_of(text)
    layout = detect(lines, ".csv")
    rest = lines[layout.first_line :]
    records = list(read_records(rest, layout.dialect, layout.is_row))
    read_lines = [n for r in records for n in range(r.line, r.last_line + 1)]
    blank = [n for n, line in enumerate(rest, 1) if not line.strip("\r\n")]
    assert sorted(read_lines) == [n for n in range(1, len(rest) + 1) if n in set(read_lines)]
    assert set(range(1, len(rest) + 1)) - set(read_lines) <= set(blank)


fields = st.text(alphabet='ab1,;\t"\n ', max_size=12).filter(lambda field: field.strip() != "")


@given(st.lists(st.tuples(fields, fields, fields), min_size=1, max_size=8))
def test_read_records_returns_what_the_csv_module_wrote(rows: list[tuple[str, ...]]) -> None:
    lines = lines_of(written([list(row) for row in rows], quoting=csv.QUOTE_ALL))
    assert [tuple(record.fields) for record in read_records(lines, Dialect(","))] == rows


def test_read_records_makes_one_line_an_error_and_goes_on() -> None:
    text = 'id,text\n1,"a" b\n2,"two\nlines"\n3,"open\n4,"good, too"\n5,fine\n6,"open\n7,x'
    assert list(read_records(lines_of(text), Dialect(","))) == [
        Record(1, 1, ["id", "text"]),
        Record(2, 2, ["1", "a b"], "text after the closing quote of a field"),
        Record(3, 4, ["2", "two\nlines"]),
        Record(5, 5, ["3", "open\n"], "text after the closing quote of a field"),
        Record(6, 6, ["4", "good, too"]),
        Record(7, 7, ["5", "fine"]),
        Record(8, 8, ["6", "open\n"], "unterminated quoted field"),
        Record(9, 9, ["7", "x"]),
    ]


def test_read_records_finds_rows_hidden_by_quotes_after_the_sample() -> None:
    text = "id,text\n" + "".join(f"{n},fine\n" for n in range(1200)) + '8," a\n9,b\n10,c "\n'
    lines = lines_of(text)
    layout = detect(lines[:1000], ".csv", is_cut=True)
    *_, first, second, third = read_records(lines, layout.dialect, layout.is_row)
    assert (first.fields[0], second.fields, third.fields) == ("8", ["9", "b"], ["10", 'c "'])
    assert first.error


def test_read_records_takes_linear_time_for_unclosed_quotes() -> None:
    lines = ['x","\n'] * 20_000  # each line opens a quote, inside and outside of quotes
    records = list(read_records(lines, Dialect(","), max_reread=1_000_000))
    assert len(records) == 20_000
    assert all(record.error for record in records)
