import re

from hypothesis import given
from hypothesis import strategies as st

from reelsense.feedback.records import ID_PATTERN, NewFeedback, new_id, storable, text_hash

ANY_TEXT = st.text(st.characters(codec=None))  # also lone surrogates


def test_ids_match_pattern_and_differ() -> None:
    ids = {new_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch(ID_PATTERN, made) for made in ids)


@given(ANY_TEXT)
def test_storable_text_has_no_rejected_characters(text: str) -> None:
    assert "\0" not in storable(text)
    storable(text).encode()
    assert len(storable(text)) == len(text)


def test_text_hash_ignores_case_and_space() -> None:
    assert text_hash("A  joy.\r\n") == text_hash("a joy.")
    assert text_hash("A joy!") != text_hash("A joy.")
    # Stored hashes must keep their meaning.
    assert text_hash("A joy.").startswith("7606e1c1e6")


@given(ANY_TEXT)
def test_text_hash_accepts_any_text(text: str) -> None:
    assert re.fullmatch("[0-9a-f]{64}", text_hash(text))
    assert text_hash(storable(text)) == text_hash(text)


def test_idempotency_keys_of_api_keys_are_separate() -> None:
    first, second = (
        NewFeedback(text="a", label="b", key=key, idempotency_key="1") for key in ("shop", "till")
    )
    assert first.idempotency_hash != second.idempotency_hash
    assert NewFeedback(text="a").idempotency_hash is None
