from hypothesis import given, settings
from hypothesis import strategies as st

from reelsense.datasets.text_hashes import hash_texts, known_texts, merge_hashes

TEXTS = st.lists(st.text(max_size=20), max_size=30)


@settings(deadline=None)  # the first call compiles patterns
@given(TEXTS, TEXTS)
def test_known_texts_finds_every_hashed_text(texts: list[str], others: list[str]) -> None:
    hashes = merge_hashes(hash_texts(texts), hash_texts(others))
    assert known_texts(hashes, [*others, *texts]).all()
    assert hashes == hash_texts([*others, *texts])


def test_known_texts_ignores_case_and_spaces_but_not_words() -> None:
    hashes = hash_texts(["A good  film", "A good film", "lone \ud800"])
    assert len(hashes) == 2 * 4
    texts = ["a GOOD film ", "a bad film", "lone \ud800"]
    assert known_texts(hashes, texts).tolist() == [True, False, True]
    assert known_texts(hash_texts([]), texts).tolist() == [False] * 3


def test_hash_texts_is_the_same_on_every_machine() -> None:
    """Bundles store it."""
    assert hash_texts(["good", "bad"]).hex() == "770e60762f05d4b6"


def test_hash_texts_rarely_takes_other_texts_for_known_ones() -> None:
    hashes = hash_texts(f"review {n}" for n in range(20_000))
    assert known_texts(hashes, [f"other {n}" for n in range(20_000)]).sum() <= 2
