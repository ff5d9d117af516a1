"""The audit of IMDb's test labels: five people voted on labels that looked wrong.

Northcutt et al. (2021), "Pervasive Label Errors in Test Sets Destabilize Machine Learning
Benchmarks".
"""

from __future__ import annotations

import json
import re
from enum import Enum
from pathlib import Path

from reelsense.errors import DatasetError

_LABEL_OF_FOLDER = {"neg": "Negative", "pos": "Positive"}
_AUDITED_REVIEW = re.compile(r"test/(neg|pos)/\d+_\d+")
_VOTERS = 5


class Audit(Enum):
    """The majority vote of five people on a label that looked wrong."""

    UPHELD = "upheld"
    """The given label is right."""
    FLIPPED = "flipped"
    """The other label is right."""
    UNCLEAR = "unclear"
    """No majority for either: neutral, off topic, or disagreement."""


def read_audit(path: Path) -> dict[str, Audit]:
    """Read the audit by the name of the review ("test/neg/10003_3.txt").

    Raises:
        DatasetError: The file is missing, or an entry is malformed.
    """
    try:
        entries = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not JSON: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise DatasetError(f"{path}: expected a JSON list of audited labels")
    audit: dict[str, Audit] = {}
    for number, entry in enumerate(entries, start=1):
        name, verdict = _parse_entry(entry, where=f"{path}, entry {number}")
        if name in audit:
            raise DatasetError(f"{path}, entry {number}: {name} has an earlier entry")
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
            raise DatasetError(f"{where}: expected a review, two labels and four counts of votes")
    match_ = _AUDITED_REVIEW.fullmatch(review)
    if match_ is None:
        raise DatasetError(f"{where}: {review!r} is not a review of the test part")
    if (
        given != _LABEL_OF_FOLDER[match_[1]]
        or guessed not in _LABEL_OF_FOLDER.values()
        or guessed == given
    ):
        raise DatasetError(
            f"{where}: the labels are {given!r} and {guessed!r}: expected both labels"
        )
    votes = [for_given, for_guessed, neutral, off_topic]
    if sum(votes) != _VOTERS or min(votes) < 0:
        raise DatasetError(f"{where}: the votes are {votes}: expected a sum of {_VOTERS}")
    if for_given > _VOTERS / 2:
        verdict = Audit.UPHELD
    elif for_guessed > _VOTERS / 2:
        verdict = Audit.FLIPPED
    else:
        verdict = Audit.UNCLEAR
    return f"{review}.txt", verdict


def read_text(path: Path) -> str:
    """Return the content of a UTF-8 file. Raises DatasetError with the line that is not."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}", code="unreadable") from error
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DatasetError(f"{path}, line {line}: not UTF-8 text", code="unreadable") from error
