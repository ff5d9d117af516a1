import random

from hypothesis import given
from hypothesis import strategies as st

from reelsense.datasets.reviews import Review, labels_of, split_validation


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


def test_labels_of_sorts_labels_and_skips_unlabelled_reviews() -> None:
    reviews = [Review("a", "t", label, None, "") for label in ("b", None, "a", "b")]
    assert labels_of(reviews) == ["a", "b"]
