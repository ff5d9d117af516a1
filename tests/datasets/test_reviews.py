import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from reelsense.datasets.reviews import (
    MAX_VALIDATION,
    Review,
    Split,
    labels_of,
    split_stratified,
    split_validation,
    text_key,
)


def make(groups: list[str]) -> list[Review]:
    return [Review(f"r{n}", "text", "positive", 8, group) for n, group in enumerate(groups)]


@given(st.lists(st.sampled_from([f"tt{n}" for n in range(30)]), min_size=1, max_size=200))
def test_split_validation_keeps_films_together_and_all_reviews(groups: list[str]) -> None:
    reviews = make(groups)
    split = split_validation(reviews)
    assert not {r.group for r in split.train} & {r.group for r in split.validation}
    assert sorted(r.name for r in [*split.train, *split.validation]) == sorted(
        r.name for r in reviews
    )


def test_split_validation_holds_out_about_the_share() -> None:
    reviews = make([f"tt{n // 5}" for n in range(1000)])
    assert 100 <= len(split_validation(reviews, 0.1).validation) < 105


def test_split_validation_depends_only_on_the_films() -> None:
    reviews = make([f"tt{n // 5}" for n in range(1000)])
    shuffled = random.Random(3).sample(reviews, len(reviews))
    first, second = split_validation(reviews), split_validation(shuffled)
    assert {r.name for r in first.validation} == {r.name for r in second.validation}


def labelled(rows: list[tuple[str, str]]) -> list[Review]:
    """Return reviews of pairs of a label and a group."""
    return [Review(f"r{n}", "text", *row[:1], None, row[1]) for n, row in enumerate(rows)]


def counts(split: Split) -> tuple[Counter[str | None], Counter[str | None]]:
    """Return the rows of each label in training and validation set."""
    train, validation = (
        Counter(review.label for review in part) for part in (split.train, split.validation)
    )
    return train, validation


ROWS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 60).map(str)), min_size=1, max_size=300
)
SHARES = st.none() | st.floats(0.01, 0.5)


@given(ROWS, SHARES)
def test_split_stratified_keeps_groups_together_and_all_reviews(
    rows: list[tuple[str, str]], share: float | None
) -> None:
    reviews = labelled(rows)
    split = split_stratified(reviews, share)
    assert not {r.group for r in split.train} & {r.group for r in split.validation}
    assert sorted(r.name for r in [*split.train, *split.validation]) == sorted(
        r.name for r in reviews
    )
    train, validation = counts(split)
    assert all(train[label] >= validation[label] for label in train | validation)


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=400), SHARES, st.randoms())
def test_split_stratified_holds_out_the_share_of_every_label(
    labels: list[str], share: float | None, choose: random.Random
) -> None:
    """Without duplicates exactly, and in any order of the rows."""
    reviews = labelled([(label, f"g{n}") for n, label in enumerate(labels)])
    split = split_stratified(choose.sample(reviews, len(reviews)), share)
    _, validation = counts(split)
    for label, size in Counter(labels).items():
        expected = share * size if share else max(0.1 * size, min(30, size // 3))
        assert validation[label] == min(max(1, round(expected)), size // 2)


def test_split_stratified_limits_the_validation_set() -> None:
    split = split_stratified(labelled([("ab"[n % 2], str(n)) for n in range(60_000)]))
    assert len(split.validation) == MAX_VALIDATION


def test_split_stratified_keeps_a_huge_group_in_training() -> None:
    rows = [("a", "huge")] * 80 + [("a", str(n)) for n in range(20)] + [("b", "b1"), ("b", "b2")]
    train, validation = counts(split_stratified(labelled(rows)))
    assert (train["a"], validation["a"]) == (80, 20)
    assert (train["b"], validation["b"]) == (1, 1)


def test_text_key_ignores_case_spaces_and_markup() -> None:
    assert text_key(" A <br />Good\nfilm") == text_key("a good  film")
    assert text_key("a good film") != text_key("a bad film")


def test_labels_of_sorts_labels_and_skips_unlabelled_reviews() -> None:
    reviews = [Review("a", "t", label, None, "") for label in ("b", None, "a", "b")]
    assert labels_of(reviews) == ["a", "b"]
