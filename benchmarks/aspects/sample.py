"""Draw the sentences that annotators label with mentions of aspects (docs/aspects-guidelines.md).

    python benchmarks/aspects/sample.py --reviews data/aclImdb --output FOLDER

They come from the validation set: its reviews are official training reviews, and no model was
trained on them or on another review of their films. Writes sample.jsonl (positions, without text)
and batch-1.jsonl and so on (text for the annotators, without positions, stratum or label).
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelsense.datasets.labelled import LabelledData
from reelsense.datasets.reviews import Review, text_key
from reelsense.files import write_atomically
from reelsense.text.clean import Span, clean_with_offsets, sentences

SEED = 33
RANDOM, PER_ASPECT = 240, 38  # sentences
BATCHES = 4
MIN_WORDS, MAX_WORDS = 4, 60

# Broad on purpose: they also match plot summaries ("her last act") and figures of speech ("in the
# end"). They only enrich the sample, and are not part of any system.
ASPECT_WORDS = {
    "acting": r"act(?:s|ed|ing|ors?|ress(?:es)?)?|overact\w*|perform\w*|cast(?:ing)?|miscast"
    r"|portray\w*|play(?:s|ed|ing)?|roles?|characters?|convinc\w+|wooden",
    "story": r"stor(?:y|ies)|storylines?|plots?|subplots?|tales?|narrative|premise|script"
    r"|screenplay|writ(?:ing|ten|ers?)|predictable|(?:im)?plausible|clich\w+|concept",
    "directing": r"direct(?:s|ed|ing|ion|ors?|orial)|film-?makers?|helm\w*|auteur|vision|handle\w*"
    r"|handling",
    "music": r"music\w*|songs?|scor(?:e|es|ed|ing)|soundtracks?|sing(?:s|ing|ers?)?|sang|tunes?"
    r"|melod(?:y|ies)|band|orchestra\w*|sounds?|dance\w*",
    "visuals": r"visual\w*|cinematograph\w*|photograph\w*|cameras?|camerawork|shots?|costumes?"
    r"|sets?|scenery|colou?rs?|lighting|landscapes?|locations?|imag(?:es?|ery)|animation|beautiful\w*",
    "pace": r"pac(?:e|ed|ing)|slow(?:s|ed|ly)?|fast|quick(?:ly)?|drag(?:s|ged)?|bor(?:ing|ed|edom)"
    r"|tedious|dull|long|length|rush(?:ed)?|minutes|hours?|edit(?:ed|ing)|suspense\w*",
    "humour": r"funn(?:y|ier|iest)|humou?r\w*|laugh\w*|jok(?:es?|ing)|comed(?:y|ies|ic)|comic"
    r"|hilarious\w*|gags?|witty|amus\w+|parody|slapstick",
    "effects": r"effects?|fx|cgi|computer[- ]generated|stunts?|explosions?|make-?up|gor(?:e|y)"
    r"|monsters?|models?|puppets?|prosthetics?|creatures?",
    "dialogue": r"dialogs?|dialogues?|lines?|one-liners?|conversations?|speech(?:es)?"
    r"|talk(?:s|ed|ing)?|quot\w+|words?|spoken|narration",
    "ending": r"end(?:s|ed|ings?)?|finale|conclu\w+|climax\w*|climactic|twists?|final"
    r"|resolution|resolved|epilogue",
}
_PATTERNS = {
    aspect: re.compile(rf"\b(?:{words})\b", re.IGNORECASE) for aspect, words in ASPECT_WORDS.items()
}


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a review: a span of its text as sent, before cleaning."""

    review: Review
    span: Span
    context: tuple[str, str]  # the sentences before and after, or ""

    @property
    def text(self) -> str:
        """Return the sentence as it is in the review."""
        return _part(self.review, self.span)

    @property
    def matches(self) -> list[str]:
        """Return the aspects with a word in the sentence."""
        return [aspect for aspect, pattern in _PATTERNS.items() if pattern.search(self.text)]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A sentence of the sample."""

    sentence: Sentence
    stratum: str  # "random", or the aspect whose words the sentence contains
    probability: float  # size of the stratum's sample / sentences to choose from


def main() -> None:
    """Draw the sample and write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reviews", type=Path, required=True, help="the unpacked dataset")
    parser.add_argument("--output", type=Path, required=True, help="an existing folder")
    options = parser.parse_args()
    split, _ = LabelledData(options.reviews).for_training()
    trained_on = {text_key(review.text) for review in split.train}
    distinct = {text_key(review.text): review for review in split.validation}
    frame = [
        sentence
        for key, review in distinct.items()
        if key not in trained_on  # some reviews are attributed to two films
        for sentence in eligible_sentences(review)
    ]
    drawn = draw(frame, RANDOM, PER_ASPECT, random.Random(SEED))
    records = {f"s{number:03}": item for number, item in enumerate(drawn, start=1)}
    _write(options.output / "sample.jsonl", [position(*item) for item in records.items()])
    tasks = [task(id_, item.sentence) for id_, item in records.items()]
    size = -(-len(tasks) // BATCHES)
    for number in range(BATCHES):
        batch = tasks[number * size : (number + 1) * size]
        _write(options.output / f"batch-{number + 1}.jsonl", batch)


def eligible_sentences(review: Review) -> Iterator[Sentence]:
    """Yield the sentences of `review` with 4 to 60 words."""
    cleaned = clean_with_offsets(review.text)
    spans = [cleaned.original_span(span) for span in sentences(cleaned.layout)]
    texts = ["", *(_part(review, span) for span in spans), ""]
    for number, span in enumerate(spans):
        if MIN_WORDS <= len(texts[number + 1].split()) <= MAX_WORDS:
            yield Sentence(review, span, (texts[number], texts[number + 2]))


def draw(frame: Sequence[Sentence], count: int, per_aspect: int, rng: random.Random) -> list[Drawn]:
    """Draw sentences of distinct reviews, in random order.

    The random stratum is a systematic sample of `frame`, which lists the sentences of a review
    together: every sentence has the same probability. The other strata have `per_aspect` sentences
    with a word of the aspect, from reviews not drawn yet; their probabilities are approximate.
    """
    step = len(frame) / count
    start = rng.random() * step
    drawn = [
        Drawn(frame[int(start + number * step)], "random", 1 / step) for number in range(count)
    ]
    used = {item.sentence.review.name for item in drawn}
    if len(used) < count:
        raise ValueError(f"a review has more than {step:.0f} sentences: draw fewer at random")
    for aspect, pattern in _PATTERNS.items():
        pool = [sentence for sentence in frame if pattern.search(sentence.text)]
        for sentence in rng.sample(pool, len(pool)):
            if sum(item.stratum == aspect for item in drawn) == per_aspect:
                break
            if sentence.review.name not in used:
                used.add(sentence.review.name)
                drawn.append(Drawn(sentence, aspect, per_aspect / len(pool)))
    rng.shuffle(drawn)
    return drawn


def position(id_: str, item: Drawn) -> dict[str, Any]:
    """Return what is published of a sentence: where it is and how it was drawn."""
    return {
        "id": id_,
        "review": item.sentence.review.name,
        "start": item.sentence.span.start,
        "end": item.sentence.span.end,
        "stratum": item.stratum,
        "probability": round(item.probability, 6),
        "matches": item.sentence.matches,
    }


def task(id_: str, sentence: Sentence) -> dict[str, str]:
    """Return what an annotator sees of a sentence."""
    before, after = sentence.context
    return {"id": id_, "text": sentence.text, "context_before": before, "context_after": after}


def _part(review: Review, span: Span) -> str:
    return review.text[span.start : span.end]


def _write(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    write_atomically(path, "".join(lines))


if __name__ == "__main__":
    main()
