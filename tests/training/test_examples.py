from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reelsense.datasets.reviews import Review
from reelsense.errors import DatasetError
from reelsense.training.examples import Example, hard_examples, read_examples, write_examples
from tests.conftest import LABELS

EXAMPLES = st.builds(
    Example,
    st.text(min_size=1).filter(str.strip),
    st.floats(0, 1).map(lambda negative: (negative, 1 - negative)),
    st.none() | st.integers(1, 10),
    st.text(),
)


@given(st.lists(EXAMPLES))
@example([Example("half a \ud800 pair\u2028\r\n", (0.25, 0.75), None)])
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, examples: list[Example]
) -> None:
    path = tmp_path_factory.mktemp("examples") / "mine.jsonl"
    write_examples(path, examples, LABELS)
    assert read_examples(path, LABELS) == examples
    backwards = [replace(each, target=each.target[::-1]) for each in examples]
    assert read_examples(path, LABELS[::-1]) == backwards


RIGHT = '{"text": "fine", "target": {"negative": 0, "positive": 1}, "rating": 8}'
WRONG = [
    "fine",
    "",
    "[1]",
    "[" * 100_000,
    RIGHT.replace('"negative": 0, ', ""),
    RIGHT.replace('{"negative": 0, "positive": 1}', '"positive"'),
    RIGHT.replace('"negative": 0', '"negative": "none"'),
    RIGHT.replace('"negative": 0', '"negative": 0.1'),
    RIGHT.replace('"negative": 0, "positive": 1', '"negative": -1, "positive": 2'),
    RIGHT.replace('"negative": 0', '"negative": NaN'),
    RIGHT.replace('"negative": 0', '"negative": 1' + "0" * 400),
    RIGHT.replace('"text": "fine", ', ""),
    RIGHT.replace('"fine"', '" \\n"'),
    RIGHT.replace('"fine"', "7"),
    RIGHT.replace('"rating": 8', '"rating": "8"'),
    RIGHT.replace('"rating": 8', '"rating": true'),
    RIGHT.replace('"rating": 8', '"rating": 8.5'),
    RIGHT.replace('"rating": 8', '"source": null'),
]


@pytest.mark.parametrize("line", WRONG, ids=[line[-45:] for line in WRONG])
def test_a_fault_names_file_and_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(f"{RIGHT}\n{RIGHT}\n{line}\n{RIGHT}\n")
    with pytest.raises(DatasetError, match=r"mine\.jsonl, line 3: "):
        read_examples(path, LABELS)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    with pytest.raises(DatasetError, match=r"mine\.jsonl: No such file"):
        read_examples(path, LABELS)
    path.write_bytes(RIGHT.replace("fine", "caf\xe9").encode("latin-1"))
    with pytest.raises(DatasetError, match=r"mine\.jsonl.* not UTF-8"):
        read_examples(path, LABELS)


def test_a_label_gets_all_of_the_probability() -> None:
    labels = ("positive", None, "negative", "mixed")
    reviews = [Review(str(n), f"text {n}", label, 7 + n, "") for n, label in enumerate(labels)]
    assert hard_examples(reviews, LABELS, "mine") == [
        Example("text 0", (0.0, 1.0), 7, "mine"),
        Example("text 2", (1.0, 0.0), 9, "mine"),
    ]
