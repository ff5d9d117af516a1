"""Clean the text of a review, for training and serving alike, and find its sentences and words.

Does not know tokens or labels.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

from reelsense.text.symbols import find_symbols, replace_symbols

LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")

_LINE_BREAK = re.compile(r"<br\s{0,4}/?>", re.IGNORECASE)
_MARKUP = re.compile(
    rf"(?P<line_break>{_LINE_BREAK.pattern})"
    # The pattern of html.unescape, which replaces one match at a time.
    r"|&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)",
    re.IGNORECASE,
)

_HUGE_REFERENCE = re.compile(r"&#[0-9]{40,}")  # Python does not parse thousands of digits

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
# Abbreviations that end a sentence, unless a lower-case letter follows.
_MID_SENTENCE = re.compile(r"\b(?i:etc|[ap]\.m|inc|ltd|co)$")
# What follows the end of a sentence if the space is missing, as in "movie.The".
_AFTER_MISSING_SPACE = re.compile(
    r"[A-Z][a-z' ]|(?!(?:com|net|org|co|uk|html?|tv|edu|gov)\b)[a-z]+[\s,']"
)
_LIST_NUMBER = re.compile(r"\d{1,3}[.)]")  # belongs to the sentence that follows

_MAX_WORDS = 60  # longer sentences are divided: texts without punctuation have several parts too

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
    """Return `text` with lone surrogates, which UTF-8 cannot encode, replaced by U+FFFD."""
    return LONE_SURROGATE.sub("\ufffd", text)


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text: characters `start` (inclusive) to `end` (exclusive)."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class CleanedText:
    """A cleaned text and the mapping of its characters to the original."""

    text: str  # as `clean` returns it
    layout: str  # with U+2029 for HTML line breaks and U+2060 between the words of an emoji
    # Where each character begins and ends in the original: an entity is several characters, an
    # emoji is fewer than its name.
    starts: list[int]
    ends: list[int]

    def original_span(self, span: Span) -> Span:
        """Return the span in the original of a non-empty `span` of `text`."""
        return Span(self.starts[span.start], self.ends[span.end - 1])


def clean(text: str) -> str:
    """Return the text that the tokenizer gets.

    HTML line breaks become spaces, and entities their characters (the Large Movie Review Dataset
    contains both). Emoji and emoticons become words. Lone surrogates, which JSON escapes allow and
    UTF-8 does not, become U+FFFD.
    """
    text = _LINE_BREAK.sub(" ", text)
    if "&" in text:
        text = _unescape(text)
    text = replace_symbols(text)
    return (text if text.isascii() else printable(text)).strip()


def _unescape(text: str) -> str:
    return html.unescape(_HUGE_REFERENCE.sub("&#1114112", text))  # beyond the last character


def clean_with_offsets(text: str) -> CleanedText:
    """Clean `text` as `clean` does and map every character to the original."""
    draft = _Draft(text, list(range(len(text))), list(range(1, len(text) + 1)))
    draft = draft.edited(map(_markup_edit, _MARKUP.finditer(text)))
    draft = draft.edited(
        _Edit(symbol.start, symbol.end, symbol.text(_JOINER)) for symbol in find_symbols(draft.text)
    )
    layout = printable(draft.text)
    kept = slice(len(layout) - len(layout.lstrip()), len(layout.rstrip()))
    return CleanedText(clean(text), layout[kept], draft.starts[kept], draft.ends[kept])


class _Edit(NamedTuple):
    start: int
    end: int
    replacement: str


@dataclass(frozen=True, slots=True)
class _Draft:
    """A text that is being cleaned, and the original span of each character."""

    text: str
    starts: list[int]
    ends: list[int]

    def edited(self, edits: Iterable[_Edit]) -> _Draft:
        """Return the draft after `edits`, which are in order and do not overlap."""
        parts: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        position = 0
        for start, end, replacement in edits:
            parts += [self.text[position:start], replacement]
            starts += self.starts[position:start] + self.starts[start : start + 1] * len(
                replacement
            )
            ends += self.ends[position:start] + self.ends[end - 1 : end] * len(replacement)
            position = end
        return _Draft(
            "".join(parts) + self.text[position:],
            starts + self.starts[position:],
            ends + self.ends[position:],
        )


def _markup_edit(markup: re.Match[str]) -> _Edit:
    replacement = _PARAGRAPH if markup["line_break"] else _unescape(markup[0])
    # Keep the common ending: "&ltb" is "<" followed by an ordinary b; "&Ms" is not an entity.
    endings = zip(reversed(markup[0]), reversed(replacement), strict=False)
    unchanged = len(list(takewhile(lambda pair: pair[0] == pair[1], endings)))
    return _Edit(
        markup.start(), markup.end() - unchanged, replacement[: len(replacement) - unchanged]
    )


def sentences(layout: str) -> list[Span]:
    """Return the sentences of a `CleanedText.layout` in order, separated by white space only.

    Empty lines and HTML line breaks end a sentence too. Punctuation without a word belongs to the
    sentence before, the number of a list entry to the one after. Sentences of more than 60 words
    are divided, if possible at a comma.
    """
    spans: list[Span] = []
    start = 0
    for end in [*_sentence_ends(layout), len(layout)]:
        piece = layout[start:end]
        stripped = piece.strip()
        if stripped:
            span = Span(start + piece.index(stripped[0]), end - len(piece) + len(piece.rstrip()))
            after_number = spans and _LIST_NUMBER.fullmatch(layout, spans[-1].start, spans[-1].end)
            if after_number or (spans and not re.search(r"\w", stripped)):
                spans[-1] = Span(spans[-1].start, span.end)
            else:
                spans.append(span)
        start = end
    return [part for span in spans for part in _divide(layout, span)]


def words(layout: str, within: Span) -> list[Span]:
    """Return the content words of a part of a text in order.

    "!" and "?" count as words, and all words of an emoji as one. Articles, pronouns, prepositions
    and auxiliary verbs are left out unless the part consists of them.
    """
    matches = list(_WORD.finditer(layout, within.start, within.end))
    content_words = [match for match in matches if not _FUNCTION_WORDS.fullmatch(match[0])]
    return [Span(*match.span()) for match in content_words or matches]


def _sentence_ends(layout: str) -> Iterator[int]:
    for match in _END.finditer(layout):
        if match["gap"] or _is_end(layout, match):
            yield match.end()


def _is_end(layout: str, punctuation: re.Match[str]) -> bool:
    """Return whether a match of _END with punctuation ends a sentence."""
    marks, end = punctuation["marks"], punctuation.end()
    after = layout[end : end + 40]
    if marks[-1] in "\u3002\uff01\uff1f":  # no space follows these
        return True
    before = layout[max(0, punctuation.start() - 10) : punctuation.start()]
    if after and not after[0].isspace():
        if not _AFTER_MISSING_SPACE.match(after) or before[-1:].isupper():
            return False
        return after[0].isupper() or before[-3:].isalpha()
    continues = after.lstrip()[:1].islower()
    if marks == ".":
        numbered = before.lower().endswith(" no") and after.lstrip()[:1].isdigit()
        mid_sentence = continues and _MID_SENTENCE.search(before)
        return not (_ABBREVIATED.search(before) or mid_sentence or numbered)
    if "!" in marks or "?" in marks:
        return not (continues and punctuation["closing"])
    return not continues


def _divide(layout: str, span: Span) -> Iterator[Span]:
    """Divide a span of more than _MAX_WORDS words near the middle, repeatedly."""
    chunks = [Span(*match.span()) for match in _CHUNK.finditer(layout, span.start, span.end)]
    if len(chunks) <= _MAX_WORDS:
        yield span
        return
    middle = len(chunks) // 2
    near = range(middle // 2, middle + middle // 2)
    soft_ends = [n for n in near if layout.endswith(_SOFT_ENDS, 0, chunks[n].end)]
    last = min(soft_ends, key=lambda n: abs(n - middle), default=middle)
    yield from _divide(layout, Span(span.start, chunks[last].end))
    yield from _divide(layout, Span(chunks[last + 1].start, span.end))
