"""Find the clauses of a review that judge an aspect of the film, such as the acting.

Uses a lexicon and word order only. Does not know models: `inference.aspects` adds the sentiment.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from reelsense.text.clean import Span

_MAX_SENTENCE = 2000  # characters; longer ones are not prose, since sentences have 60 words
_MAX_ITEM_WORDS = 4  # of an item of a list: "the music" in "the acting, the music and the plot"
_MAX_ITEMS = 6  # of a list
_MAX_WORDS_BEFORE, _MAX_WORDS_AFTER = 3, 8  # between an opinion and the noun it judges

_CLAUSE = re.compile(  # begins here
    r"[;:()\u2013\u2014\u2026]|--+|\s-\s|\.\.+"
    r"|\b(?:but|although|though|whereas|however|despite|because|even if|yet|except)\b"
    r"|(?<=,) (?:which|who|while|so|since|as)\b|\bwhile\b(?=\s+(?:the|his|her|it|i)\b)",
    re.IGNORECASE,
)
_PART = re.compile(r",|&|\b(?:and(?! on\b)|or|plus|as well as)\b", re.IGNORECASE)  # of a clause
_AROUND = " \t\r\n\u2029,;:()&-\u2013\u2014\u2026."

_VERB = re.compile(
    r"\b(?:is|are|was|were|be|been|being|has|have|had|does|did|do|seem\w*|feels?|felt|looks?|looked"
    r"|gets?|got|makes?|made|sound\w*|becomes?|became|gives?|gave|can|could|will|would|keeps?|kept"
    r"|comes?|came|goes|turn(?:s|ed) out|serve[sd]?|remains?|stays?|adds?|added|manage[sd]|\w+n't"
    r"|(?:it|that|there|s?he|what|who|here)'s|deliver(?:s|ed)?|prove[sd]?|ends?|bring\w*|brought"
    r"|offer\w*|shows?|continue[sd]?)\b",
    re.IGNORECASE,
)
_INTENSIFIER = re.compile(r"\s*(?:so|too|very|really|pretty|quite|absolutely|all)\b", re.IGNORECASE)
_DETERMINER = re.compile(r"\b(?:the|an?|his|her|its|their|this|these|those|my)\b", re.IGNORECASE)
_PREPOSITION = re.compile(
    r"\b(?:of|in|on|at|to|for|from|with|by|as|about|around|through|than|into|over|who|which|that"
    r"|when|where|if|how|what)\b",
    re.IGNORECASE,
)
_PARTITIVE = re.compile(  # "great moments of humour" judges the humour
    r"\s(?:(?:moment|bit|piece|touch|sort|kind|type|style|choice|display|example|use)(?:s|es)?|lots"
    r"|plenty|some|most|many|all) of(?: the| this| his| her)?\b",
    re.IGNORECASE,
)
_SUBCLAUSE = re.compile(
    r"\b(?:who|whose|when|where|if|because|that (?:this|the|it|he|she|they|i))\b", re.IGNORECASE
)
_NAME = (
    r"(?-i:(?!(?:The|This|That|It|He|She|They|We|You|There|What|Which|Who|But|And|Some|Someone"
    r"|Everyone|Everything|Nothing|All|Also|Only|Movie|Film)\b)[A-Z][\w'.-]{1,30})"
)


@dataclass(frozen=True, slots=True)
class AspectClause:
    """A clause that judges an aspect."""

    aspect: str
    span: Span

    def is_part_of(self, other: AspectClause) -> bool:
        """Return whether `other` says the same with more words."""
        return (
            self.aspect == other.aspect
            and self.span != other.span
            and other.span.start <= self.span.start
            and self.span.end <= other.span.end
        )


@dataclass(frozen=True, slots=True)
class ClausePart:
    """A part of a sentence between commas or conjunctions."""

    span: Span
    clause: int  # number of the clause: its parts may share a judgement
    text: str  # with straight apostrophes, as in the lexicon

    @property
    def is_item(self) -> bool:
        """Whether it may be an item of a list: short, without a verb."""
        return len(self.text.split()) <= _MAX_ITEM_WORDS and not _VERB.search(self.text)


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The patterns of aspects.toml."""

    aspects: Mapping[str, re.Pattern[str]]  # groups "ignored", "judgement" and "term"
    opinions: re.Pattern[str]  # groups "adjective" and "verb"
    praise: re.Pattern[str]
    criticism: re.Pattern[str]
    reports: re.Pattern[str]
    open_end: re.Pattern[str]  # an adjective whose noun follows: "a dull" of "a dull, lazy mess"

    def named(self, part: ClausePart) -> Iterator[tuple[str, list[re.Match[str]]]]:
        """Yield each aspect that is named in a part of a clause, and where."""
        for aspect, pattern in self.aspects.items():
            matches = [m for m in pattern.finditer(part.text) if m.lastgroup != "ignored"]
            if matches:
                yield aspect, matches


