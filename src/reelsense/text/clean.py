"""Clean the text of a review, the same for training and serving, and find its sentences and words.

Knows no tokens and no labels.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile

from reelsense.text.symbols import find_symbols, replace_symbols

LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")

_LINE_BREAK = re.compile(r"<br\s{0,4}/?>", re.IGNORECASE)
_MARKUP = re.compile(
    rf"(?P<line_break>{_LINE_BREAK.pattern})"
    # The pattern of html.unescape, which replaces one match at a time.
    r"|&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)",
    re.IGNORECASE,
)

_HUGE_REFERENCE = re.compile(r"&#[0-9]{40,}")
"""A reference to no character. Python refuses to parse numbers of thousands of digits."""

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
"""Abbreviations that end a sentence, unless a lower-case letter follows."""

_AFTER_MISSING_SPACE = re.compile(
    r"[A-Z][a-z' ]|(?!(?:com|net|org|co|uk|html?|tv|edu|gov)\b)[a-z]+[\s,']"
)
"""What follows the end of a sentence if the space is missing, as in "movie.The"."""

_LIST_NUMBER = re.compile(r"\d{1,3}[.)]")
"""The number of a list entry; it belongs to the sentence that follows."""

_MAX_WORDS = 60
"""A longer sentence is divided, so that a text without punctuation has several parts too."""

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

    text: str
    """As `clean` returns it."""
    layout: str
    """`text` with U+2029 for HTML line breaks and U+2060 between the words of an emoji."""
    starts: list[int]
    """Where each character begins in the original."""
    ends: list[int]
    """Where it ends there: an entity is several characters, an emoji is fewer than its name."""

    def original_span(self, span: Span) -> Span:
        """Return the span of the original for a `span` of at least one character of `text`."""
        return Span(self.starts[span.start], self.ends[span.end - 1])


def clean(text: str) -> str:
    """Return the text that the tokenizer gets.

    HTML line breaks become spaces and entities their characters (the reviews of the Large Movie
    Review Dataset contain both). Emoji and emoticons become words. Lone surrogates, which JSON
    escapes allow and UTF-8 does not, become U+FFFD.
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
    draft = _Draft()
    end = 0
    for markup in _MARKUP.finditer(text):
        draft.copy(text[end : markup.start()], range(end, markup.start()))
        replacement = _PARAGRAPH if markup["line_break"] else _unescape(markup[0])
        # "&ltb" is "<" followed by an ordinary b; "&Ms" is no entity at all.
        from_the_end = zip(reversed(markup[0]), reversed(replacement), strict=False)
        unchanged = len(list(takewhile(lambda pair: pair[0] == pair[1], from_the_end)))
        end = markup.end() - unchanged
        draft.replace(replacement[: len(replacement) - unchanged], markup.start(), end)
    draft.copy(text[end:], range(end, len(text)))
    draft = _with_symbols_replaced(draft)
    layout = printable("".join(draft.parts))
    kept = slice(len(layout) - len(layout.lstrip()), len(layout.rstrip()))
    return CleanedText(clean(text), layout[kept], draft.starts[kept], draft.ends[kept])


@dataclass(frozen=True, slots=True)
class _Draft:
    """The parts of a text that is being cleaned, and the original span of each character."""

    parts: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def copy(self, part: str, positions: range) -> None:
        """Add `part`, whose characters are at `positions` of the original."""
        self.parts.append(part)
        self.starts.extend(positions)
        self.ends.extend(position + 1 for position in positions)

    def replace(self, part: str, start: int, end: int) -> None:
        """Add `part` for the original characters from `start` to `end`."""
        self.parts.append(part)
        self.starts.extend([start] * len(part))
        self.ends.extend([end] * len(part))


def _with_symbols_replaced(draft: _Draft) -> _Draft:
    text = "".join(draft.parts)
    symbols = list(find_symbols(text))
    if not symbols:
        return draft
    replaced = _Draft()
    end = 0

    def copy_until(start: int) -> None:
        replaced.parts.append(text[end:start])
        replaced.starts.extend(draft.starts[end:start])
        replaced.ends.extend(draft.ends[end:start])

    for symbol in symbols:
        copy_until(symbol.start)
        end = symbol.end
        replaced.replace(symbol.text(_JOINER), draft.starts[symbol.start], draft.ends[end - 1])
    copy_until(len(text))
    return replaced


def sentences(layout: str) -> list[Span]:
    """Return the sentences of a text in order; there is only white space between them.

    Empty lines and HTML line breaks end a sentence too. Punctuation without a word belongs to the
    sentence before, the number of a list entry to the one after. Sentences of more than 60 words
    are divided, if possible at a comma.

    Args:
        layout: `CleanedText.layout`.

    Returns:
        Spans of `layout`.
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
    """Return the words of a part of a text that can carry an opinion, in order.

    "!" and "?" count as words and all words of an emoji as one. Articles, pronouns, prepositions
    and auxiliary verbs are left out unless there is nothing else.
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
