"""Evaluation sets that go beyond ordinary test reviews, and their training parts.

Reads the folder that `reelsense data fetch evaluation-sets` creates; `fetch` verifies its files.
Does not know models.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from reelsense.datasets import imdb
from reelsense.datasets.labelled_table import read_table
from reelsense.datasets.reviews import Review, Split, split_validation
from reelsense.errors import DatasetError
from reelsense.files import read_text

AUGMENTED, SENTENCES = "counterfactually augmented reviews", "single sentences of SST-2"
"""Names of the sets that have a training part."""
PHRASES = "phrases and sentences of SST-2"
"""Name of SST-2's whole training part, validation sentences included: models that were trained
before these were held out have it in their provenance."""
VALIDATION_SENTENCES = "the validation sentences of SST-2"

_LABELS = {label.capitalize(): label for label in imdb.LABELS}
_LABEL_OF_DIGIT = dict(zip("01", imdb.LABELS, strict=True))
_VALIDATION_SHARE = 0.2
"""Of SST-2's whole sentences: about 1,400, enough to certify a selective error of 2 %."""


class Audit(Enum):
    """The majority vote of five people on a test label of IMDb that looked wrong."""

    UPHELD = "upheld"  # the given label is right
    FLIPPED = "flipped"  # the other label is right
    UNCLEAR = "unclear"  # no majority for either: neutral, off topic, or disagreement


@dataclass(frozen=True, slots=True)
class PairedReviews:
    """Reviews and counterfactual edits, which people made to reverse the sentiment."""

    name: str
    originals: list[Review]  # reviews of IMDb's training part
    edits: list[Review]  # edits[n] is originals[n] with its sentiment reversed, of the same group


@dataclass(frozen=True, slots=True)
class EvaluationSets:
    """The sets of a folder; empty or None for those it lacks. Labels are those of `imdb`."""

    pairs: list[PairedReviews] = field(default_factory=list)
    single_sentences: list[Review] | None = None  # from reviews by critics
    audit: dict[str, Audit] | None = None  # by the name of the review ("test/neg/10003_3.txt")


def read_evaluation_sets(folder: Path) -> EvaluationSets:
    """Read the sets in `folder` in the order of their files.

    Raises DatasetError if a file is malformed, one of a pair of files is missing, or `folder`
    contains none of the sets.
    """
    contrast, cad = folder / "contrast_dev", folder / "cad"
    single_sentences, audit = folder / "sst2" / "dev.tsv", folder / "imdb_label_audit.json"
    pairs = [
        _read_pairs(name, originals, edits)
        for name, originals, edits in [
            ("contrast sets", contrast / "original.tsv", contrast / "contrast.tsv"),
            (AUGMENTED, cad / "orig_dev.tsv", cad / "new_dev.tsv"),
        ]
        if originals.exists() or edits.exists()
    ]
    sets = EvaluationSets(
        pairs,
        single_sentences=_read_sentences(single_sentences) if single_sentences.exists() else None,
        audit=_read_audit(audit) if audit.exists() else None,
    )
    if not (sets.pairs or sets.single_sentences or sets.audit):
        problem = "contains no evaluation sets" if folder.exists() else "does not exist"
        raise DatasetError(
            f"{folder} {problem}: `reelsense data fetch evaluation-sets` creates "
            "data/evaluation-sets",
            code="no-evaluation-sets",
        )
    return sets


@dataclass(frozen=True, slots=True)
class TrainingSets:
    """The training parts of the same sets. Labels are those of `imdb`."""

    edited: PairedReviews
    sentences: list[Review]  # whole sentences of SST-2, or phrases too
    # Held-out whole sentences: neither they nor a phrase of them is in `sentences`.
    validation_sentences: list[Review] = field(default_factory=list)


def read_training_sets(folder: Path, *, phrases: bool = False) -> TrainingSets:
    """Read the training parts of CAD and SST-2, with a fifth of the sentences held out.

    SST-2's training part lists every phrase of the parse trees of its sentences. A whole sentence
    is a phrase that is not part of a longer one. Which sentences are held out depends on the file
    alone (by the SHA-256 of the sentences), so it is the same on every machine.

    The validation sentences calibrate a bundle for short texts and set its thresholds. They must
    not be training data of the bundle's model or its teacher.

    Args:
        folder: As `reelsense data fetch evaluation-sets` creates it.
        phrases: Whether `sentences` also has all phrases that occur in no validation sentence.

    Raises:
        DatasetError: A file is missing or malformed.
    """
    cad = folder / "cad"
    rows = _read_sentences(folder / "sst2" / "train.tsv")
    split = _split_sentences(rows)
    validation = _SentenceIndex(split.validation)
    return TrainingSets(
        edited=_read_pairs(AUGMENTED, cad / "orig_train.tsv", cad / "new_train.tsv"),
        sentences=[row for row in rows if not validation.contains(row)] if phrases else split.train,
        validation_sentences=split.validation,
    )


