"""Read the sets that show how a classifier holds up where ordinary test reviews do not go.

The folder, as `reelsense data fetch evaluation-sets` makes it:

    contrast_dev/{original,contrast}.tsv  IMDb contrast sets (Gardner et al. 2020)
    cad/{orig,new}_dev.tsv                counterfactually augmented reviews (Kaushik et al. 2020)
    sst2/dev.tsv                          SST-2 in its GLUE form (Socher et al. 2013)
    imdb_label_audit.json                 votes on IMDb's test labels (Northcutt et al. 2021)

Knows how these files are written and what their labels mean; knows no model, and nothing about
where the files came from.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from reelsense.datasets import imdb
from reelsense.datasets.labelled_tables import read_table
from reelsense.datasets.reviews import Review, Split, split_validation
from reelsense.errors import DatasetError

AUGMENTED, SENTENCES = "counterfactually augmented reviews", "single sentences of SST-2"
"""What the sets that can be learned from are called."""
PHRASES = "phrases and sentences of SST-2"
"""SST-2's whole train part as a source of examples, validation sentences included. Models trained
before these were held out name it."""
VALIDATION_SENTENCES = "the validation sentences of SST-2"

_LABELS = {label.capitalize(): label for label in imdb.LABELS}
_LABEL_OF_DIGIT = dict(zip("01", imdb.LABELS, strict=True))
_LABEL_OF_FOLDER = {"neg": "Negative", "pos": "Positive"}
_AUDITED_REVIEW = re.compile(r"test/(neg|pos)/\d+_\d+")
_VOTERS = 5
_VALIDATION_SHARE = 0.2
"""Of SST-2's whole sentences: some 1,400, of which enough are decided to certify a 2 % error."""


class Audit(Enum):
    """What the majority of five people said of a label that looked wrong."""

    UPHELD = "upheld"
    """The given label is right."""
    FLIPPED = "flipped"
    """The other label is right."""
    UNCLEAR = "unclear"
    """No majority for either: the review is neutral, off topic, or the five disagree."""


@dataclass(frozen=True, slots=True)
class PairedReviews:
    """Reviews and what people made of them to turn their sentiment with few changes."""

    name: str
    """For reports: "contrast sets", "counterfactually augmented reviews"."""
    originals: list[Review]
    """IMDb's own; they lie in its train part."""
    edits: list[Review]
    """edits[n] is originals[n] with its sentiment turned, and of the same group."""


@dataclass(frozen=True, slots=True)
class EvaluationSets:
    """What the folder holds; empty or None for what it lacks. Labels are those of `imdb`."""

    pairs: list[PairedReviews] = field(default_factory=list)
    single_sentences: list[Review] | None = None
    """Single sentences from reviews by critics."""
    audit: dict[str, Audit] | None = None
    """By the name of the review, as `imdb.read_split` gives it ("test/neg/10003_3.txt")."""


