"""Emoji, and faces made of punctuation, as words that a tokenizer knows.

The names of emoji are those of Unicode, without the skin tone: a verdict should not depend on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

_FACE = re.compile(
    r"(?P<eyes>[:;=])(?<![^\s.!?,].)(?P<tear>'?)-?(?P<mouth>[()DPp|/])(?P=mouth)*(?![\w/])"
)
"""A face made of punctuation, as ":-)". It stands apart from words."""

_FEELINGS = {")": "smiling", "D": "smiling", "(": "sad", "P": "playful", "p": "playful"}
"""By the mouth; others are confused."""

_PICTURE = (
    r"[\u203c\u2049\u2139\u2194-\u21aa\u231a-\u23ff\u24c2\u25aa-\u25fe\u2600-\u27bf\u2934\u2935"
    r"\u2b05-\u2b55\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]"
)
"""Emoji, and other symbols between them."""

_KEYCAP = "\u20e3"
_JOINS = r"[\u200d\ufe0e\ufe0f\u20e3\U000e0020-\U000e007f]"
"""What joins emoji and selects their variants."""

_EMOJI = rf"(?P<emoji>(?:[0-9#*]\ufe0f?\u20e3|{_PICTURE}{_JOINS}*)+)"
_EMOJI_OR_FACE = re.compile(rf"{_EMOJI}|{_FACE.pattern}")
_SYMBOL = re.compile(_PICTURE)

_SKIN_TONE = re.compile(r"_(?:medium-)?(?:light|medium|dark)_skin_tone")
_BETWEEN_WORDS = re.compile(r"[^\w-]+|_")


@dataclass(frozen=True, slots=True)
class Symbol:
    """A part of a text that is read as words."""

    start: int
    end: int
    words: tuple[str, ...]
    """None of what only joins or varies emoji."""

    def text(self, joiner: str = " ") -> str:
        """Return the words with `joiner` between them, and a space before and after them."""
        return f" {joiner.join(self.words)} " if self.words else ""


def in_words(text: str) -> str:
    """Return `text` with its emoji and faces as words."""
    pattern = _pattern(text)
    if not pattern:
        return text
    return pattern.sub(lambda found: "".join(each.text() for each in _read(found)), text)


def symbols(text: str) -> Iterator[Symbol]:
    """Yield the emoji and faces of `text`, one by one, and where they are."""
    pattern = _pattern(text)
    for found in pattern.finditer(text) if pattern else ():
        for each in _read(found):
            yield Symbol(found.start() + each.start, found.start() + each.end, each.words)


def _pattern(text: str) -> re.Pattern[str] | None:
    """Return what finds the symbols of `text`; None if it has none, as most texts."""
    if not text.isascii() and (_SYMBOL.search(text) or _KEYCAP in text):
        return _EMOJI_OR_FACE
    # Looking for one character takes a hundredth of the time that the pattern takes.
    return _FACE if ":" in text or ";" in text or "=" in text else None


def _read(found: re.Match[str]) -> tuple[Symbol, ...]:
    """Return what was `found`, a face or emoji in a row; places count from its start."""
    groups = found.groupdict()
    if groups.get("emoji"):
        return _named(groups["emoji"])
    feeling = "winking" if groups["eyes"] == ";" else _FEELINGS.get(groups["mouth"], "confused")
    return (Symbol(0, len(found[0]), ("crying" if groups["tear"] else feeling, "face")),)


@lru_cache(maxsize=4096)
def _named(emoji_in_a_row: str) -> tuple[Symbol, ...]:
    import emoji  # here: it takes 50 ms, which texts without emoji need not wait for

    found = []
    at = 0
    for match in emoji.emoji_list(emoji_in_a_row):
        start, end = match["match_start"], match["match_end"]
        found += [*_others(emoji_in_a_row, at, start), Symbol(start, end, _words(match["emoji"]))]
        at = end
    return (*found, *_others(emoji_in_a_row, at, len(emoji_in_a_row)))


def _others(text: str, start: int, end: int) -> list[Symbol]:
    """Return the characters of a part of `text` that belong to no emoji."""
    return [
        Symbol(at, at + 1, (text[at],) if _SYMBOL.match(text, at) else ())
        for at in range(start, end)
    ]


def _words(sign: str) -> tuple[str, ...]:
    """Return the words of the emoji `sign`; of a keycap, what is on it."""
    from emoji import EMOJI_DATA

    if _KEYCAP in sign:
        return (sign[0],)
    name = _SKIN_TONE.sub("", EMOJI_DATA[sign]["en"].strip(":"))
    return tuple(word for word in _BETWEEN_WORDS.split(name) if word)