def read_validation_sentences(folder: Path) -> list[Review]:
    """Read `TrainingSets.validation_sentences` alone. Raises as `read_training_sets`."""
    return _split_sentences(_read_sentences(folder / "sst2" / "train.tsv")).validation


def _split_sentences(rows: Sequence[Review]) -> Split:
    return split_validation(_whole_sentences(rows), _VALIDATION_SHARE)


class _SentenceIndex:
    """Finds texts that are part of one of the sentences, by whole words."""

    def __init__(self, sentences: Iterable[Review] = ()) -> None:
        self._by_word: dict[str, list[str]] = defaultdict(list)
        for sentence in sentences:
            self.add(sentence)

    def add(self, sentence: Review) -> None:
        words = sentence.text.split()
        for word in set(words):
            self._by_word[word].append(f" {' '.join(words)} ")

    def contains(self, phrase: Review) -> bool:
        """Return whether the words of `phrase` occur consecutively in one of the sentences."""
        words = phrase.text.split()
        rarest = min((self._by_word.get(word, []) for word in words), key=len)
        return any(f" {' '.join(words)} " in sentence for sentence in rarest)


def _whole_sentences(rows: Sequence[Review]) -> list[Review]:
    """Return the rows that are not part of another row; of equal rows, the first."""
    index = _SentenceIndex()
    whole = []
    longest_first = sorted(range(len(rows)), key=lambda n: -len(rows[n].text.split()))
    for n in longest_first:
        if not index.contains(rows[n]):
            index.add(rows[n])
            whole.append(n)
    return [rows[n] for n in sorted(whole)]


def _read_pairs(name: str, originals_file: Path, edits_file: Path) -> PairedReviews:
    """Read two files and match originals with edits, because the CAD files are shuffled.

    The edit of an original is the review of the other sentiment that shares most words with it.
    """
    originals, edits = _read_reviews(originals_file), _read_reviews(edits_file)
    edit_words = [_words(edit) for edit in edits]
    matches = []
    for original in originals:
        words = _words(original)
        others = [n for n, edit in enumerate(edits) if edit.label != original.label]
        matches.append(max(others, key=lambda n: _jaccard(words, edit_words[n]), default=-1))
    if sorted(matches) != list(range(len(edits))):
        raise DatasetError(
            f"{originals_file} and {edits_file.name}: expected one edit of each review",
            code="unpaired-reviews",
        )
    matched = [
        replace(edits[n], group=original.group)
        for n, original in zip(matches, originals, strict=True)
    ]
    return PairedReviews(name, originals, matched)


def _read_reviews(path: Path) -> list[Review]:
    reviews = read_table(path, "Text", "Sentiment", max_bad_rows=0)
    try:
        return [replace(review, label=_LABELS[review.label or ""]) for review in reviews]
    except KeyError as error:
        raise _malformed(path) from error


def _words(review: Review) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", review.text.lower()))


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    shared = len(one & other)
    return shared / max(1, len(one) + len(other) - shared)


def _read_sentences(path: Path) -> list[Review]:
    """Read SST-2 in its GLUE form: two tab-separated columns without quoting.

    `tables` would interpret a quotation mark at the start of a sentence as quoting.
    """
    _, *lines = read_text(path, DatasetError).removesuffix("\n").split("\n")
    sentences = []
    try:
        for number, line in enumerate(lines, start=2):
            text, digit = line.split("\t")
            label = _LABEL_OF_DIGIT[digit]
            sentences.append(Review(f"{path.name}:{number}", text, label, rating=None, group=text))
    except (ValueError, KeyError) as error:
        raise _malformed(path) from error
    return sentences


def _read_audit(path: Path) -> dict[str, Audit]:
    """Read the votes of five people on labels; a majority has three."""
    try:
        entries = json.loads(read_text(path, DatasetError))
        return {f"{entry['id']}.txt": _majority(entry["mturk"]) for entry in entries}
    except (ValueError, KeyError, TypeError) as error:
        raise _malformed(path) from error


def _majority(votes: Mapping[str, int]) -> Audit:
    if votes["given"] >= 3:
        return Audit.UPHELD
    return Audit.FLIPPED if votes["guessed"] >= 3 else Audit.UNCLEAR


def _malformed(path: Path) -> DatasetError:
    return DatasetError(
        f"{path} is not the file that `reelsense data fetch evaluation-sets` downloads"
    )
