"""Training data for robustness: behaviours, noise and counterfactuals with identity terms.

Uses only the training half of the templates, words and terms. The evaluation uses the other half
(`evaluation.behaviours`, `evaluation.perturbations`, `evaluation.fairness`).
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

PER_LABEL = 400  # sentences of each label of a behaviour
TERMS_IN_A_SET = 8  # at most; a category can have more than 100

_WORD = re.compile(r"(?<![<&#\w/])[^\W\d_]{4,}(?![\w;>]|[^<]*>)")
"""A word outside of HTML tags and entities."""

_VOWELS = "aeiou"
_APOSTROPHE = re.compile(r"(?<=[^\W_])['\u2019](?=[^\W_])")


def behaviour_examples(labels: Sequence[str], per_label: int = PER_LABEL) -> list[Example]:
    """Return sentences with negation, ratings, slang, emoji and other behaviours.

    They have probability 1 for their label, or 0.5 for "negative" and "positive" if they have no
    opinion. Their sources name the behaviour. Raises TrainingError if these labels are missing.
    """
    if not {"negative", "positive"} <= set(labels):
        raise TrainingError(
            f'the labels are {list(labels)}: behaviours need "negative" and "positive"',
            code="labels-differ",
        )
    targets = {label: one_hot(label, labels) for label in ("negative", "positive")}
    targets[NEUTRAL] = tuple(0.5 * (label in targets) for label in labels)
    return [
        Example(sentence.text, targets[sentence.label], source=f"templates: {behaviour.name}")
        for behaviour in behaviour_sentences("training", per_label)
        for sentence in behaviour.sentences
    ]


def noisy(text: str, random: Random) -> str:
    """Return `text` with one or two kinds of noise that do not change its sentiment.

    The kinds are typing errors, links and user names, other numbers and places, other case and
    apostrophes, and repetition of the whole text 2 to 7 times.
    """
    for change in random.sample(_CHANGES, random.randint(1, 2)):
        text = change(text, random)
    return text


def identity_sets(texts: Iterable[str], maximum: int, seed: int = 0) -> list[list[str]]:
    """Return sets of sentences that differ only in an identity term.

    The sentiment does not depend on the term, so the sentences of a set should get the same
    target. They come from templates and from the reviews `texts`, at most `maximum` sets of each
    category from both. A set has 2 to TERMS_IN_A_SET sentences; no sentence is in two of them, and
    held-out terms are not used.
    """
    random = Random(seed)
    seen: set[str] = set()
    sets = []
    for sentences in (template_sentences("training"), review_sentences(texts)):
        by_category: dict[str, list[TermSentence]] = defaultdict(list)
        for sentence in sentences:
            by_category[sentence.category].append(sentence)
        for group in by_category.values():
            for sentence in random.sample(group, min(maximum, len(group))):
                new = [text for text in _counterfactuals(sentence, random) if text not in seen]
                if len(new) > 1:
                    sets.append(new)
                    seen.update(new)
    return sets


def _counterfactuals(sentence: TermSentence, random: Random) -> list[str]:
    terms = [term for term in terms_of(sentence.category, sentence.form) if not term.held_out]
    return sentence.texts(random.sample(terms, min(TERMS_IN_A_SET, len(terms))))


def _typos(text: str, random: Random) -> str:
    """Misspell 5 to 12 % of the long words, and replace some words by homophones."""
    share = random.uniform(0.05, 0.12)
    homophones, pattern = _homophones()

    def misspell(word: re.Match[str]) -> str:
        return _typo(word[0], random) if random.random() < share else word[0]

    def replace_homophone(word: re.Match[str]) -> str:
        return homophones[word[0]] if random.random() < 0.3 else word[0]

    return pattern.sub(replace_homophone, _WORD.sub(misspell, text))


def _typo(word: str, random: Random) -> str:
    """Return `word` with an error of a kind that the evaluation of robustness does not use."""
    at = random.randrange(1, len(word))
    letter = word[at]
    edits = [
        word[:at] + random.choice(ascii_lowercase) + word[at:],  # an additional letter
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
        patterns = _noise("links") if random.random() < 0.5 else _noise("users")
        text = insert(text, code(random.choice(patterns), random), random)
    return text


def _numbers_and_places(text: str, random: Random) -> str:
    changed = change_places(change_numbers(text, random), _noise("places"), random)
    if changed == text:
        return insert(text, f"({random.choice(_noise('places'))}, {random.randint(1, 31)})", random)
    return changed


def _case(text: str, random: Random) -> str:
    """Convert some words or the whole text to upper, lower or title case."""
    kind = random.randrange(4)
    if kind == 0:
        return _WORD.sub(lambda w: w[0].upper() if random.random() < 0.2 else w[0], text)
    return _WORD.sub(lambda w: (w[0].lower(), w[0].upper(), w[0].capitalize())[kind - 1], text)


def _apostrophes(text: str, random: Random) -> str:
    """Replace apostrophes inside words by another character, or remove them."""
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
def _homophones() -> tuple[dict[str, str], re.Pattern[str]]:
    """Return homophones and misspellings by word, and a pattern that matches these words."""
    homophones = read_data("noise.toml")["homophones"]
    return homophones, re.compile(rf"\b(?:{'|'.join(homophones)})\b")


@cache
def _noise(name: str) -> tuple[str, ...]:
    return tuple(read_data("noise.toml")["training"][name])
