import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.errors import DatasetError
from reelsense.tables.row import Columns, Row, value_of


@pytest.mark.parametrize(
    ("header", "column", "expected"),
    [
        (("id", "review"), "review", "review"),
        (("id", "review"), "2", "review"),
        (("id", " Review "), "review", " Review "),
        (("id", "2"), "2", "2"),
        (("review", "id", "review"), "3", "review (2)"),
        (("review", "id", "review"), "review (2)", "review (2)"),
        (("Review\n(please)", "id"), "1", "Review\n(please)"),
        (("Review\n(please)", "id"), "Review (please)", "Review\n(please)"),
        (("v1", "v2", "", ""), "v2", "v2"),
        (("anything",), None, "anything"),
        (("id", "Review"), None, "Review"),
        (("review", "text"), None, "text"),
    ],
)
def test_choose_returns_the_name_of_the_column(
    header: tuple[str, ...], column: str | None, expected: str
) -> None:
    assert Columns(header).choose(column, "a.csv") == expected


@pytest.mark.parametrize(
    ("header", "column", "code"),
    [
        (("review", "id", "review"), "review", "ambiguous-column"),
        (("id", "review"), "film", "no-such-column"),
        (("id", "review"), "3", "no-such-column"),
        (("id", "film"), None, "no-such-column"),
    ],
)
def test_choose_rejects_unknown_and_ambiguous_columns(
    header: tuple[str, ...], column: str | None, code: str
) -> None:
    with pytest.raises(DatasetError) as error:
        Columns(header).choose(column, "a.csv")
    assert error.value.code == code


@given(st.lists(st.sampled_from(["", "a", "a (2)", "column 1", "column 2", "b"]), max_size=8))
def test_names_are_unique(header: list[str]) -> None:
    names = Columns(tuple(header)).names
    assert len(set(names)) == len(header)
    assert all(name == title for name, title in zip(names, header, strict=True)
               if title and header.count(title) == 1)  # fmt: skip


def test_value_of_finds_nested_values() -> None:
    row = Row(1, {"review": {"text": "Fine", "n": 1}, "a.b": "dotted"})
    assert value_of(row, "review.text") == "Fine"
    assert value_of(row, "a.b") == "dotted"
    for missing in ("review.stars", "review.text.more", "x"):
        with pytest.raises(KeyError):
            value_of(row, missing)
