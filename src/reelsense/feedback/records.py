"""Predictions and feedback as they are stored. Does not know the database."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from base64 import urlsafe_b64encode
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from reelsense.prediction import Prediction
from reelsense.text.clean import printable

ID_PATTERN = r"[A-Za-z0-9_-]{22}"


def new_id() -> str:
    """Return an id that cannot be guessed."""
    return secrets.token_urlsafe(16)


def id_from(content: str) -> str:
    """Return the id that belongs to `content`, always the same."""
    return urlsafe_b64encode(hashlib.sha256(content.encode()).digest())[:22].decode()


def storable(text: str) -> str:
    """Return `text` without the characters that databases reject; models ignore them."""
    return printable(text).replace("\0", "\ufffd")


def text_hash(text: str) -> str:
    """Return the SHA-256 of `text` in hex digits, the same for texts that differ in case or space.

    Stored hashes are compared with it: a change would make `forget` miss older texts.
    """
    return hashlib.sha256(" ".join(storable(text).casefold().split()).encode()).hexdigest()


def seconds_from(moment: str) -> float:
    """Return an ISO 8601 time in seconds since 1970; without an offset, it is in UTC.

    Raises ValueError.
    """
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError as error:
        raise ValueError(
            f'invalid time "{moment[:100]}": expected 2026-11-30 or 2026-11-30T12:00+01:00 '
            "(without an offset: UTC)"
        ) from error
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


@dataclass(frozen=True, slots=True)
class KeptPrediction:
    """A prediction to store."""

    text: str
    prediction: Prediction
    model: str
    version: str
    share: float | None
    """Share of all predictions that are stored: 1 / share predictions are represented by this one.
    None: it was selected because it is unsure."""
    id: str = field(default_factory=new_id)
    created: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class NewFeedback:
    """Feedback to store: the correct label, the correct stars or both, for a prediction or text."""

    prediction_id: str | None = None
    text: str | None = None
    label: str | None = None
    stars: float | None = None
    comment: str | None = None
    source: str = "api"
    key: str | None = None  # name of the API key that sent it
    idempotency_key: str | None = None

    @property
    def digest(self) -> str:
        """The SHA-256 of all fields, in hex digits."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()

    @property
    def idempotency_hash(self) -> str | None:
        """The SHA-256 of the idempotency key, different for each API key. None: no key."""
        if self.idempotency_key is None:
            return None
        return hashlib.sha256(json.dumps([self.key, self.idempotency_key]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Predicted:
    """The stored prediction that feedback refers to."""

    model: str
    version: str
    label: str
    score: float
    verdict: str
    stars: float | None


@dataclass(frozen=True, slots=True)
class Feedback:
    """Stored feedback. Times are seconds since 1970."""

    id: str
    created: float
    prediction_id: str | None
    text_hash: str
    text: str | None  # None: texts are not kept
    label: str | None
    stars: float | None
    comment: str | None
    source: str
    key: str | None
    predicted: Predicted | None  # None: it does not refer to a stored prediction
