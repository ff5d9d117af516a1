"""Clean-up of a review's text, the same for training and for serving, and where its sentences are.

Knows no tokens and no labels: text in, text and places in it out.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile

from reelsense.text.symbols import in_words, symbols

LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")

_REPLACEMENT = "\ufffd"

_LINE_BREAK = re.compile(r"<br\s{0,4}/?>", re.IGNORECASE)
_MARKUP = re.compile(
    rf"(?P<line_break>{_LINE_BREAK.pattern})"
    # What html.unescape looks for; it replaces each by itself.
    r"|&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)",
    re.IGNORECASE,
)

_ENDLESS = re.compile(r"&#[0-9]{40,}")
"""A number that is no character's. Python refuses to read one of thousands of digits."""

_JOINER = "\u2060"
_PARAGRAPH = "\u2029"
_END = re.compile(
    rf"(?P<gap>{_PARAGRAPH}+|\n[^\S\n]*\n\s*|\n(?=[^\S\n]*(?:[-*\u2022]|\d{{1,3}}[.)])\s))"
    r"""|(?P<marks>[.!?\u2026\u3002\uff01\uff1f\u0964\u061f\u06d4]+)(?P<closing>["'\u201d\u2019\xbb)\]*]*)"""
)
_ABBREVIATED = re.compile(
    r"\b(?:(?i:mrs?|ms|dr|prof|gen|capt|lt|sgt|gov|sen|rev|sr|jr|st|vs|vol|dept|feat|approx"
    r"|e\.g|i\.e|cf|a\.k\.a)|(?<!\ba )(?<!\ban )[A-HJ-Z])$"
)
_MID_SENTENCE = re.compile(r"\b(?i:etc|[ap]\.m|inc|ltd|co)$")
"""Abbreviations that end a sentence, unless it goes on with a small letter."""

_GLUED = re.compile(r"[A-Z][a-z' ]|(?!(?:com|net|org|co|uk|html?|tv|edu|gov)\b)[a-z]+[\s,']")
"""What follows the end of a sentence where the space is missing, as in "movie.The"."""

_NUMBER = re.compile(r"\d{1,3}[.)]")
"""Of an entry of a list; it belongs to what follows."""

_LONGEST = 60
"""Words of a sentence; a longer one is cut, so that a text without punctuation has parts too."""

_CHUNK = re.compile(r"\S+")
_SOFT_ENDS = (",", ";", ":", "-", "\u2013", "\u2014")

_LETTER = (  # also symbols, and marks that combine with letters
    r"""[^\s!-/:-@\[-`{-~\u00a1\u00ab\u00b7\u00bb\u00bf\u2010-\u205e\u3000-\u303f\uff00-\uff0f"""
    r"""\u0964\u061f\u06d4\uff1f]"""
)
_WORD = re.compile(
    rf"{_LETTER}+(?:['\u2019&-]{_LETTER}+|[.,/:]\d+)*"
    rf"|[!?]+(?!{_LETTER})"
)

_FUNCTION_WORDS = re.compile(
    r"an?|the|th(?:is|at|ese|ose)|i|me|my|you|your|s?he|him|his|her|its?|we|us|our|the[ym]|their"
    r"|who|which|what|of|to|in|on|at|by|for|from|with|into|as|about|and|or|is|are|was|were|be"
    r"|been|being|am|has|have|had|do|does|did|will|t?here|then|(?:it|that|s?he)'s|i'm",
    re.IGNORECASE,
)


