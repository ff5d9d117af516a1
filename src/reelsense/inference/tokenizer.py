"""Text to token ids, and token ids to windows that fit the network.

Supports every tokenizer.json with padding and one special token before and after a text. Does not
know labels or the network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from reelsense.errors import BundleError
from reelsense.inference.call_context import CallContext
from reelsense.text import clean

_CHARACTERS = 200_000  # tokenized at a time: the tokenizer needs about 500 bytes per token


@dataclass(frozen=True, slots=True)
class Tokens:
    """The token ids of one text, without [CLS] and [SEP]."""

    ids: list[int]
    offsets: list[int]  # index in the cleaned text of the first visible character of each token


# Names of the special tokens in families of encoders, by Transformers' names of their roles.
_SPECIAL = {
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "pad_token": ("[PAD]", "<pad>"),
    "mask_token": ("[MASK]", "<mask>"),
    "unk_token": ("[UNK]", "<unk>"),
}
_SPACE = "\u2581"  # SentencePiece's token for a space before an unknown word

_VISIBLE = re.compile(r"\S")


@dataclass(frozen=True, slots=True)
class Frame:
    """The special tokens around every window: BERT's [CLS] and [SEP], RoBERTa's <s> and </s>."""

    first: int
    last: int

    def around(self, ids: Sequence[int]) -> list[int]:
        """Return `ids` between the special tokens."""
        return [self.first, *ids, self.last]


class ReviewTokenizer:
    """The tokenizer of an encoder, read from a tokenizer.json, without truncation or padding.

    Special tokens written out in a review ("[MASK]", "[SEP]") are treated as ordinary text.

    Attributes:
        frame: The special tokens around every window.
        pad: The id of padding.
        mask: The id of a masked token, or None. Only pre-training needs it.
        unknown: The id of an unknown token, or None.
        special_tokens: Names of the special tokens by role ("cls_token").
        serialized: A tokenizer.json with the same vocabulary.
    """

    def __init__(self, serialized: str) -> None:
        """Read a tokenizer.json. Raises BundleError (`invalid-tokenizer`)."""
        try:
            self._tokenizer = Tokenizer.from_str(serialized)
        except Exception as error:  # tokenizers raises Exception for every error
            raise _invalid(f"cannot be read: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        self.special_tokens = _special_tokens(self._tokenizer)
        self.frame = _frame(self._tokenizer, self.special_tokens)
        for role, number in (("cls_token", self.frame.first), ("sep_token", self.frame.last)):
            self.special_tokens[role] = str(self._tokenizer.id_to_token(number))
        pad = self._id("pad_token")
        if pad is None:
            raise _invalid("has no padding token: expected [PAD] or <pad>")
        self.pad, self.mask = pad, self._id("mask_token")
        self.serialized = self._tokenizer.to_str()
        self._special = {*self.frame.around([self.pad]), self.mask}
        self.unknown = self._id("unk_token")
        self._unreadable = {self.unknown, self._tokenizer.token_to_id(_SPACE)}

    def _id(self, role: str) -> int | None:
        return self._tokenizer.token_to_id(self.special_tokens.get(role, ""))

    @property
    def size(self) -> int:
        """The largest token id plus 1."""
        return max(self._tokenizer.get_vocab().values()) + 1

    def encode(self, texts: Sequence[str], context: CallContext | None = None) -> list[list[int]]:
        """Clean `texts` and return the token ids of each, without special tokens.

        An empty list stands for a text of only unknown tokens, such as one word of 300 letters: all
        of these would get the same confident prediction. Raises DeadlineError, AbandonedError.
        """
        context = context or CallContext()
        ids: list[list[int]] = []
        for group in _groups(list(map(clean.clean, texts))):
            context.check()
            encodings = self._tokenizer.encode_batch_fast(group, add_special_tokens=False)
            ids += [self._known(encoding.ids) for encoding in encodings]
        return ids

    def encode_with_offsets(self, text: str) -> Tokens:
        """Return the token ids of a cleaned text, and where each token begins.

        Byte-level and SentencePiece tokens include the space before a word. Their offset is that of
        the word, so that it lies within the word's span.
        """
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        ids = self._known(encoding.ids)
        starts = [start for start, _ in encoding.offsets[: len(ids)]]
        visible = (_VISIBLE.search(text, start) for start in starts)
        pairs = zip(visible, starts, strict=True)
        return Tokens(ids, [match.start() if match else start for match, start in pairs])

    def _known(self, ids: list[int]) -> list[int]:
        """Return `ids` with special tokens as unknown ones; an empty list if all are unknown."""
        if self.unknown is not None and not self._special.isdisjoint(ids):
            # Unigram models find the names of special tokens among their ordinary pieces.
            ids = [self.unknown if token in self._special else token for token in ids]
        return ids if any(token not in self._unreadable for token in ids) else []


def _special_tokens(tokenizer: Tokenizer) -> dict[str, str]:
    """Return the names of the special tokens by role.

    MPNet's vocabulary contains BERT's [PAD] and [MASK] as ordinary entries: a token that is
    declared special takes precedence.
    """
    added = tokenizer.get_added_tokens_decoder().values()
    special = {token.content for token in added if token.special}
    name_by_role = {}
    for role, names in _SPECIAL.items():
        known = [name for name in names if tokenizer.token_to_id(name) is not None]
        if known:
            name_by_role[role] = min(known, key=lambda name: name not in special)
    return name_by_role


def _frame(tokenizer: Tokenizer, special_tokens: dict[str, str]) -> Frame:
    """Return the ids that `tokenizer` puts around a text.

    A tokenizer without a post-processor gets one with its special tokens.
    """
    try:
        text = tokenizer.encode("a", add_special_tokens=False).ids
        around = tokenizer.encode("a").ids
    except Exception as error:  # tokenizers raises Exception for every error
        raise _invalid(f"cannot encode a text: {error}") from error
    if around == text and {"cls_token", "sep_token"} <= special_tokens.keys():
        first, last = special_tokens["cls_token"], special_tokens["sep_token"]
        tokenizer.post_processor = TemplateProcessing(
            single=f"{first} $A {last}",
            special_tokens=[(end, tokenizer.token_to_id(end)) for end in (first, last)],
        )
        around = tokenizer.encode("a").ids
    if len(around) != len(text) + 2 or around[1:-1] != text:
        raise _invalid(
            "does not fit an encoder: expected a post-processor that adds one token before and one "
            f"after a text, but it turns {text} into {around}"
        )
    return Frame(around[0], around[-1])


def _invalid(reason: str) -> BundleError:
    return BundleError(f"tokenizer.json {reason}", code="invalid-tokenizer")


def _groups(texts: Sequence[str]) -> Iterator[list[str]]:
    """Yield consecutive groups of `texts` of about _CHARACTERS."""
    group: list[str] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size >= _CHARACTERS:
            yield group
            group, size = [], 0
    if group:
        yield group


def window_edges(tokens: int, length: int) -> list[int]:
    """Return the first token of each window of at most `length` tokens, and the number `tokens`.

    Two tokens of a window are special. Windows are as few as possible and of even size (within one
    token): a last window of two words would have the weight of the others in the mean. An empty
    text has one window.
    """
    count = max(1, -(-tokens // (length - 2)))
    return [tokens * n // count for n in range(count + 1)]


def windows(ids: Sequence[int], length: int, frame: Frame) -> list[list[int]]:
    """Divide `ids` into framed windows of at most `length` tokens."""
    edges = window_edges(len(ids), length)
    return [frame.around(ids[start:end]) for start, end in pairwise(edges)]


def head_and_tail(ids: Sequence[int], length: int, head_share: float, frame: Frame) -> list[int]:
    """Return one window of at most `length` tokens: the beginning and the end of `ids`.

    Reviews state their verdict at the start and at the end; this truncation was better than either
    alone (Sun et al. 2019).
    """
    room = length - 2
    if len(ids) <= room:
        return frame.around(ids)
    head = round(room * head_share)
    return frame.around([*ids[:head], *ids[len(ids) - (room - head) :]])
