"""Replace emoji and emoticons by words that a tokenizer knows.

Emoji get their Unicode names without the skin tone, because a verdict should not depend on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

_EMOTICON = re.compile(
    # such as ":-)", not adjacent to a word
    r"(?P<eyes>[:;=])(?<![^\s.!?,].)(?P<tear>'?)-?(?P<mouth>[()DPp|/])(?P=mouth)*(?![\w/])"
)
_FEELINGS = {")": "smiling", "D": "smiling", "(": "sad", "P": "playful", "p": "playful"}  # by mouth

_PICTOGRAPH = (  # emoji and the other symbols in their Unicode blocks
    r"[\u203c\u2049\u2139\u2194-\u21aa\u231a-\u23ff\u24c2\u25aa-\u25fe\u2600-\u27bf\u2934\u2935"
    r"\u2b05-\u2b55\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]"
)
_KEYCAP = "\u20e3"
_JOINS = r"[\u200d\ufe0e\ufe0f\u20e3\U000e0020-\U000e007f]"  # join emoji, select variants
_EMOJI = rf"(?P<emoji>(?:[0-9#*]\ufe0f?\u20e3|{_PICTOGRAPH}{_JOINS}*)+)"
_SYMBOLS = re.compile(rf"{_EMOJI}|{_EMOTICON.pattern}")
_SYMBOL = re.compile(_PICTOGRAPH)

_SKIN_TONE = re.compile(r"_(?:medium-)?(?:light|medium|dark)_skin_tone")
_BETWEEN_WORDS = re.compile(r"[^\w-]+|_")


@dataclass(frozen=True, slots=True)
class Symbol:
    """An emoji or emoticon in a text, characters `start` to `end`, and the words for it."""

    start: int
    end: int
    words: tuple[str, ...]  # empty for a character that only joins or varies emoji

    def text(self, joiner: str = " ") -> str:
        """Return the words with `joiner` between them, and a space before and after them."""
        return f" {joiner.join(self.words)} " if self.words else ""


def replace_symbols(text: str) -> str:
    """Return `text` with words for emoji and emoticons."""
    pattern = _pattern(text)
    if not pattern:
        return text
    return pattern.sub(lambda match: "".join(symbol.text() for symbol in _named(match)), text)


def find_symbols(text: str) -> Iterator[Symbol]:
    """Yield the emoji and emoticons of `text` in order."""
    pattern = _pattern(text)
    for match in pattern.finditer(text) if pattern else ():
        for symbol in _named(match):
            yield Symbol(match.start() + symbol.start, match.start() + symbol.end, symbol.words)


def _pattern(text: str) -> re.Pattern[str] | None:
    """Return the pattern for the symbols of `text`; None if it has none, like most texts."""
    if not text.isascii() and (_SYMBOL.search(text) or _KEYCAP in text):
        return _SYMBOLS
    # Searching for a character is a hundred times as fast as the pattern.
    return _EMOTICON if ":" in text or ";" in text or "=" in text else None


def _named(match: re.Match[str]) -> tuple[Symbol, ...]:
    """Return the symbols of an emoticon or a run of emoji, with positions relative to the match."""
    groups = match.groupdict()
    if groups.get("emoji"):
        return _named_emoji(groups["emoji"])
    feeling = "winking" if groups["eyes"] == ";" else _FEELINGS.get(groups["mouth"], "confused")
    return (Symbol(0, len(match[0]), ("crying" if groups["tear"] else feeling, "face")),)


@lru_cache(maxsize=4096)
def _named_emoji(run: str) -> tuple[Symbol, ...]:
    import emoji  # takes 50 ms, not needed for texts without emoji

    symbols: list[Symbol] = []
    position = 0
    for match in emoji.emoji_list(run):
        start, end = match["match_start"], match["match_end"]
        symbols += [*_others(run, position, start), Symbol(start, end, _words(match["emoji"]))]
        position = end
    return (*symbols, *_others(run, position, len(run)))


def _others(run: str, start: int, end: int) -> list[Symbol]:
    """Return the characters of a part of `run` that are not emoji."""
    return [Symbol(n, n + 1, (run[n],) if _SYMBOL.match(run, n) else ()) for n in range(start, end)]


def _words(sign: str) -> tuple[str, ...]:
    """Return the words for an emoji; for a keycap, its character."""
    from emoji import EMOJI_DATA

    if _KEYCAP in sign:
        return (sign[0],)
    name = _SKIN_TONE.sub("", EMOJI_DATA[sign]["en"].strip(":"))
    return tuple(word for word in _BETWEEN_WORDS.split(name) if word)
