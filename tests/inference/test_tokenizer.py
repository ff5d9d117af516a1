import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, processors

from reelsense.errors import BundleError
from reelsense.inference.tokenizer import Frame, ReviewTokenizer, Tokens, head_and_tail, windows
from reelsense.text.clean import clean
from tests.tiny import SPECIAL, VOCABULARY, tokenizer_json
from tests.tiny_tokenizers import KINDS

FRAME = Frame(101, 102)
TOKENIZERS = {kind: ReviewTokenizer(make()) for kind, make in KINDS.items()}
every_kind = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
IDS = st.lists(st.integers(200, 30000), max_size=600)


def test_encode_returns_whole_texts_without_special_tokens() -> None:
    tokenizer = ReviewTokenizer(tokenizer_json())
    assert tokenizer.encode(["Good film", ""]) == [[VOCABULARY["good"], VOCABULARY["film"]], []]
    assert len(tokenizer.encode(["good " * 3000])[0]) == 3000


def test_special_token_in_a_review_is_ordinary_text() -> None:
    tokenizer = ReviewTokenizer(tokenizer_json())
    assert tokenizer.encode(["[MASK]"]) == [[VOCABULARY[part] for part in ("[", "mask", "]")]]


def test_tokenizer_rejects_invalid_file() -> None:
    other = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))  # noqa: S106
    for serialized in ("{}", other.to_str()):
        with pytest.raises(BundleError) as caught:
            ReviewTokenizer(serialized)
        assert caught.value.code == "invalid-tokenizer"


@given(IDS, st.integers(3, 64))
def test_windows_contain_every_token_once_and_are_even(ids: list[int], length: int) -> None:
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


def test_encode_tokenizes_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = ReviewTokenizer(tokenizer_json())
    texts = ["good film " * n for n in range(8)]
    whole = tokenizer.encode(texts)
    monkeypatch.setattr("reelsense.inference.tokenizer._CHARACTERS", 25)
    assert tokenizer.encode(texts) == whole
    assert tokenizer.encode([]) == []


def test_encode_returns_nothing_for_unknown_tokens() -> None:
    tokenizer = ReviewTokenizer(tokenizer_json("[UNK]"))
    unknown = VOCABULARY["[UNK]"]
    assert tokenizer.encode(["\u2605", "x" * 300_000, "\u2605 film"]) == [
        [],
        [],
        [unknown, VOCABULARY["film"]],
    ]
    assert tokenizer.encode_with_offsets("\u2605 \u2605") == Tokens([], [])
    assert tokenizer.encode_with_offsets("\u2605 film") == Tokens(
        [unknown, VOCABULARY["film"]], [0, 2]
    )


@every_kind
def test_offsets_are_within_the_word(tokenizer: ReviewTokenizer) -> None:
    text = "the  film was good, a bad\nfilm"
    tokens = tokenizer.encode_with_offsets(text)
    assert tokens.ids == tokenizer.encode([text])[0]
    for word in re.finditer(r"\w+", text):
        within = [
            number
            for number, offset in zip(tokens.ids, tokens.offsets, strict=True)
            if word.start() <= offset < word.end()
        ]
        assert tokenizer._tokenizer.decode(within).strip() == word[0]


@every_kind
@given(text=st.text(st.sampled_from("aGz \t\n.!'\u00e9\u0301\u3000\u200b\U0001f44e[]<s>")))
def test_offsets_are_visible_characters(tokenizer: ReviewTokenizer, text: str) -> None:
    text = clean(text)
    tokens = tokenizer.encode_with_offsets(text)
    assert tokens.ids == tokenizer.encode([text])[0]
    assert tokens.offsets == sorted(tokens.offsets)
    assert not any(text[offset].isspace() for offset in tokens.offsets)


@pytest.mark.parametrize(
    ("kind", "first", "last", "pad", "mask"),
    [
        ("bert", "[CLS]", "[SEP]", "[PAD]", "[MASK]"),
        ("mpnet", "<s>", "</s>", "<pad>", "<mask>"),
        ("roberta", "<s>", "</s>", "<pad>", "<mask>"),
        ("modernbert", "[CLS]", "[SEP]", "[PAD]", "[MASK]"),
        ("deberta-v2", "[CLS]", "[SEP]", "[PAD]", "[MASK]"),
    ],
)
def test_special_tokens_are_those_of_the_family(
    kind: str, first: str, last: str, pad: str, mask: str
) -> None:
    tokenizer = TOKENIZERS[kind]
    expected = [tokenizer._tokenizer.token_to_id(token) for token in (first, last, pad, mask)]
    assert [*tokenizer.frame.around([]), tokenizer.pad, tokenizer.mask] == expected


def test_tokenizer_without_post_processor_gets_one() -> None:
    bare = Tokenizer.from_str(tokenizer_json())
    bare.post_processor = None
    tokenizer = ReviewTokenizer(bare.to_str())
    assert tokenizer.frame == Frame(VOCABULARY["[CLS]"], VOCABULARY["[SEP]"])
    again = Tokenizer.from_str(tokenizer.serialized)
    assert again.encode("film").ids == tokenizer.frame.around([VOCABULARY["film"]])


def _without(token: str) -> str:
    return tokenizer_json().replace(token, "[none]")


def _ending_in_two(token: str) -> str:
    """Return a tokenizer with both special tokens after the text, as in XLNet."""
    tokenizer = Tokenizer.from_str(tokenizer_json())
    ends = [(name, VOCABULARY[name]) for name in ("[SEP]", token)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A [SEP] {token}", special_tokens=ends
    )
    return tokenizer.to_str()


@pytest.mark.parametrize("serialized", [_without("[PAD]"), _ending_in_two("[CLS]")])
def test_tokenizer_rejects_missing_special_tokens(serialized: str) -> None:
    with pytest.raises(BundleError, match=r"^tokenizer\.json "):
        ReviewTokenizer(serialized)


def test_encode_returns_nothing_for_unknown_sentencepiece_tokens() -> None:
    tokenizer = TOKENIZERS["deberta-v2"]
    assert tokenizer.encode(["\u2605 \u2605"]) == [[]]
    assert tokenizer.encode_with_offsets("\u2605") == Tokens([], [])
    assert len(tokenizer.encode(["\u2605 film"])[0]) == 3


def test_special_tokens_of_all_families_are_ordinary_text() -> None:
    for tokenizer in TOKENIZERS.values():
        special = {tokenizer.frame.first, tokenizer.frame.last, tokenizer.pad, tokenizer.mask}
        for name in (*SPECIAL, "<s>", "</s>", "<pad>", "<mask>"):
            assert special.isdisjoint(tokenizer.encode([f"a {name} film"])[0])