def printable(text: str) -> str:
    """Return `text` with a mark in the place of what no UTF-8 can carry."""
    return LONE_SURROGATE.sub(_REPLACEMENT, text)


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text: its characters from `start` on and before `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Traced:
    """A text as the model reads it, which remembers where in the text as given it stood."""

    text: str
    """As `clean` returns it."""
    layout: str
    """The same, with U+2029 in the place of HTML line breaks, and U+2060 between the words of an
    emoji, so that they stay together."""
    starts: list[int]
    """Where, in the text as given, each character began."""
    ends: list[int]
    """And ended: an entity is several characters there and one here, an emoji the other way."""

    def given(self, span: Span) -> Span:
        """Return where `span` of `text`, at least one character, is in the text as given."""
        return Span(self.starts[span.start], self.ends[span.end - 1])


def clean(text: str) -> str:
    """Return `text` as the model reads it.

    HTML line breaks become spaces and entities their characters (the reviews of the Large Movie
    Review Dataset carry both). Emoji and faces made of punctuation become words. Lone surrogates,
    which JSON escapes can smuggle in and no UTF-8 encoder accepts, become U+FFFD. Everything else
    is left to the tokenizer.
    """
    text = _LINE_BREAK.sub(" ", text)
    if "&" in text:
        text = _unescape(text)
    text = in_words(text)
    return LONE_SURROGATE.sub("\ufffd", text).strip() if not text.isascii() else text.strip()


def _unescape(text: str) -> str:
    return html.unescape(_ENDLESS.sub("&#1114112", text))  # the first that is no character's


def trace(text: str) -> Traced:
    """Clean `text` as `clean` does, and remember where everything stood."""
    draft = _Draft()
    at = 0
    for markup in _MARKUP.finditer(text):
        draft.copy(text[at : markup.start()], range(at, markup.start()))
        read = _PARAGRAPH if markup["line_break"] else _unescape(markup[0])
        # "&ltb" is "<" and then a b that stands for itself; "&Ms" is no entity at all.
        from_the_end = zip(reversed(markup[0]), reversed(read), strict=False)
        same = len(list(takewhile(lambda pair: pair[0] == pair[1], from_the_end)))
        at = markup.end() - same
        draft.replace(read[: len(read) - same], markup.start(), at)
    draft.copy(text[at:], range(at, len(text)))
    named = _with_symbols_named(draft)
    layout = LONE_SURROGATE.sub("\ufffd", "".join(named.parts))
    kept = slice(len(layout) - len(layout.lstrip()), len(layout.rstrip()))
    return Traced(clean(text), layout[kept], named.starts[kept], named.ends[kept])


@dataclass(frozen=True, slots=True)
class _Draft:
    """The parts of a text that is being cleaned, and where in the given text each character was."""

    parts: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def copy(self, part: str, places: range) -> None:
        """Add `part`, whose characters stood at `places`."""
        self.parts.append(part)
        self.starts.extend(places)
        self.ends.extend(place + 1 for place in places)

    def replace(self, part: str, start: int, end: int) -> None:
        """Add `part`, all of which stands for the characters from `start` to `end`."""
        self.parts.append(part)
        self.starts.extend([start] * len(part))
        self.ends.extend([end] * len(part))


def _with_symbols_named(draft: _Draft) -> _Draft:
    """Return `draft` with its emoji and faces as words."""
    text = "".join(draft.parts)
    found = list(symbols(text))
    if not found:
        return draft
    named = _Draft()
    at = 0

    def keep(end: int) -> None:
        named.parts.append(text[at:end])
        named.starts.extend(draft.starts[at:end])
        named.ends.extend(draft.ends[at:end])

    for symbol in found:
        keep(symbol.start)
        at = symbol.end
        named.replace(symbol.text(_JOINER), draft.starts[symbol.start], draft.ends[at - 1])
    keep(len(text))
    return named


def sentences(layout: str) -> list[Span]:
    """Return the sentences of a text, in order; only white space is between them.

    An empty line and an HTML line break (U+2029, as in `Traced.layout`) end one too. What holds
    no word belongs to the sentence before; one of more than 60 words is cut, where it has commas
    at these.
    """
    found: list[Span] = []
    start = 0
    for end in [*_ends(layout), len(layout)]:
        piece = layout[start:end]
        stripped = piece.strip()
        if stripped:
            span = Span(start + piece.index(stripped[0]), end - len(piece) + len(piece.rstrip()))
            number = found and _NUMBER.fullmatch(layout, found[-1].start, found[-1].end)
            if number or (found and not re.search(r"\w", stripped)):
                found[-1] = Span(found[-1].start, span.end)
            else:
                found.append(span)
        start = end
    return [part for span in found for part in _cut(layout, span)]


def words(layout: str, within: Span) -> list[Span]:
    """Return the words `within` a part of a text that can carry an opinion, in order.

    All words of an emoji are one here. "!" and "?" are among the words; articles, pronouns,
    prepositions and auxiliary verbs only where there is nothing else.
    """
    found = list(_WORD.finditer(layout, within.start, within.end))
    telling = [word for word in found if not _FUNCTION_WORDS.fullmatch(word[0])]
    return [Span(*word.span()) for word in telling or found]


def _ends(layout: str) -> Iterator[int]:
    """Yield where the sentences of `layout` end."""
    for found in _END.finditer(layout):
        if found["gap"] or _is_end(layout, found):
            yield found.end()


def _is_end(layout: str, found: re.Match[str]) -> bool:
    """Say whether the punctuation `found` in `layout` ends a sentence."""
    marks, after = found["marks"], layout[found.end() : found.end() + 40]
    if marks[-1] in "\u3002\uff01\uff1f":  # no space follows these
        return True
    if after and not after[0].isspace():
        before = layout[max(0, found.start() - 3) : found.start()]
        glued = _GLUED.match(after)
        return (
            bool(glued) and not before[-1:].isupper() and (after[0].isupper() or before.isalpha())
        )
    goes_on = after.lstrip()[:1].islower()
    if marks == ".":
        before = layout[max(0, found.start() - 10) : found.start()]
        number = before.lower().endswith(" no") and after.lstrip()[:1].isdigit()
        within = goes_on and _MID_SENTENCE.search(before)
        return not (_ABBREVIATED.search(before) or within or number)
    if "!" in marks or "?" in marks:
        return not (goes_on and found["closing"])
    return not goes_on


def _cut(layout: str, span: Span) -> Iterator[Span]:
    """Cut what is longer than _LONGEST words in two, near the middle, until nothing is."""
    chunks = [Span(*chunk.span()) for chunk in _CHUNK.finditer(layout, span.start, span.end)]
    if len(chunks) <= _LONGEST:
        yield span
        return
    middle = len(chunks) // 2
    near = range(middle // 2, middle + middle // 2)
    soft = [n for n in near if layout.endswith(_SOFT_ENDS, 0, chunks[n].end)]
    last = min(soft, key=lambda n: abs(n - middle), default=middle)
    yield from _cut(layout, Span(span.start, chunks[last].end))
    yield from _cut(layout, Span(chunks[last + 1].start, span.end))