def aspect_clauses(layout: str, sentence: Span) -> list[AspectClause]:
    """Return the clauses of a sentence of `CleanedText.layout` that judge an aspect, in order."""
    found = []
    parts = clause_parts(layout, sentence)
    for n, part in enumerate(parts):
        if lexicon().reports.search(part.text):
            continue
        for aspect, matches in lexicon().named(part):
            if any(_is_judged(match, part.text) for match in matches):
                found.append(AspectClause(aspect, part.span))
            elif part.is_item and (span := _shared_judgement(parts, n)):
                found.append(AspectClause(aspect, span))
    distinct = (clause for clause in found if not any(map(clause.is_part_of, found)))
    return sorted(distinct, key=lambda clause: (clause.span.start, clause.span.end))


def clause_parts(layout: str, sentence: Span) -> list[ClausePart]:
    """Return the parts of the clauses of a sentence, in its order; none of a very long one."""
    if sentence.end - sentence.start > _MAX_SENTENCE:
        return []
    borders = [  # where a part ends, where the next one starts, and whether that begins a clause
        *((m.start(), m.start(), True) for m in _CLAUSE.finditer(layout, *_range(sentence))),
        *((m.start(), m.end(), False) for m in _PART.finditer(layout, *_range(sentence))),
    ]
    parts: list[ClausePart] = []
    clause, start = 0, sentence.start
    for end, next_start, begins_clause in [*sorted(borders), (sentence.end, sentence.end, True)]:
        text = layout[start:end].strip(_AROUND)
        if not begins_clause and lexicon().open_end.search(text):
            continue
        if re.search(r"\w", text):
            first = layout.index(text, start)
            span = Span(first, first + len(text))
            parts.append(ClausePart(span, clause, text.replace("\u2019", "'")))
        start = next_start
        clause += begins_clause
    return parts


def _range(span: Span) -> tuple[int, int]:
    return span.start, span.end


def _is_judged(match: re.Match[str], text: str) -> bool:
    return match.lastgroup == "judgement" or any(
        _judges(opinion, match, text) for opinion in lexicon().opinions.finditer(text)
    )


def _judges(opinion: re.Match[str], term: re.Match[str], text: str) -> bool:
    """Return whether an opinion probably judges the term, from the words between them."""
    is_verb = opinion.lastgroup == "verb"
    if opinion.end() <= term.start():
        between = _PARTITIVE.sub("", text[opinion.end() : term.start()])
        exclaimed = text.endswith("how ", 0, opinion.start())  # "how bad the music is"
        return (
            len(between.split()) <= _MAX_WORDS_BEFORE
            and not _PREPOSITION.search(between)
            and (is_verb or exclaimed or not _DETERMINER.search(between))
        )
    if opinion.start() >= term.end():
        between = text[term.end() : opinion.start()]
        words = len(between.split())
        is_linked = _VERB.search(between) or _INTENSIFIER.match(between) or (is_verb and words <= 2)
        return words <= _MAX_WORDS_AFTER and bool(is_linked) and not _SUBCLAUSE.search(between)
    return False


def _shared_judgement(parts: Sequence[ClausePart], n: int) -> Span | None:
    """Return the span from an item of a list to the nearest judgement in its clause.

    "Great acting, music" and "the music and the acting are great" judge the music.
    """
    for step in (-1, 1):
        for other in range(n + step, n + step * _MAX_ITEMS, step):
            if not 0 <= other < len(parts) or parts[other].clause != parts[n].clause:
                break
            part = parts[other]
            if lexicon().opinions.search(part.text) and (step == 1 or part.is_item):
                first, last = sorted((n, other))
                return Span(parts[first].span.start, parts[last].span.end)
            if not part.is_item:
                break
    return None


@cache
def lexicon() -> Lexicon:
    """Return the lexicon of aspects."""
    table = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    praise, criticism = table["praise"], table["criticism"]
    adjectives = _words(praise["adjectives"] + criticism["adjectives"])
    verbs = _words(praise["verbs"] + criticism["verbs"])
    return Lexicon(
        aspects={
            aspect: _aspect_pattern(entries, adjectives, table["not_before"])
            for aspect, entries in table["aspects"].items()
        },
        opinions=_compiled(rf"(?P<verb>{verbs})|(?P<adjective>{adjectives})"),
        praise=_compiled(_words(praise["adjectives"] + praise["verbs"])),
        criticism=_compiled(_words(criticism["adjectives"] + criticism["verbs"])),
        reports=_compiled(_words(table["reports"])),
        open_end=_compiled(rf"\b(?:an?|such|some|his|her|its|their)\s+(?:[\w-]+\s+)?{adjectives}$"),
    )


def _aspect_pattern(
    entries: Mapping[str, Any], adjectives: str, not_before: Sequence[str]
) -> re.Pattern[str]:
    judgements = _words(entries["judgements"])
    judgements = judgements.replace("{adjective}", adjectives).replace("{name}", _NAME)
    return _compiled(
        rf"(?P<ignored>{_words(entries['ignored'])})|(?P<judgement>{judgements})"
        rf"|(?P<term>{_words(entries['terms'])}(?!\s+{_words(not_before)}))"
    )


def _words(entries: Sequence[str]) -> str:
    return rf"(?<!\w)(?:{'|'.join(entries)})(?!\w)"


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)
