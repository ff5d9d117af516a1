"""Text to token ids, and token ids to windows that fit the network.

Reads any tokenizer.json that encloses a text between two special tokens and can pad. Knows token
ids and lengths; neither labels nor the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tokenizers import Tokenizer

from reelsense import review
from reelsense.errors import BundleError
from reelsense.inference.clock import Clock

_CHARACTERS = 200_000
"""Tokenized at a time. The tokenizer takes about 500 bytes a token while it works."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The token ids of one text, without [CLS] and [SEP]."""

    ids: list[int]
    places: list[int]
    """Where each begins in the cleaned text, in characters."""


_SPECIAL = {
    "pad_token": ("[PAD]", "<pad>"),
    "mask_token": ("[MASK]", "<mask>"),
    "unk_token": ("[UNK]", "<unk>"),
}
"""What families of encoders call their special tokens; MPNet has both names for the last."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The ids that open and close every window: BERT's [CLS] and [SEP], RoBERTa's <s> and </s>."""

    first: int
    last: int

    def around(self, ids: Sequence[int]) -> list[int]:
        """Return `ids` between the two."""
        return [self.first, *ids, self.last]


class ReviewTokenizer:
    """The tokenizer of an encoder, read from a tokenizer.json, without truncation or padding.

    Special tokens written out in a review ("[MASK]", "[SEP]") are treated as ordinary text.

    Attributes:
        frame: The special tokens around every window.
        pad: The id of padding.
        mask: The id of a hidden token, or None. Only pre-training needs it.
        special_tokens: Their names, by the roles that transformers gives them ("cls_token").
        serialized: A tokenizer.json with the same vocabulary.
    """

    def __init__(self, serialized: str) -> None:
        """Read `serialized`.

        Raises:
            BundleError: It is not a tokenizer, or lacks the special tokens of an encoder.
        """
        try:
            self._tokenizer = Tokenizer.from_str(serialized)
        except Exception as error:  # tokenizers raises bare Exception for every fault
            raise BundleError(f"tokenizer.json is not a readable tokenizer: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        self.serialized = self._tokenizer.to_str()
        around = self._tokenizer.encode("").ids
        self.special_tokens = {
            role: name
            for role, names in _SPECIAL.items()
            for name in reversed(names)  # the first one wins
            if self._tokenizer.token_to_id(name) is not None
        }
        if len(around) != 2 or "pad_token" not in self.special_tokens:
            raise BundleError(
                "tokenizer.json does not fit an encoder: expected a post-processor that puts one "
                "token before and one after a text, and a token [PAD] or <pad>"
            )
        self.frame = Frame(*around)
        pad, self.mask, self._unknown = (
            self._tokenizer.token_to_id(self.special_tokens.get(role, "")) for role in _SPECIAL
        )
        self.pad = pad or 0
        for role, number in zip(("cls_token", "sep_token"), around, strict=True):
            self.special_tokens[role] = str(self._tokenizer.id_to_token(number))

    def encode(self, texts: Sequence[str], clock: Clock | None = None) -> list[list[int]]:
        """Clean `texts` and return their token ids, whole, without the frame.

        A text of unknown tokens alone, as one word of 300 letters, has none: all such would get the
        same answer, and a sure one. Raises DeadlineError once no time is left on `clock`.
        """
        clock = clock or Clock()
        ids: list[list[int]] = []
        for group in _groups(list(map(review.clean, texts))):
            clock.check()
            encodings = self._tokenizer.encode_batch_fast(group, add_special_tokens=False)
            ids += [self._known(encoding.ids) for encoding in encodings]
        return ids

    def locate(self, text: str) -> Tokens:
        """Return the same ids of one `text` that is clean already, and where each begins."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        ids = self._known(encoding.ids)
        return Tokens(ids, [start for start, _ in encoding.offsets[: len(ids)]])

    def _known(self, ids: list[int]) -> list[int]:
        return ids if any(each != self._unknown for each in ids) else []


def _groups(texts: Sequence[str]) -> Iterator[list[str]]:
    """Cut `texts` into consecutive groups of about _CHARACTERS."""
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
    """Return where windows of at most `length` tokens cut a text of so many: first, ..., end.

    They are as few as hold all of it, and of even size (within one token), so that their mean is a
    fair answer for the whole and none is a stub of two words. A text of none has one, empty.
    """
    count = max(1, -(-tokens // (length - 2)))
    return [tokens * n // count for n in range(count + 1)]


def windows(ids: Sequence[int], length: int, frame: Frame) -> list[list[int]]:
    """Cut `ids` into windows of at most `length` tokens, as `window_edges` has it."""
    edges = window_edges(len(ids), length)
    return [frame.around(ids[start:end]) for start, end in pairwise(edges)]


def head_and_tail(ids: Sequence[int], length: int, head_share: float, frame: Frame) -> list[int]:
    """Cut `ids` to one window of at most `length` tokens: its beginning and its end.

    Reviews state their verdict at the start and at the end; Sun et al. (2019, "How to Fine-Tune
    BERT for Text Classification?") found this cut better than either alone.
    """
    room = length - 2
    if len(ids) <= room:
        return frame.around(ids)
    head = round(room * head_share)
    return frame.around([*ids[:head], *ids[len(ids) - (room - head) :]])
