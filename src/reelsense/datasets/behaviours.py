"""Sentences made from templates, to train a model's behaviour and to evaluate it.

A behaviour is something a sentiment model should handle, such as negation. The folder
`data/behaviours` has one TOML file for each, with halves that share neither templates nor words.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from random import Random
from typing import Any, Literal

Half = Literal["training", "measuring"]  # of templates, words and terms

NEUTRAL = "neutral"
"""The label of sentences without an opinion; the others are "positive" and "negative"."""

FACTS = "facts"
"""The behaviour whose sentences also serve as context around an opinion."""

_WORDS = "words"  # the file with words for all templates
_PLACEHOLDER = re.compile(r"\{(?P<article>a )?(?P<words>[a-z]+?(?:100|10|5)?)(?P<number>[23]?)\}")
_AN = re.compile(r"(?!unit|uk|ug|uru|uy|one|eu)[aeiou8]|HIV|LGBT", re.IGNORECASE)
"""Words that start with a vowel sound, among those in the data."""

_START = re.compile(r"(?:^|[.?!\n] )[\"']?[a-z]")

_CONTEXT_SHARE = 0.2  # the chance of a fact before an opinion, and likewise after it

_MAX_ROUNDS_WITHOUT_NEW_TEXT = 50  # then the templates count as exhausted


@dataclass(frozen=True, slots=True)
class LabelledSentence:
    """A text and its label."""

    text: str
    label: str  # "positive", "negative" or NEUTRAL


@dataclass(frozen=True, slots=True)
class BehaviourSentences:
    """Sentences of one behaviour."""

    name: str
    about: str  # one line about what is tested, with an example
    sentences: tuple[LabelledSentence, ...]


def behaviour_sentences(half: Half, per_label: int) -> list[BehaviourSentences]:
    """Return every behaviour with at most `per_label` distinct sentences of each label.

    The result is always the same. Some sentences have one or two facts around the opinion.
    """
    return [
        BehaviourSentences(
            name.replace("_", " "), file["about"], tuple(_sentences(name, half, per_label))
        )
        for name, file in _files().items()
        if name != _WORDS
    ]


def word_lists(half: Half) -> dict[str, list[str]]:
    """Return the words for the placeholders of all templates, by list."""
    return {name: list(words) for name, words in _files()[_WORDS][half].items()}


def article(word: str) -> str:
    """Return the indefinite article before `word`."""
    return "an" if _AN.match(word) else "a"


def read_data(name: str) -> dict[str, Any]:
    """Return the content of a TOML file in the folder `data`."""
    text = resources.files("reelsense.datasets").joinpath("data", name).read_text(encoding="utf-8")
    return tomllib.loads(text)


@cache
def _files() -> dict[str, dict[str, Any]]:
    folder = resources.files("reelsense.datasets").joinpath("data", "behaviours")
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".toml"))
    return {name.removesuffix(".toml"): read_data(f"behaviours/{name}") for name in names}


def _sentences(name: str, half: Half, per_label: int) -> Iterator[LabelledSentence]:
    file = _files()[name]
    words = {**word_lists(half), **file.get("words", {}).get(half, {})}
    for group in file[half]:
        random = Random(f"{name} {half} {group['label']}")
        for text in _texts(group["templates"], words, half, per_label, random, bare=name == FACTS):
            yield LabelledSentence(text, group["label"])


def _texts(
    templates: Sequence[str],
    words: Mapping[str, Sequence[str]],
    half: Half,
    maximum: int,
    random: Random,
    *,
    bare: bool,
) -> list[str]:
    """Fill `templates` in turn until there are `maximum` distinct texts or no new ones."""
    texts: dict[str, None] = {}
    rounds = 0
    while len(texts) < maximum and rounds < _MAX_ROUNDS_WITHOUT_NEW_TEXT:
        rounds += 1
        for template in templates:
            text = fill(template, words, random)
            if not bare:
                text = _in_context(text, half, random)
            if text not in texts and len(texts) < maximum:
                texts[text] = None
                rounds = 0
    return list(texts)


def fill(template: str, words: Mapping[str, Sequence[str]], random: Random) -> str:
    """Return `template` with its placeholders filled; sentences begin with a capital.

    `{film}` is a word of that list and `{a film}` the word with its article; `{film2}` is another
    word of the same list. Equal placeholders get the same word.
    """
    chosen: dict[tuple[str, str], str] = {}

    def word(placeholder: re.Match[str]) -> str:
        name, number = placeholder["words"], placeholder["number"]
        if (name, number) not in chosen:
            used = {word for (other, _), word in chosen.items() if other == name}
            chosen[name, number] = random.choice([w for w in words[name] if w not in used])
        choice = chosen[name, number]
        return f"{article(choice)} {choice}" if placeholder["article"] else choice

    lower = template[:1].islower()
    text = _PLACEHOLDER.sub(word, template)
    return text if lower else _START.sub(lambda start: start[0][:-1] + start[0][-1].upper(), text)


def _in_context(text: str, half: Half, random: Random) -> str:
    """Return `text` with a fact before it, after it, or both, or alone."""
    before = random.random() < _CONTEXT_SHARE
    after = random.random() < _CONTEXT_SHARE
    if before:
        text = f"{_fact(half, random)} {text}"
    if after:
        end = "." if text[-1].isalnum() else ""
        text = f"{text}{end} {_fact(half, random)}"
    return text


def _fact(half: Half, random: Random) -> str:
    facts = _files()[FACTS]
    words = {**word_lists(half), **facts["words"][half]}
    return fill(random.choice(facts[half][0]["templates"]), words, random)
