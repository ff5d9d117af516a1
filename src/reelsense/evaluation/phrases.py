"""Names and sentences that `robustness` puts into reviews. Data alone.

The names are common English first names that are no ordinary words and are borne by one gender
for the most part: no Will, Mark, Frank, Grace, Hope or Rose, no Alex, Chris or Kim.
"""

from __future__ import annotations

MEN: tuple[str, ...] = (
    *("Adam", "Andrew", "Anthony", "Arthur", "Benjamin", "Brian", "Daniel", "David"),
    *("Edward", "Eric", "George", "Gregory", "Henry", "Jason", "Jeffrey", "John"),
    *("Joseph", "Kenneth", "Kevin", "Matthew", "Michael", "Patrick", "Paul", "Peter"),
    *("Philip", "Richard", "Robert", "Ryan", "Simon", "Steven", "Thomas", "William"),
)

WOMEN: tuple[str, ...] = (
    *("Alice", "Amanda", "Amy", "Angela", "Anna", "Barbara", "Catherine", "Elizabeth"),
    *("Ellen", "Emily", "Emma", "Helen", "Jane", "Jennifer", "Jessica", "Julia"),
    *("Julie", "Laura", "Linda", "Lisa", "Margaret", "Maria", "Martha", "Mary"),
    *("Michelle", "Nancy", "Nicole", "Rachel", "Rebecca", "Sarah", "Sophie", "Susan"),
)

NEUTRAL: tuple[str, ...] = (
    "I watched it on a Tuesday evening.",
    "My brother sat next to me.",
    "We saw it on television.",
    "I had read the book before.",
    "The cinema is on the corner of our street.",
    "There were subtitles in two languages.",
    "I bought the ticket at the door.",
    "My cousin lent me the disc.",
    "It was shown in the afternoon.",
    "We had dinner afterwards.",
    "I am writing this a week later.",
    "The film was on at eight o'clock.",
    "A colleague had told me about it.",
    "I took the bus home.",
    "We were four people in the room.",
)