def read_evaluation_sets(folder: Path) -> EvaluationSets:
    """Read what `folder` holds of the sets, each in the order of its file.

    Raises DatasetError naming the file, and the line or entry, of whatever is wrong with it; also
    where half of a pair of files is missing, and where there is none of the sets.
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
        single_sentences=_read_one_liners(single_sentences) if single_sentences.exists() else None,
        audit=_read_audit(audit) if audit.exists() else None,
    )
    if not (sets.pairs or sets.single_sentences or sets.audit):
        wrong = "holds none of the evaluation sets" if folder.exists() else "does not exist"
        raise DatasetError(
            f"{folder} {wrong}; `reelsense data fetch evaluation-sets` makes data/evaluation-sets"
        )
    return sets


@dataclass(frozen=True, slots=True)
class TrainingSets:
    """The train parts of the same sets, to learn from. Labels are those of `imdb`."""

    edited: PairedReviews
    sentences: list[Review]
    """Of SST-2: whole sentences, and phrases if asked for."""
    validation_sentences: list[Review] = field(default_factory=list)
    """Whole sentences of SST-2's train part that are held out: neither they nor a phrase of them
    is in `sentences`."""


def read_training_sets(folder: Path, *, phrases: bool = False) -> TrainingSets:
    """Read CAD's and SST-2's train parts, with a fifth of the sentences held out for validation.

    SST-2's train part lists every phrase of the parse trees of its sentences. A whole sentence is
    a phrase that is not part of a longer one. Which of them are held out depends on the file alone
    (the SHA-256 order of the sentences), so it is the same on every machine.

    The validation sentences calibrate a bundle for short texts and set its thresholds. That is
    honest only if the bundle's model was not trained on them: train it on `sentences`. Models
    trained on `PHRASES`, and texts labelled by a teacher that was, have seen them.

    Args:
        folder: As `reelsense data fetch evaluation-sets` makes it.
        phrases: Whether `sentences` holds all phrases too that occur in no validation sentence.

    Returns:
        Edited reviews, sentences to train on and sentences to validate with.

    Raises:
        DatasetError: As `read_evaluation_sets`.

    """
    cad = folder / "cad"
    rows = _read_one_liners(folder / "sst2" / "train.tsv")
    split = _split_sentences(rows)
    validation = _SentenceIndex(split.validation)
    return TrainingSets(
        edited=_read_pairs(AUGMENTED, cad / "orig_train.tsv", cad / "new_train.tsv"),
        sentences=[row for row in rows if not validation.contains(row)] if phrases else split.train,
        validation_sentences=split.validation,
    )


def read_validation_sentences(folder: Path) -> list[Review]:
    """Read `TrainingSets.validation_sentences` alone. Raises DatasetError as the other readers."""
    return _split_sentences(_read_one_liners(folder / "sst2" / "train.tsv")).validation


def _split_sentences(rows: Sequence[Review]) -> Split:
    return split_validation(_whole_sentences(rows), _VALIDATION_SHARE)


class _SentenceIndex:
    """Finds out whether a text is a part of one of some sentences, word by word."""

    def __init__(self, sentences: Iterable[Review] = ()) -> None:
        self._by_word: dict[str, list[str]] = defaultdict(list)
        for sentence in sentences:
            self.add(sentence)

    def add(self, sentence: Review) -> None:
        words = sentence.text.split()
        for word in set(words):
            self._by_word[word].append(f" {' '.join(words)} ")

    def contains(self, phrase: Review) -> bool:
        """Return whether the words of `phrase` stand in a row in one of the sentences."""
        words = phrase.text.split()
        rarest = min((self._by_word.get(word, []) for word in words), key=len)
        return any(f" {' '.join(words)} " in sentence for sentence in rarest)


def _whole_sentences(rows: Sequence[Review]) -> list[Review]:
    """Return those of `rows` that are not part of another; of equal ones, the first."""
    known = _SentenceIndex()
    whole = []
    longest_first = sorted(range(len(rows)), key=lambda n: -len(rows[n].text.split()))
    for n in longest_first:
        if not known.contains(rows[n]):
            known.add(rows[n])
            whole.append(n)
    return [rows[n] for n in sorted(whole)]


def _read_pairs(name: str, originals_file: Path, edits_file: Path) -> PairedReviews:
    """Read two files and find each original's edit: the counterfactual files are shuffled.

    An edit keeps most words of its original: the review of the other sentiment that shares most.
    """
    originals, edits = _read_reviews(originals_file), _read_reviews(edits_file)
    if len(originals) != len(edits):
        raise DatasetError(
            f"{originals_file} and {edits_file.name} do not pair: {len(originals)} reviews and "
            f"{len(edits)}"
        )
    words = [_words(edit) for edit in edits]
    found: dict[int, Review] = {}
    for original in originals:
        mine = _words(original)
        likenesses = (
            (_likeness(mine, theirs), number)
            for number, theirs in enumerate(words)
            if edits[number].label != original.label
        )
        alike, number = max(likenesses, default=(0.0, 0))
        if alike == 0 or number in found:
            raise DatasetError(
                f"{originals_file.with_name(original.name)}: no review in {edits_file.name} is "
                "this one with its sentiment turned"
            )
        found[number] = replace(edits[number], group=original.group)
    return PairedReviews(name, originals, list(found.values()))


def _read_reviews(path: Path) -> list[Review]:
    reviews = []
    for review in read_table(path, text_column="Text", label_column="Sentiment"):
        label = _LABELS.get(review.label or "")
        if label is None:
            raise DatasetError(
                f"{path.with_name(review.name)}: 'Sentiment' is {review.label or ''!r}, not "
                f"{' or '.join(_LABELS)}"
            )
        reviews.append(replace(review, label=label))
    if not reviews:
        raise DatasetError(f"{path} holds no reviews")
    return reviews


def _words(review: Review) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", review.text.lower()))


def _likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """The share of the words of both that each has (Jaccard): 0 to 1."""
    return len(one & other) / max(1, len(one | other))


def _read_one_liners(path: Path) -> list[Review]:
    """Read a file in the form GLUE gives SST-2: two columns by a tab, and no quoting.

    `tables` would take a quotation mark at the start of a sentence for quoting.
    """
    header, *lines = _read_text(path).removesuffix("\n").split("\n")
    if header.rstrip("\r") != "sentence\tlabel":
        raise DatasetError(f"{path}, line 1: the columns are not 'sentence' and 'label'")
    reviews = []
    for number, line in enumerate(lines, start=2):
        text, _, digit = line.rstrip("\r").partition("\t")
        if digit not in _LABEL_OF_DIGIT:
            raise DatasetError(f"{path}, line {number}: 'label' is {digit!r}, not 0 or 1")
        if not text.strip():
            raise DatasetError(f"{path}, line {number}: 'sentence' is blank")
        label = _LABEL_OF_DIGIT[digit]
        reviews.append(Review(f"{path.name}:{number}", text, label, rating=None, group=text))
    if not reviews:
        raise DatasetError(f"{path} holds no sentences")
    return reviews


def _read_audit(path: Path) -> dict[str, Audit]:
    try:
        entries = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not JSON: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise DatasetError(f"{path} is not a list of audited labels")
    audit: dict[str, Audit] = {}
    for number, entry in enumerate(entries, start=1):
        name, verdict = _parse_entry(entry, where=f"{path}, entry {number}")
        if name in audit:
            raise DatasetError(f"{path}, entry {number}: {name} was audited before")
        audit[name] = verdict
    return audit


def _parse_entry(entry: object, where: str) -> tuple[str, Audit]:
    """Return the name of the review and the verdict on its label."""
    match entry:
        case {
            "id": str(review),
            "given_original_label": str(given),
            "our_guessed_label": str(guessed),
            "mturk": {
                "given": int(for_given),
                "guessed": int(for_guessed),
                "neutral": int(neutral),
                "off-topic": int(off_topic),
            },
        }:
            pass
        case _:
            raise DatasetError(f"{where}: not a review, two labels and four counts of votes")
    known = _AUDITED_REVIEW.fullmatch(review)
    if known is None:
        raise DatasetError(f"{where}: {review!r} is no review of the test part")
    if given != _LABEL_OF_FOLDER[known[1]] or guessed not in _LABELS or guessed == given:
        raise DatasetError(f"{where}: {given!r} and {guessed!r} are not its label and the other")
    votes = [for_given, for_guessed, neutral, off_topic]
    if sum(votes) != _VOTERS or min(votes) < 0:
        raise DatasetError(f"{where}: the votes {votes} are not {_VOTERS} together")
    if for_given > _VOTERS / 2:
        verdict = Audit.UPHELD
    elif for_guessed > _VOTERS / 2:
        verdict = Audit.FLIPPED
    else:
        verdict = Audit.UNCLEAR
    return f"{review}.txt", verdict


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DatasetError(f"{path}, line {line}: not UTF-8 text") from error
