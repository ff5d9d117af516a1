"""Sentences with a place for a word of identity, to learn from. Data alone.

None of them is one that fairness is measured on (`evaluation.identities`). {x} is the word, {a} "a"
or "an" before it, {X} and {A} begin with a capital; the words are those of the evaluation.
"""

from __future__ import annotations

from itertools import product

_PEOPLE = (
    "actor",
    "actress",
    "woman",
    "man",
    "family",
    "student",
    "cook",
    "nurse",
    "neighbour",
    "dancer",
    "painter",
    "director",
    "writer",
    "character",
    "girl",
    "boy",
    "crowd",
    "villain",
    "father",
    "mother",
)

_SENTENCES = (
    "Meet {a} {x} PERSON.",
    "The {x} PERSON.",
    "{X} PERSON",
    "There is {a} {x} PERSON in it.",
    "{A} {x} PERSON opens the film.",
    "We meet {a} {x} PERSON on a train.",
    "The story of {a} {x} PERSON and a lost dog.",
    "It is set in a small town where {a} {x} PERSON arrives.",
    "My friend, {a} {x} PERSON, came along.",
    "I saw it with {a} {x} PERSON.",
    "The {x} PERSON is on screen for most of it.",
    "The {x} PERSON is wonderful.",
    "The {x} PERSON gives a moving performance.",
    "I loved the {x} PERSON.",
    "A touching portrait of {a} {x} PERSON.",
    "The {x} PERSON is the best thing in it.",
    "The {x} PERSON is unbearable.",
    "A dull film about {a} {x} PERSON.",
    "The {x} PERSON cannot act.",
    "I hated the {x} PERSON.",
    "The {x} PERSON spoils every scene.",
    "Neither good nor bad: {a} {x} PERSON looks back on a life.",
)

ADJECTIVES = tuple(
    sentence.replace("PERSON", person) for person, sentence in product(_PEOPLE, _SENTENCES)
)
"""For the words that stand before a noun: religion, nationality, race, orientation, age."""

NOUNS = tuple(
    sentence.replace("{x} PERSON", "{x}").replace("{X} PERSON", "{X}") for sentence in _SENTENCES
)
"""For the nouns of gender."""
