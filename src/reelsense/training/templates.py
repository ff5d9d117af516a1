"""Sentences with a place for a word of identity, to learn from. Data alone.

None of them is one that fairness is measured on (`evaluation.identities`). {x} is the word, {a} "a"
or "an" before it, {X} and {A} begin with a capital; {he}, {his} and {him} are as in
`evaluation.identities`, and so are the words.
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

_PEOPLE_TOGETHER = (
    "families",
    "students",
    "dancers",
    "painters",
    "neighbours",
    "villagers",
    "singers",
    "heroes",
    "voices",
    "women",
)

_SENTENCES_OF_MANY = (
    "Some {x} PEOPLE.",
    "{X} PEOPLE everywhere.",
    "Three {x} PEOPLE meet in a bar.",
    "It follows a group of {x} PEOPLE.",
    "All of the PEOPLE in it are {x}.",
    "A film for {x} PEOPLE and for everybody else.",
    "The {x} PEOPLE carry the film.",
    "Wonderful {x} PEOPLE, a clever script.",
    "The {x} PEOPLE bored me to tears.",
    "I did not believe the {x} PEOPLE for a minute.",
)

_SENTENCES_WITH_PRONOUNS = (
    "Then {a} {x} comes home and {he} cannot sleep.",
    "{A} {x} looks for {his} sister.",
    "We follow {a} {x} and {his} family through one summer.",
    "{A} {x} loses {his} job, and nobody helps {him}.",
    "It begins when {a} {x} finds a letter that was not meant for {him}.",
    "{A} {x} tells {his} story to a stranger.",
    "You cannot take your eyes off {him}: {a} {x} at the end of {his} road.",
    "{A} {x} made it, and {his} love for the place shows.",
    "{A} {x} made it, and it shows that {he} had no money.",
    "The part of {a} {x} suits {him}.",
    "The camera loves {a} {x}, and so did I: {he} is superb.",
    "{A} {x} sings in it, badly, and {he} sings a lot.",
    "My neighbour, {a} {x}, left before the end and I wish I had gone with {him}.",
    "My neighbour, {a} {x}, laughed so much that {he} cried.",
    "{A} {x} plays the villain and {he} has all the best lines.",
    "{A} {x} plays the judge; {he} mumbles every one of {his} lines.",
)

ADJECTIVES = tuple(
    sentence.replace(place, people)
    for sentences, place, everyone in (
        (_SENTENCES, "PERSON", _PEOPLE),
        (_SENTENCES_OF_MANY, "PEOPLE", _PEOPLE_TOGETHER),
    )
    for people, sentence in product(everyone, sentences)
)
"""For the words that stand before a noun: religion, nationality, race, orientation, age."""

NOUNS = (
    *(
        sentence.replace("{x} PERSON", "{x}").replace("{X} PERSON", "{X}")
        for sentence in _SENTENCES
    ),
    *_SENTENCES_WITH_PRONOUNS,
)
"""For the nouns of gender, and the pronouns that go with them."""
