from reelsense.datasets.checks import describe_data
from reelsense.datasets.reviews import Review, Split


def make(*rows: tuple[str, str]) -> list[Review]:
    return [Review(f"a.csv:{n}", text, label, None, text) for n, (text, label) in enumerate(rows)]


def test_describe_data_counts_rows_and_labels() -> None:
    rows = make(("one", "a"), ("two", "a"), ("three", "b"), ("four", "b"), ("five", "b"))
    assert describe_data(rows, Split(rows[:1] + rows[2:4], rows[1:2] + rows[4:])) == [
        "5 rows: b 3, a 2",
        "3 rows for training, 2 for validation",
    ]


def test_describe_data_lists_a_few_of_many_labels() -> None:
    rows = make(*((f"text {n}", f"label {n}") for n in range(15)))
    first, *_ = describe_data(rows, Split([], rows))
    assert first.count("label") == 13
    assert first.endswith("and 3 more labels")


def test_describe_data_reports_duplicates_and_contradictions() -> None:
    rows = make(("Good film", "a"), ("good  film", "a"), ("fine", "a"), ("Fine", "b"), ("odd", "b"))
    _, _, missing, *lines = describe_data(rows, Split(rows, []))
    assert missing == "labels without a validation row: a, b"
    assert lines == [
        "2 rows repeat the text of an earlier row",
        "1 texts have different labels: a.csv:2 a, a.csv:3 b",
    ]


def test_describe_data_reports_overlap() -> None:
    rows = make(("one", "a"), ("two", "b"), ("One", "a"), ("two", "b"))
    *_, omitted, both = describe_data(rows, Split(rows[:1], rows[1:3]))
    assert omitted.startswith("1 rows are not trained on")
    assert both.startswith("1 validation rows have a text")
