"""Data that makes a model robust: behaviours, noise, and sentences with swapped identity terms.

Uses only the training half of the templates, words and terms, so that evaluation measures with
others (`evaluation.behaviours`, `evaluation.perturbations`, `evaluation.fairness`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from random import Random
from string import ascii_lowercase

from reelsense.datasets.behaviours import NEUTRAL, behaviour_sentences, read_data
from reelsense.datasets.identities import (
    TermSentence,
    review_sentences,
    template_sentences,
    terms_of,
)
from reelsense.errors import TrainingError
from reelsense.evaluation.perturbations import change_numbers, change_places, code, insert
from reelsense.training.examples import Example, one_hot

PER_LABEL = 400
"""Sentences of each label of a behaviour."""

TERMS_IN_A_SET = 8
"""Terms that stand in the same place of a sentence; a whole category can have more than 100."""

_SOURCE = "templates: "
"""What the source of an example begins with; the name of its behaviour follows."""

_WORD = re.compile(r"(?<![<&#\w/])[^\W\d_]{4,}(?![\w;>]|[^<]*>)")
"""A word that is neither in an HTML tag nor an entity."""

_VOWELS = "aeiou"
_HOMOPHONES = {
    "their": "there", "there": "their", "they're": "their", "your": "you're", "you're": "your",
    "it's": "its", "its": "it's", "than": "then", "then": "than", "too": "to", "whose": "who's",
    "definitely": "definately", "separate": "seperate", "believe": "beleive", "weird": "wierd",
    "really": "realy", "beautiful": "beautifull", "until": "untill", "the": "teh",
}  # fmt: skip
_HOMOPHONE = re.compile(rf"\b(?:{'|'.join(_HOMOPHONES)})\b")
_APOSTROPHE = re.compile(r"(?<=[^\W_])['\u2019](?=[^\W_])")


def behaviour_examples(labels: Sequence[str], per_label: int = PER_LABEL) -> list[Example]:
    """Return sentences that show how negation, ratings, slang, emoji and others are meant.

    Args:
        labels: The labels of the model, "negative" and "positive" among them.
        per_label: The most sentences of each label of a behaviour.

    Returns:
        Examples whose label gets all of the probability; those of sentences without an opinion
        have 0.5 for "negative" and for "positive". Their sources name the behaviour.

    Raises:
        TrainingError: `labels` lacks "negative" or "positive".

    """
    if not {"negative", "positive"} <= set(labels):
        raise TrainingError(
            f'labels are {list(labels)}: the templates need "negative" and "positive" among them'
        )
    targets = {label: one_hot(label, labels) for label in ("negative", "positive")}
    targets[NEUTRAL] = tuple(0.5 * (each in targets) for each in labels)
    return [
        Example(sentence.text, targets[sentence.label], source=_SOURCE + behaviour.name)
        for behaviour in behaviour_sentences("training", per_label)
        for sentence in behaviour.sentences
    ]


def noisy(text: str, random: Random) -> str:
    """Return `text` with noise of one or two kinds that leaves its opinion as it was.

    The kinds are typing errors, links and user names, other numbers and places, other case and
    apostrophes, and repetition of the whole text 2 to 7 times.
    """
    for change in random.sample(_CHANGES, random.randint(1, 2)):
        text = change(text, random)
    return text


def identity_sets(texts: Iterable[str], maximum: int, seed: int = 0) -> list[list[str]]:
    """Return sets of sentences that differ only in an identity term.

    The opinion of a set does not depend on the term, so all of its sentences should get one
    target. No term that is held out for measuring is used.

    Args:
        texts: Reviews, whose sentences with an identity term are used too.
        maximum: The most sets of each category from templates, and as many from `texts`.
        seed: Decides which sentences and terms are drawn.

    Returns:
        Sets of 2 to `TERMS_IN_A_SET` sentences. No sentence is in two of them.

    """
    random = Random(seed)
    seen: set[str] = set()
    sets = []
    for sentences in (template_sentences("training"), review_sentences(texts)):
        by_category: dict[str, list[TermSentence]] = defaultdict(list)
        for sentence in sentences:
            by_category[sentence.category].append(sentence)
        for some in by_category.values():
            for sentence in random.sample(some, min(maximum, len(some))):
                made = [text for text in _swapped(sentence, random) if text not in seen]
                if len(made) > 1:
                    sets.append(made)
                    seen.update(made)
    return sets


def _swapped(sentence: TermSentence, random: Random) -> list[str]:
    terms = [term for term in terms_of(sentence.category, sentence.form) if not term.held_out]
    return sentence.texts(random.sample(terms, min(TERMS_IN_A_SET, len(terms))))


def _typos(text: str, random: Random) -> str:
    """Put an error into every 8th to 20th long word, and confuse words that sound alike."""
    share = random.uniform(0.05, 0.12)

    def error(word: re.Match[str]) -> str:
        return _typo(word[0], random) if random.random() < share else word[0]

    def confused(word: re.Match[str]) -> str:
        return _HOMOPHONES[word[0]] if random.random() < 0.3 else word[0]

    return _HOMOPHONE.sub(confused, _WORD.sub(error, text))


def _typo(word: str, random: Random) -> str:
    """Return `word` with an error of a kind that robustness is not measured with."""
    at = random.randrange(1, len(word))
    letter = word[at]
    edits = [
        word[:at] + random.choice(ascii_lowercase) + word[at:],  # a letter too many
        word[:at] + " " + word[at:],  # a space inside the word
        word[: at - 1] + random.choice(ascii_lowercase) + word[at:],  # a wrong letter
    ]
    if letter in _VOWELS:
        edits += [word[:at] + random.choice(_VOWELS) + word[at + 1 :]] * 2
    if letter == word[at - 1]:
        edits += [word[:at] + word[at + 1 :]] * 2  # one letter instead of two
    if "ie" in word[1:] or "ei" in word[1:]:
        edits += [re.sub("ie|ei", lambda pair: pair[0][::-1], word)] * 2
    return random.choice(edits)


def _links_and_users(text: str, random: Random) -> str:
    for _ in range(random.randint(1, 3)):
        shapes = _noise("links") if random.random() < 0.5 else _noise("users")
        text = insert(text, code(random.choice(shapes), random), random)
    return text


def _numbers_and_places(text: str, random: Random) -> str:
    changed = change_places(change_numbers(text, random), _noise("places"), random)
    if changed == text:
        return insert(text, f"({random.choice(_noise('places'))}, {random.randint(1, 31)})", random)
    return changed


def _case(text: str, random: Random) -> str:
    """Write some words or all of the text in capitals, in small letters, or as a title."""
    kind = random.randrange(4)
    if kind == 0:
        return _WORD.sub(lambda w: w[0].upper() if random.random() < 0.2 else w[0], text)
    return _WORD.sub(lambda w: (w[0].lower(), w[0].upper(), w[0].capitalize())[kind - 1], text)


def _apostrophes(text: str, random: Random) -> str:
    """Write the apostrophes inside words as another mark or a space, or leave them out."""
    return _APOSTROPHE.sub(random.choice(("\u2019", "`", " ", "\u00b4", "")), text)


def _repeated(text: str, random: Random) -> str:
    return random.choice((" ", "\n", "<br /><br />")).join([text] * random.randint(2, 7))


_CHANGES: tuple[Callable[[str, Random], str], ...] = (
    _typos,
    _links_and_users,
    _numbers_and_places,
    _case,
    _apostrophes,
    _repeated,
)


@cache
def _noise(name: str) -> tuple[str, ...]:
    return tuple(read_data("noise.toml")["training"][name])
