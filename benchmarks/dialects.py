"""Compare detectors of dialects: how many generated tables are read back as they were written.

pip install duckdb clevercsv
python benchmarks/dialects.py --reviews data/aclImdb
"""

import argparse
import csv
import io
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import clevercsv
import duckdb

from reelsense.tables.delimited import read_delimited

TABLES_PER_KIND = 5
ROWS = (3, 20, 300)
HEADER = ("id", "review", "sentiment", "stars")
ORDERS = ((0, 1, 2, 3), (1, 0), (1, 2), (0, 1), (0, 2, 3, 1))  # of columns

Rows = list[list[str]]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reviews", type=Path, required=True, help="folder of the dataset")
    folder = parser.parse_args().reviews / "train" / "pos"
    reviews = [path.read_text() for path in sorted(folder.glob("*.txt"))[:1500]]
    tables = list(generated(reviews, random.Random(1)))
    for detector in (with_reelsense, with_clevercsv, with_duckdb, with_csv_sniffer):
        start = time.perf_counter()
        right = Counter(
            quoting for quoting, rows, text, suffix in tables if detector(text, suffix) == rows
        )
        seconds = time.perf_counter() - start
        print(f"{detector.__name__:18}{dict(right)}  {seconds:.1f} s")
    print("tables            ", dict(Counter(quoting for quoting, *_ in tables)))


def generated(reviews: list[str], choose: random.Random) -> Iterator[tuple[str, Rows, str, str]]:
    """Yield the quoting, the rows, the text and the suffix of each table."""
    for delimiter, quoting, count, _ in product(
        ",;\t|", ("doubled", "backslash", "none"), ROWS, range(TABLES_PER_KIND)
    ):
        rows = table(reviews, choose, count)
        if quoting == "none":
            rows = [
                [cell.replace("\n", " ").replace(delimiter, " ") for cell in row] for row in rows
            ]
        text = written(rows, delimiter, quoting, choose)
        yield quoting, rows, text, ".tsv" if delimiter == "\t" else ".csv"


def table(reviews: list[str], choose: random.Random, count: int) -> Rows:
    """Return a header and rows in a random order of columns."""
    order = choose.choice(ORDERS)
    rows: Rows = [list(HEADER)]
    for n in range(count):
        label, stars = choose.choice(["positive", "negative"]), str(choose.randint(1, 10))
        rows.append([str(n), varied(choose.choice(reviews), choose), label, stars])
    return [[row[column] for column in order] for row in rows]


def varied(review: str, choose: random.Random) -> str:
    """Return a review with line breaks, shortened, or with stray quotes."""
    review = review.replace("\\", "/")
    review = review.replace("<br /><br />", "\n\n" if choose.random() < 0.3 else " ")
    if choose.random() < 0.3:
        review = review[: choose.randint(20, 200)]
    if choose.random() < 0.1:
        review = f'"{review}'
    return f'{review} "' if choose.random() < 0.1 else review


def written(rows: Rows, delimiter: str, quoting: str, choose: random.Random) -> str:
    """Return the rows as text."""
    end = choose.choice(["\n", "\r\n"])
    if quoting == "none":
        return "".join(delimiter.join(row) + end for row in rows)
    output = io.StringIO()
    options: dict[str, Any] = {"delimiter": delimiter, "lineterminator": end}
    if quoting == "backslash":
        options |= {"doublequote": False, "escapechar": "\\"}
    style = choose.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC])
    options["quoting"] = style
    csv.writer(output, **options).writerows(rows)
    return output.getvalue()


def with_reelsense(text: str, suffix: str) -> Rows | None:
    """Read with this package."""
    found = read_delimited(io.StringIO(text, newline=""), suffix, "table")
    rows = list(found.rows)
    if any(row.error for row in rows):
        return None
    return [list(found.columns.header), *([*map(str, row.values.values())] for row in rows)]


def with_clevercsv(text: str, _: str) -> Rows | None:
    """Read with the dialect that clevercsv detects in the first 20,000 characters."""
    if (dialect := clevercsv.Sniffer().sniff(text[:20_000])) is None:
        return None
    return read(text, dialect.delimiter, dialect.quotechar, dialect.escapechar)


def with_duckdb(text: str, _: str) -> Rows | None:
    """Read with the dialect that DuckDB's sniffer detects."""
    with tempfile.NamedTemporaryFile("w", newline="") as file:
        file.write(text)
        file.flush()
        query = f"select Delimiter, Quote, Escape from sniff_csv('{file.name}')"  # noqa: S608  # our own file
        try:
            [(delimiter, quote, escape)] = duckdb.sql(query).fetchall()
        except duckdb.Error:
            return None
    absent = ("(empty)", "\0", None)
    quote, escape = ("" if value in absent else value for value in (quote, escape))
    delimiter = "\t" if delimiter == "\\t" else delimiter
    return read(text, delimiter, quote, "" if escape == quote else escape)


def with_csv_sniffer(text: str, _: str) -> Rows | None:
    """Read with the dialect that Python's csv module detects."""
    try:
        dialect = csv.Sniffer().sniff(text[:20_000])
    except csv.Error:
        return None
    return read(text, dialect.delimiter, dialect.quotechar or "", dialect.escapechar or "")


def read(text: str, delimiter: str, quote: str, escape: str) -> Rows | None:
    """Read with Python's csv module."""
    options: dict[str, Any] = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    if escape:
        options |= {"escapechar": escape, "doublequote": False}
    try:
        return list(
            csv.reader(io.StringIO(text, newline=""), delimiter=delimiter or ",", **options)
        )
    except (csv.Error, TypeError):
        return None


if __name__ == "__main__":
    main()
