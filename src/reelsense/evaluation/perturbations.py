"""Perturbations of texts that preserve the opinion.

Names, places, links and sentences are those of the measuring half of `noise.toml`; training uses
other lists and other kinds of errors (`training.augment`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from string import ascii_lowercase, digits

from reelsense.datasets.behaviours import read_data

TARGET = 0.04  # maximum share of label changes, for the perturbations that have a target

# HTML tags and entities, which `text.clean` interprets: they must not be altered.
_MARKUP = re.compile(r"(</?[a-z][^<>]{0,200}>|&#?\w+;?)", re.IGNORECASE)

_WORD = re.compile(r"[^\W\d_]{4,}")
_APOSTROPHE = re.compile(r"(?<=[^\W_])['\u2019](?=[^\W_])")
_BOUNDARY = re.compile(r"(?<=[.!?])\s+(?=\w)")

# A year, or a number from 11 to 999, that is not part of a rating, a date or a price.
_NUMBER = re.compile(
    r"(?<![\w.,:/#$-])(?:1[89]\d\d|20\d\d|1[1-9]|[2-9]\d|[1-9]\d\d)"
    r"(?![\w%/-]|[.,:]\d|\s*(?:/|%|percent|out\b|of\b|stars?\b|points?\b|thumbs?\b))"
)

# Words before a number that is a rating.
_RATED = re.compile(
    r"(?:[/:]|\bof|\brat(?:e|es|ed|ing)|\bscored?|\bgrade|\bgiv(?:e|es|ing|en)|\bgave)\W{0,3}"
    r"(?:(?:it|this|an?)\s+)*$",
    re.IGNORECASE,
)

_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")  # each row is shifted right by half a key


@dataclass(frozen=True, slots=True)
class Perturbation:
    """A perturbation that preserves the opinion of a text."""

    name: str
    change: Callable[[str, Random], str]
    target: float | None = None  # maximum share of label changes

    @property
    def description(self) -> str:
        """One sentence on what is done to the text."""
        return str(read_data("noise.toml")["descriptions"][self.name])


def typos(text: str, random: Random) -> str:
    """Put a typo into a tenth of the words of 4+ letters, at least one."""
    pieces = _MARKUP.split(text)
    words = [
        (n, word.start(), word.end())
        for n in range(0, len(pieces), 2)
        for word in _WORD.finditer(pieces[n])
    ]
    if not words:
        return text
    chosen = random.sample(words, max(1, round(len(words) / 10)))
    chosen.sort(reverse=True)  # from the end, to keep the earlier offsets valid
    for n, start, end in chosen:
        piece = pieces[n]
        pieces[n] = piece[:start] + _typo(piece[start:end], random) + piece[end:]
    return "".join(pieces)


def upper_case(text: str, _random: Random) -> str:
    """Convert `text` except its markup to upper case."""
    return _outside_markup(text, str.upper)


def lower_case(text: str, _random: Random) -> str:
    """Convert `text` except its markup to lower case."""
    return _outside_markup(text, str.lower)


def drop_apostrophes(text: str, _random: Random) -> str:
    """Remove the apostrophes inside words."""
    return _outside_markup(text, lambda piece: _APOSTROPHE.sub("", piece))


def add_neutral_sentence(text: str, random: Random) -> str:
    """Add a sentence without an opinion before or after `text`."""
    sentence = random.choice(_words("sentences"))
    return random.choice((f"{sentence} {text}", f"{text} {sentence}"))


def swap_names(text: str, random: Random) -> str:
    """Replace common first names; different names stay different."""
    swaps = {**_circle(_words("men"), random), **_circle(_words("women"), random)}
    return _any_of(_words("men") + _words("women")).sub(lambda name: swaps[name[0]], text)


def add_link_and_user(text: str, random: Random) -> str:
    """Insert a link and a user name between two sentences, or at the start or the end."""
    for shapes in (_words("links"), _words("users")):
        text = insert(text, code(random.choice(shapes), random), random)
    return text


def insert(text: str, added: str, random: Random) -> str:
    """Insert `added` at the start or the end of `text`, or between two of its sentences."""
    places = [0, len(text), *(match.end() for match in _BOUNDARY.finditer(text))]
    at = random.choice(places)
    return f"{text[:at].rstrip()} {added} {text[at:]}".strip()


def code(shape: str, random: Random) -> str:
    """Return `shape` with random letters for {code} and random digits for {number}."""
    letters = "".join(random.choices(ascii_lowercase, k=random.randint(5, 9)))
    return shape.format(code=letters, number="".join(random.choices(digits, k=5)))


def change_numbers_and_places(text: str, random: Random) -> str:
    """Replace years, other numbers from 11 to 999 except ratings, and well-known places."""
    return change_places(change_numbers(text, random), _words("places"), random)


def change_numbers(text: str, random: Random) -> str:
    """Replace years, and other numbers from 11 to 999 by others with as many digits."""

    def other(number: re.Match[str]) -> str:
        before = number.string[max(0, number.start() - 12) : number.start()]
        if _RATED.search(before):
            return number[0]
        low, high = {2: (11, 99), 3: (100, 999), 4: (1920, 2023)}[len(number[0])]
        return str(random.randint(low, high))

    return _outside_markup(text, lambda piece: _NUMBER.sub(other, piece))


def change_places(text: str, places: Sequence[str], random: Random) -> str:
    """Replace each of `places` in `text` consistently by another of them."""
    swaps = _circle(places, random)
    pattern = _any_of(tuple(places))
    return _outside_markup(text, lambda piece: pattern.sub(lambda p: swaps[p[0]], piece))


def repeat(times: int) -> Callable[[str, Random], str]:
    """Return the perturbation that repeats a text `times` times."""
    return lambda text, _random: " ".join([text] * times)


PERTURBATIONS = (
    Perturbation("typos", typos, TARGET),
    Perturbation("link and user name", add_link_and_user, TARGET),
    Perturbation("numbers and places", change_numbers_and_places, TARGET),
    Perturbation("repeated twice", repeat(2), TARGET),
    Perturbation("repeated 7 times", repeat(7), TARGET),
    Perturbation("upper case", upper_case),
    Perturbation("lower case", lower_case),
    Perturbation("dropped apostrophes", drop_apostrophes),
    Perturbation("added neutral sentence", add_neutral_sentence),
    Perturbation("swapped names", swap_names),
)


def _circle(words: Sequence[str], random: Random) -> Mapping[str, str]:
    """Map each of `words` to a different one, one to one."""
    order = random.sample(words, len(words))
    return dict(zip(order, [*order[1:], order[0]], strict=True))


def _outside_markup(text: str, change: Callable[[str], str]) -> str:
    pieces = _MARKUP.split(text)
    pieces[::2] = [change(piece) for piece in pieces[::2]]
    return "".join(pieces)


def _typo(word: str, random: Random) -> str:
    """Return `word` with one typo after its first letter."""
    at = random.randrange(1, len(word))
    before, letter, after = word[:at], word[at], word[at + 1 :]
    edits = [before + after, before + 2 * letter + after]
    if after and after[0] != letter:
        edits.append(before + after[0] + letter + after[1:])
    if letter.lower() in _NEIGHBOURS:
        near = random.choice(_NEIGHBOURS[letter.lower()])
        edits.append(before + (near.upper() if letter.isupper() else near) + after)
    return random.choice(edits)


def _neighbours() -> dict[str, str]:
    """Return the letters on the keys adjacent to the key of each letter."""
    keys = {(row, at): key for row, line in enumerate(_KEYBOARD) for at, key in enumerate(line)}
    steps = ((0, -1), (0, 1), (-1, 0), (-1, 1), (1, -1), (1, 0))
    return {
        key: "".join(keys.get((row + down, at + right), "") for down, right in steps)
        for (row, at), key in keys.items()
    }


_NEIGHBOURS = _neighbours()


@cache
def _words(name: str) -> tuple[str, ...]:
    return tuple(read_data("noise.toml")["measuring"][name])


@cache
def _any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(longest_first)})\b")
