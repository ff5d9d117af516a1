from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reelsense.datasets.reviews import Review
from reelsense.errors import DatasetError
from reelsense.inference.batching import padded
from reelsense.training.examples import Example, hard_examples, plan_epoch, read_examples
from reelsense.training.recipe import Stage
from tests.conftest import LABELS
from tests.training.conftest import write_examples

EXAMPLES = st.builds(
    Example,
    st.text(min_size=1).filter(str.strip),
    st.floats(0, 1).map(lambda negative: (negative, 1 - negative)),
    st.none() | st.integers(1, 10),
    st.text(),
)


@given(st.lists(EXAMPLES))
@example([Example("half a \ud800 pair\u2028\r\n", (0.25, 0.75), None)])
def test_read_examples_returns_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, examples: list[Example]
) -> None:
    path = tmp_path_factory.mktemp("examples") / "mine.jsonl"
    write_examples(path, examples, LABELS)
    assert read_examples(path, LABELS) == examples
    reversed_targets = [replace(row, target=row.target[::-1]) for row in examples]
    assert read_examples(path, LABELS[::-1]) == reversed_targets


VALID = '{"text": "fine", "target": {"negative": 0, "positive": 1}, "rating": 8}'
INVALID = [
    "fine",
    "",
    "[1]",
    "[" * 100_000,
    VALID.replace('"negative": 0, ', ""),
    VALID.replace('{"negative": 0, "positive": 1}', '"positive"'),
    VALID.replace('"negative": 0', '"negative": "none"'),
    VALID.replace('"negative": 0', '"negative": 0.1'),
    VALID.replace('"negative": 0, "positive": 1', '"negative": -1, "positive": 2'),
    VALID.replace('"negative": 0', '"negative": NaN'),
    VALID.replace('"negative": 0', '"negative": 1' + "0" * 400),
    VALID.replace('"text": "fine", ', ""),
    VALID.replace('"fine"', '" \\n"'),
    VALID.replace('"fine"', "7"),
    VALID.replace('"rating": 8', '"rating": "8"'),
    VALID.replace('"rating": 8', '"rating": true'),
    VALID.replace('"rating": 8', '"rating": 8.5'),
    VALID.replace('"rating": 8', '"source": null'),
]


@pytest.mark.parametrize("line", INVALID, ids=[line[-45:] for line in INVALID])
def test_read_examples_names_file_and_line_of_an_error(tmp_path: Path, line: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(f"{VALID}\n{VALID}\n{line}\n{VALID}\n")
    with pytest.raises(DatasetError, match=r"mine\.jsonl, line 3: "):
        read_examples(path, LABELS)


def test_hard_examples_give_a_label_all_of_the_probability() -> None:
    labels = ("positive", None, "negative", "mixed")
    reviews = [Review(str(n), f"text {n}", label, 7 + n, "") for n, label in enumerate(labels)]
    assert hard_examples(reviews, LABELS, "mine") == [
        Example("text 0", (0.0, 1.0), 7, "mine"),
        Example("text 2", (1.0, 0.0), 9, "mine"),
    ]


def stage(tokens_per_batch: int, texts_per_batch: int = 1024) -> Stage:
    return Stage(
        name="tiny",
        base="",
        lengths=(512,),
        tokens_per_batch=tokens_per_batch,
        texts_per_batch=texts_per_batch,
    )


@given(
    st.lists(st.integers(2, 512), min_size=1, max_size=300),
    st.integers(512, 6144),
    st.integers(1, 400),
)
def test_plan_epoch_has_every_text_once_and_keeps_the_limits(
    lengths: list[int], budget: int, max_texts: int
) -> None:
    plan = plan_epoch(lengths, stage(budget, max_texts), epoch=0)
    assert sorted(index for batch in plan for index in batch) == list(range(len(lengths)))
    for batch in plan:
        assert len(batch) <= max_texts
        assert len(batch) * padded(max(lengths[n] for n in batch)) <= budget


def test_plan_epoch_is_repeatable_and_differs_by_epoch() -> None:
    lengths = [10 + n % 90 for n in range(500)]
    assert plan_epoch(lengths, stage(1024), 0) == plan_epoch(lengths, stage(1024), 0)
    assert plan_epoch(lengths, stage(1024), 0) != plan_epoch(lengths, stage(1024), 1)


def test_plan_epoch_needs_little_padding() -> None:
    lengths = [20 + (n * 37) % 300 for n in range(5000)]
    plan = plan_epoch(lengths, stage(6144), 0)
    padded_tokens = sum(padded(max(lengths[n] for n in batch)) * len(batch) for batch in plan)
    assert padded_tokens < 1.08 * sum(lengths)
