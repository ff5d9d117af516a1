from hypothesis import given
from hypothesis import strategies as st

from reelsense.inference.batching import padded
from reelsense.training.batches import plan_epoch


@given(
    st.lists(st.integers(2, 512), min_size=1, max_size=300),
    st.integers(512, 6144),
    st.integers(1, 400),
)
def test_every_review_once_and_never_over_budget(
    lengths: list[int], budget: int, most: int
) -> None:
    plan = plan_epoch(lengths, budget, seed=1, epoch=0, max_texts=most)
    assert sorted(index for batch in plan for index in batch) == list(range(len(lengths)))
    for batch in plan:
        assert len(batch) <= most
        assert len(batch) * padded(max(lengths[n] for n in batch)) <= budget


def test_a_plan_is_repeatable_and_differs_by_epoch() -> None:
    lengths = [10 + n % 90 for n in range(500)]
    assert plan_epoch(lengths, 1024, 1, 0) == plan_epoch(lengths, 1024, 1, 0)
    assert plan_epoch(lengths, 1024, 1, 0) != plan_epoch(lengths, 1024, 1, 1)


def test_there_is_almost_no_padding() -> None:
    lengths = [20 + (n * 37) % 300 for n in range(5000)]
    plan = plan_epoch(lengths, 6144, 1, 0)
    read = sum(padded(max(lengths[n] for n in batch)) * len(batch) for batch in plan)
    assert read < 1.08 * sum(lengths)
