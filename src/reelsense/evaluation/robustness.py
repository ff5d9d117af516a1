"""Whether answers hold when a review is written a little differently, and turn when they should.

`flips` changes texts in ways that leave their opinion as it was, as the invariance tests of
Ribeiro et al. (2020, "Beyond Accuracy: Behavioral Testing of NLP Models with CheckList") do, and
counts the answers that change. `pairs` takes reviews beside edited ones whose opinion is the
opposite (Kaushik et al. 2020, "Learning the Difference that Makes a Difference with
Counterfactually-Augmented Data"; Gardner et al. 2020, "Evaluating Models' Local Decision
Boundaries via Contrast Sets") and counts the pairs with both halves right.

Knows texts and a `Scorer`; knows no files and no models.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from reelsense.datasets.reviews import Review
from reelsense.errors import InputError
from reelsense.evaluation.judged import judge
from reelsense.evaluation.metrics import Share, share
from reelsense.evaluation.phrases import MEN, NEUTRAL, WOMEN
from reelsense.evaluation.scorer import Scorer, score

_MARKUP = re.compile(r"(</?[a-z][^<>]{0,200}>|&#?\w+;?)", re.IGNORECASE)
"""HTML tags and entities: `review.clean` reads them, so no change may touch them."""

_WORD = re.compile(r"[^\W\d_]{4,}")
_APOSTROPHE = re.compile(r"(?<=[^\W_])['\u2019](?=[^\W_])")
_NAME = re.compile(rf"\b(?:{'|'.join([*MEN, *WOMEN])})\b")

_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
"""Each row stands half a key to the right of the one above it."""


@dataclass(frozen=True, slots=True)
class Flips:
    """How many of the texts that a perturbation changed got another label."""

    name: str
    what: str
    """One sentence that says what was done to the texts."""
    flips: Share


@dataclass(frozen=True, slots=True)
class Pairs:
    """How many reviews were answered rightly before and after an edit that turned the opinion."""

    name: str
    originals: Share
    edits: Share
    both: Share
    """Pairs with both halves right."""


@dataclass(frozen=True, slots=True)
class Perturbation:
    """A way to rewrite a text that leaves its opinion as it was."""

    name: str
    what: str
    change: Callable[[str, Random], str]


def flips(scorer: Scorer, texts: Sequence[str], seed: int = 0) -> list[Flips]:
    """Count the answers to `texts` that change under each of `PERTURBATIONS`.

    What happens to a text depends on `seed` and its place in `texts`, not on the other texts.
    """
    given = score(scorer, texts, "as given").argmax(axis=1)
    found = []
    for perturbation in PERTURBATIONS:
        changed = {}
        for n, text in enumerate(texts):
            new = perturbation.change(text, Random(f"{seed}-{perturbation.name}-{n}"))
            if new != text:
                changed[n] = new
        answers = score(scorer, list(changed.values()), perturbation.name).argmax(axis=1)
        flipped = int((answers != given[list(changed)]).sum())
        found.append(Flips(perturbation.name, perturbation.what, share(flipped, len(changed))))
    return found


def pairs(scorer: Scorer, name: str, originals: Sequence[Review], edits: Sequence[Review]) -> Pairs:
    """Count right answers on `originals` and `edits`; those at the same place make a pair.

    Raises InputError if there are more of one than of the other, or if a review's label is none
    of the scorer's.
    """
    if len(originals) != len(edits):
        raise InputError(f"{name}: {len(originals)} originals, but {len(edits)} edits")
    first, second = judge(scorer, [*originals, *edits], name).correct.reshape(2, -1)
    count = len(originals)
    return Pairs(
        name=name,
        originals=share(int(first.sum()), count),
        edits=share(int(second.sum()), count),
        both=share(int((first & second).sum()), count),
    )


def typos(text: str, random: Random) -> str:
    """Put one typing error into a tenth of the words of 4+ letters, and into one at least."""
    pieces = _MARKUP.split(text)
    words = [
        (n, word.start(), word.end())
        for n in range(0, len(pieces), 2)
        for word in _WORD.finditer(pieces[n])
    ]
    if not words:
        return text
    chosen = random.sample(words, max(1, round(len(words) / 10)))
    for n, start, end in sorted(chosen, reverse=True):  # from the end: the places before stay
        piece = pieces[n]
        pieces[n] = piece[:start] + _typo(piece[start:end], random) + piece[end:]
    return "".join(pieces)


def upper_case(text: str, _random: Random) -> str:
    """Put all of `text` but its markup into capitals."""
    return _outside_markup(text, str.upper)


def lower_case(text: str, _random: Random) -> str:
    """Put all of `text` but its markup into small letters."""
    return _outside_markup(text, str.lower)


def drop_apostrophes(text: str, _random: Random) -> str:
    """Leave out the apostrophes inside words."""
    return _outside_markup(text, lambda piece: _APOSTROPHE.sub("", piece))


def add_neutral_sentence(text: str, random: Random) -> str:
    """Put a sentence without opinion before or after `text`."""
    sentence = random.choice(NEUTRAL)
    return random.choice((f"{sentence} {text}", f"{text} {sentence}"))


def swap_names(text: str, random: Random) -> str:
    """Give everyone with a common first name another; two who differed still do."""
    swaps: dict[str, str] = {}
    for names in (MEN, WOMEN):
        circle = random.sample(names, len(names))
        swaps |= dict(zip(circle, [*circle[1:], circle[0]], strict=True))
    return _NAME.sub(lambda name: swaps[name[0]], text)


PERTURBATIONS: tuple[Perturbation, ...] = (
    Perturbation(
        "typos",
        "A tenth of the words of four letters or more, and one at least, got a typing error after "
        "the first letter: two letters swapped, one dropped, one doubled, or one replaced by its "
        "neighbour on the keyboard.",
        typos,
    ),
    Perturbation("upper case", "The whole text was put into capitals.", upper_case),
    Perturbation("lower case", "The whole text was put into small letters.", lower_case),
    Perturbation(
        "dropped apostrophes", "The apostrophes inside words were left out.", drop_apostrophes
    ),
    Perturbation(
        "added neutral sentence",
        'A sentence without opinion, such as "I took the bus home.", was put before or after it.',
        add_neutral_sentence,
    ),
    Perturbation(
        "swapped names",
        "Every common first name was replaced by another one of the same gender, the same name "
        "always by the same.",
        swap_names,
    ),
)


def _outside_markup(text: str, change: Callable[[str], str]) -> str:
    pieces = _MARKUP.split(text)
    pieces[::2] = [change(piece) for piece in pieces[::2]]
    return "".join(pieces)


def _typo(word: str, random: Random) -> str:
    """Return `word` with one error at a letter that is not the first."""
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
    """Return the letters whose keys touch a letter's key."""
    keys = {(row, at): key for row, line in enumerate(_KEYBOARD) for at, key in enumerate(line)}
    steps = ((0, -1), (0, 1), (-1, 0), (-1, 1), (1, -1), (1, 0))
    return {
        key: "".join(keys.get((row + down, at + right), "") for down, right in steps)
        for (row, at), key in keys.items()
    }


_NEIGHBOURS = _neighbours()
