import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from reelsense.errors import BundleError
from reelsense.inference.tokenizer import Frame, ReviewTokenizer, Tokens, head_and_tail, windows
from tests.tiny import VOCABULARY, tokenizer_json

FRAME = Frame(101, 102)
IDS = st.lists(st.integers(200, 30000), max_size=600)


def test_encodes_whole_texts_without_frame() -> None:
    tokenizer = ReviewTokenizer(tokenizer_json())
    assert tokenizer.encode(["Good film", ""]) == [[VOCABULARY["good"], VOCABULARY["film"]], []]
    assert len(tokenizer.encode(["good " * 3000])[0]) == 3000


def test_a_special_token_in_a_review_is_ordinary_text() -> None:
    tokenizer = ReviewTokenizer(tokenizer_json())
    assert tokenizer.encode(["[MASK]"]) == [[VOCABULARY[part] for part in ("[", "mask", "]")]]


def test_what_is_no_bert_tokenizer_is_refused() -> None:
    with pytest.raises(BundleError, match="not a readable tokenizer"):
        ReviewTokenizer("{}")
    other = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))  # noqa: S106
    with pytest.raises(BundleError, match="does not fit an encoder"):
        ReviewTokenizer(other.to_str())


@given(IDS, st.integers(3, 64))
def test_windows_hold_every_token_once_and_are_even(ids: list[int], length: int) -> None:
    cut = windows(ids, length, FRAME)
    assert [token for window in cut for token in window[1:-1]] == ids
    assert all(window[0] == 101 and window[-1] == 102 for window in cut)
    sizes = [len(window) for window in cut]
    assert max(sizes) <= length
    assert max(sizes) - min(sizes) <= 1
    assert len(cut) == max(1, -(-len(ids) // (length - 2)))


@given(IDS, st.integers(3, 64), st.floats(0, 1))
def test_head_and_tail_keeps_both_ends(ids: list[int], length: int, share: float) -> None:
    cut = head_and_tail(ids, length, share, FRAME)[1:-1]
    assert len(cut) == min(len(ids), length - 2)
    if len(ids) > length - 2:
        head = round((length - 2) * share)
        assert cut[:head] == ids[:head]
        assert cut[head:] == ids[len(ids) - (length - 2 - head) :]


def test_many_texts_are_tokenized_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = ReviewTokenizer(tokenizer_json())
    texts = ["good film " * n for n in range(8)]
    whole = tokenizer.encode(texts)
    monkeypatch.setattr("reelsense.inference.tokenizer._CHARACTERS", 25)
    assert tokenizer.encode(texts) == whole
    assert tokenizer.encode([]) == []


def test_a_text_of_unknown_tokens_alone_holds_nothing() -> None:
    tokenizer = ReviewTokenizer(tokenizer_json("[UNK]"))
    unknown = VOCABULARY["[UNK]"]
    assert tokenizer.encode(["\u2605", "x" * 300_000, "\u2605 film"]) == [
        [],
        [],
        [unknown, VOCABULARY["film"]],
    ]
    assert tokenizer.locate("\u2605 \u2605") == Tokens([], [])
    assert tokenizer.locate("\u2605 film") == Tokens([unknown, VOCABULARY["film"]], [0, 2])
