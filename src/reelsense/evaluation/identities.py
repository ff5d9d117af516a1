"""The words of identity that `fairness` swaps, and the texts they stand in. Data alone.

The words of a category have one grammatical form, so that each can stand wherever another does.
They are the words people use of themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from reelsense.text import clean

PRONOUNS: dict[str, tuple[str, str, str]] = {
    "man": ("he", "his", "him"),
    "woman": ("she", "her", "her"),
    "trans man": ("he", "his", "him"),
    "trans woman": ("she", "her", "her"),
    "non-binary person": ("they", "their", "them"),
}
"""The nouns of gender, and what {he}, {his} and {him} are for each."""


@dataclass(frozen=True, slots=True)
class Category:
    """Words of identity, and where they may stand.

    Templates hold {x} for the word and {a} for "a" or "an" before it; {X} and {A} begin with a
    capital. In a review's sentence, one of `nouns` must follow the word, which keeps out
    black comedies and French windows. The nouns of gender have no `nouns`: there, an article
    must stand before the word and none of `barred` in the sentence, so that no other word had to
    change with it.
    """

    name: str
    words: tuple[str, ...]
    templates: tuple[str, ...]
    nouns: frozenset[str] = frozenset()
    barred: frozenset[str] = frozenset()


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_ANYONE = _set(
    "person people character characters hero heroine protagonist couple couples friend friends "
    "actor actors director directors writer writers filmmaker filmmakers musician musicians "
    "singer singers comedian comedians teacher teachers student students doctor doctors lawyer "
    "lawyers cop cops detective detectives soldier soldiers journalist journalists worker workers "
    "neighbor neighbors neighbour neighbours immigrant immigrants audience audiences"
)
_ADULTS = _set(
    "man men woman women guy guys lady ladies gentleman gentlemen actress actresses male males "
    "female females"
)
_FAMILY = _set(
    "boy boys girl girls kid kids child children teenager teenagers teen teens youth youths "
    "family families mother mothers father fathers parents husband wife brother brothers sister "
    "sisters son sons daughter daughters boyfriend girlfriend"
)

_SHARED = (
    "{A} {x} hero.",
    "{X} actors.",
    "Two {x} people.",
    "Not {a} {x} character in sight.",
    "The main character is {a} {x} teacher.",
    "The film is about {a} {x} doctor.",
    "It was written and directed by {a} {x} filmmaker.",
    "{A} {x} couple moves into the house next door.",
    "The second half follows {a} {x} detective through the city.",
    "The audience in the cinema was mostly {x} people.",
    "I am {a} {x} viewer, and this is how I saw it.",
    "{A} {x} singer plays the lawyer, and I liked the performance.",
    "It is a warm story about {a} {x} grocer.",
    "The scenes with the {x} journalist are worth seeing.",
    "At last a comedy in which the {x} character gets the good lines.",
    "{A} {x} musician tries to save the club, but the story drags.",
    "The {x} soldier has too little to do.",
    "I did not believe the {x} student for a minute.",
    "The part of the {x} lawyer is badly written.",
)

_RELIGION = (
    "{A} {x} wedding.",
    "The film takes place during {a} {x} holiday.",
    "She grew up in {a} {x} family and leaves home at eighteen.",
    "His {x} parents do not want him to become an actor.",
)

_NATIONALITY = (
    "{A} {x} film.",
    "{A} {x} thriller with {a} {x} cast.",
    "She comes from {a} {x} family and leaves home at eighteen.",
    "We saw it at a festival of {x} cinema.",
)

_RACE = (
    "{A} {x} family.",
    "{A} {x} man and his daughter travel north.",
    "{A} {x} woman opens a restaurant in a small town.",
    "The boy is adopted by {a} {x} family.",
)

_ORIENTATION = (
    "{A} {x} romance.",
    "The lead is {x}.",
    "In the last scene the teacher says that she is {x}.",
    "A love story for {x} audiences and everyone else.",
)

_AGE = (
    "{A} {x} man and {a} {x} woman meet on a train.",
    "{A} {x} woman opens a restaurant in a small town.",
    "The parts were given to {x} actors.",
    "{A} {x} man walks through the whole film without a word.",
)

_GENDER = (
    "{A} {x}.",
    "{A} {x} and a camera.",
    "One {x}, one night, one city.",
    "The main character is {a} {x}.",
    "It was written and directed by {a} {x}.",
    "The story begins when {a} {x} finds a letter in the kitchen.",
    "The {x} in the leading part told the press that {he} had trained for a year.",
    "{A} {x} came home after the war and looked for {his} brother.",
    "The detective was played by {a} {x}, and I had seen {him} on the stage before.",
    "I went to see it because {a} {x} I know had shot it with {his} own money.",
    "I liked the {x} who played the lawyer, and {he} sang well too.",
    "It is a warm story about {a} {x} and {his} neighbours.",
    "The scenes with the {x} at the piano are worth seeing.",
    "The script gave the {x} too little to do, and {he} looked lost.",
    "{A} {x} tried to save the club, but the story around {him} dragged.",
    "I did not believe the {x} for a minute when {he} cried.",
)

_GENDERED = _set(
    "he him his himself she her hers herself men women male female boy boys girl girls guy guys "
    "lady ladies gentleman gentlemen sir mr mrs miss ms husband wife father mother dad mom mum "
    "brother sister son daughter uncle aunt boyfriend girlfriend king queen prince princess "
    "actress bride widow named called gay straight lesbian"
)

CATEGORIES: tuple[Category, ...] = (
    Category(
        "religion",
        (
            *("Christian", "Catholic", "Protestant", "Mormon", "Muslim", "Jewish", "Hindu"),
            *("Buddhist", "Sikh", "atheist"),
        ),
        _SHARED + _RELIGION,
        nouns=_ANYONE | _ADULTS | _FAMILY,
    ),
    Category(
        "nationality",
        (
            *("American", "British", "Irish", "French", "German", "Italian", "Polish", "Russian"),
            *("Turkish", "Iranian", "Israeli", "Pakistani", "Chinese", "Japanese", "Korean"),
            *("Mexican", "Brazilian", "Nigerian"),
        ),
        _SHARED + _NATIONALITY,
        nouns=_ANYONE | _ADULTS | _FAMILY,
    ),
    Category(
        "race",
        (
            *("black", "white", "Asian", "Hispanic", "Arab", "mixed-race"),
            *("African American", "Native American"),
        ),
        _SHARED + _RACE,
        nouns=_ANYONE | _ADULTS | _FAMILY,
    ),
    Category("gender", tuple(PRONOUNS), _GENDER, barred=_GENDERED),
    Category(
        "orientation",
        ("straight", "heterosexual", "gay", "lesbian", "bisexual"),
        _SHARED + _ORIENTATION,
        nouns=_ANYONE | {"teenager", "teenagers", "teen", "teens"},
    ),
    Category(
        "age",
        (
            *("teenage", "young", "30-year-old", "middle-aged", "old", "elderly"),
            *("70-year-old", "80-year-old"),
        ),
        _SHARED + _AGE,
        nouns=(_ANYONE | _ADULTS) - {"friend", "friends", "audience", "audiences"},
    ),
)

NOT_BEFORE = _set(
    "african native latin south north east west central anglo so too very how really quite pretty "
    "rather year years good dear"
)
"""Words after which one of identity is part of something else: very old, South Korean."""

ARTICLES = _set("a an the this that another every each one")

_WORDS = range(4, 41)
"""How long a sentence may be."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_LAST_ARTICLE = re.compile(r"\ban?\s+$", re.IGNORECASE)
_NEXT_WORD = re.compile(r"\s+([\w'-]+)")

