"""Identity terms, sentences that contain them, and counterfactuals with other terms.

A quarter of the terms and half of the template sentences are held out from training, so that
fairness is measured with terms that models were not trained on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from reelsense.datasets.behaviours import Half, article, read_data
from reelsense.text import clean

Form = Literal["adjective", "noun"]

_PRONOUNS = {
    "he": ("he", "his", "him"),
    "she": ("she", "her", "her"),
    "they": ("they", "their", "them"),
}

_LENGTHS = range(4, 41)  # words of a sentence from a review

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_LAST_ARTICLE = re.compile(r"\ban?\s+$", re.IGNORECASE)
_NEXT_WORD = re.compile(r"\s+([\w'-]+)")


@dataclass(frozen=True, slots=True)
class Term:
    """A word for a group of people."""

    text: str
    category: str  # such as "religion"
    form: Form
    held_out: bool  # from training
    pronoun: str = "they"  # "he", "she" or "they", for nouns


@dataclass(frozen=True, slots=True)
class TermSentence:
    """A sentence with a placeholder for a term of one form and category."""

    template: str
    category: str
    form: Form

    def texts(self, terms: Iterable[Term]) -> list[str]:
        """Return the sentence with each of `terms`."""
        return [fill(self.template, term) for term in terms]


@cache
def all_terms() -> tuple[Term, ...]:
    """Return every term in every form, in the order of the file."""
    return tuple(
        Term(text, category, form, text in content["held_out"], pronoun)
        for category, content in read_data("identity_terms.toml").items()
        for form, pronoun, texts in _lists(content)
        for text in texts
    )


def categories() -> list[str]:
    """Return the names of the categories."""
    return list(dict.fromkeys(term.category for term in all_terms()))


def terms_of(category: str, form: Form) -> list[Term]:
    """Return the terms of a category that have a grammatical form."""
    return [term for term in all_terms() if (term.category, term.form) == (category, form)]


def template_sentences(half: Half) -> list[TermSentence]:
    """Return the sentences of a half of the templates, for every category and form."""
    content = _templates()
    return [
        TermSentence(template, category, form)
        for form in ("adjective", "noun")
        for pattern in content[form][half]
        for template in _with_people(pattern, content["people"])
        for category in categories()
    ]


def review_sentences(texts: Iterable[str]) -> list[TermSentence]:
    """Return the sentences of reviews that contain a term, each once, as templates.

    Adjectives must be followed by a word for people, which excludes black comedies and French
    windows. Nouns are those of gender, in sentences where no other word has to change.
    """
    return [
        template
        for sentence in dict.fromkeys(_split(texts))
        for template in (_adjective_sentence(sentence), _noun_sentence(sentence))
        if template
    ]


def fill(template: str, term: Term) -> str:
    """Return `template` with `term` and its article and pronouns."""
    he, his, him = _PRONOUNS[term.pronoun]
    indefinite = article(term.text)
    return template.format(
        x=term.text,
        X=_capital(term.text),
        a=indefinite,
        A=_capital(indefinite),
        he=he,
        his=his,
        him=him,
    )


def _lists(content: Mapping[str, Any]) -> Iterator[tuple[Form, str, list[str]]]:
    yield "adjective", "they", content["adjectives"]
    for pronoun, texts in content["nouns"].items():
        yield "noun", pronoun, texts


def _with_people(template: str, people: Mapping[str, list[str]]) -> list[str]:
    """Return `template` with each word for people in its placeholder, if it has one."""
    for name, words in people.items():
        if f"{{{name}}}" in template:
            return [template.replace(f"{{{name}}}", word) for word in words]
    return [template]


def _split(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for sentence in _SENTENCE_END.split(clean.clean(text)):
            if len(sentence.split()) in _LENGTHS:
                yield sentence


def _adjective_sentence(sentence: str) -> TermSentence | None:
    matches = list(_pattern("adjective").finditer(sentence))
    for match in matches:
        term = _by_text("adjective")[match[0].lower()]
        before, after = sentence[: match.start()], sentence[match.end() :]
        noun = _NEXT_WORD.match(after)
        last = before.lower().split()[-1:]
        if (
            noun
            and noun[1] in _words("people")
            and (match[0][0].isupper() or match[0] == term.text)  # no "polish"
            and not (last and last[0].strip("\"'(") in _words("not_after"))
            and sum(_by_text("adjective")[m[0].lower()].category == term.category for m in matches)
            == 1
        ):
            return TermSentence(_template(before, after), term.category, "adjective")
    return None


def _noun_sentence(sentence: str) -> TermSentence | None:
    matches = [m for m in _pattern("noun").finditer(sentence) if m[0] in _gender_nouns()]
    if len(matches) != 1:
        return None
    before, after = sentence[: matches[0].start()], sentence[matches[0].end() :]
    last = before.lower().split()[-2:]
    others = re.findall(r"\w+", f"{before} {after}".lower())
    if (
        _words("articles").isdisjoint(last)
        or not last[-1].isalpha()
        or not _words("barred").isdisjoint(others)
    ):
        return None
    return TermSentence(_template(before, after), "gender", "noun")


def _template(before: str, after: str) -> str:
    placeholder = "{x}" if before else "{X}"
    if indefinite := _LAST_ARTICLE.search(before):
        placeholder = "{A} {x}" if indefinite[0].startswith("A") else "{a} {x}"
        before = before[: indefinite.start()]
    return f"{_escaped(before)}{placeholder}{_escaped(after)}"


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _capital(word: str) -> str:
    return word[0].upper() + word[1:]


@cache
def _templates() -> dict[str, Any]:
    return read_data("identity_templates.toml")


@cache
def _words(name: str) -> frozenset[str]:
    return frozenset(_templates()["sentences"][name].split())


@cache
def _by_text(form: Form) -> dict[str, Term]:
    return {term.text.lower(): term for term in all_terms() if term.form == form}


@cache
def _gender_nouns() -> frozenset[str]:
    return frozenset(term.text for term in terms_of("gender", "noun"))


@cache
def _pattern(form: Form) -> re.Pattern[str]:
    longest_first = sorted(_by_text(form), key=len, reverse=True)
    return re.compile(
        rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])",
        re.IGNORECASE | re.ASCII,
    )