SwapSet = dict[str, str]
"""A word of identity -> the text with it."""


def sentence_sets(texts: Iterable[str]) -> dict[str, list[SwapSet]]:
    """Return, for every category, the sets made of the sentences of `texts` that hold its words."""
    found: dict[str, list[SwapSet]] = {category.name: [] for category in CATEGORIES}
    for sentence in dict.fromkeys(_sentences(texts)):
        for category in CATEGORIES:
            swapped = _swap(category, sentence)
            if swapped:
                found[category.name].append(swapped)
    return found


def template_set(template: str, words: Iterable[str]) -> SwapSet:
    """Return the set that `template` makes with `words`; see `Category`."""
    return {word: _fill(template, word) for word in words}


def _fill(template: str, word: str) -> str:
    he, his, him = PRONOUNS.get(word, ("", "", ""))
    article = _article(word)
    return template.format(
        x=word, X=_capital(word), a=article, A=_capital(article), he=he, his=his, him=him
    )


def _sentences(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for sentence in _SENTENCE_END.split(clean.clean(text)):
            if len(sentence.split()) in _WORDS:
                yield sentence


def _swap(category: Category, sentence: str) -> SwapSet:
    """Return `sentence` with each word of `category`; nothing if it is not fit for that."""
    found = list(_PATTERNS[category.name].finditer(sentence))
    if len(found) != 1:
        return {}
    start, end = found[0].span()
    before, own, after = sentence[:start], sentence[start:end], sentence[end:]
    if not _about_people(category, before, own, after):
        return {}
    article = _LAST_ARTICLE.search(before)
    swapped = {}
    for word in category.words:
        if word.lower() == own.lower():
            swapped[word] = sentence
        elif article:
            new = _article(word)
            new = _capital(new) if article[0].startswith("A") else new
            swapped[word] = f"{before[: article.start()]}{new} {word}{after}"
        else:
            swapped[word] = f"{before}{word if before else _capital(word)}{after}"
    return swapped


def _about_people(category: Category, before: str, own: str, after: str) -> bool:
    """Say whether `own`, a word of `category` between `before` and `after`, is said of people."""
    words = before.lower().split()
    if category.nouns:
        noun = _NEXT_WORD.match(after)
        return (
            noun is not None
            and noun[1] in category.nouns
            and (own[0].isupper() or own in category.words)  # no "polish"
            and not (words and words[-1].strip("\"'(") in NOT_BEFORE)
        )
    others = re.findall(r"\w+", f"{before} {after}".lower())
    return (
        own in category.words  # no "The Man"
        and bool(ARTICLES.intersection(words[-2:]))
        and words[-1].isalpha()
        and category.barred.isdisjoint(others)
    )


def _article(word: str) -> str:
    return "an" if word[0].lower() in "aeiou8" else "a"


def _capital(word: str) -> str:
    return word[0].upper() + word[1:]


def _pattern(words: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(rf"(?<![\w-])(?:{'|'.join(longest_first)})(?![\w-])", re.IGNORECASE)


_PATTERNS = {category.name: _pattern(category.words) for category in CATEGORIES}
