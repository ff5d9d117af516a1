"""The policy that selects the predictions to store."""

from __future__ import annotations

import random
from dataclasses import dataclass

from reelsense.errors import InputError
from reelsense.prediction import UNSURE, Prediction

FORMAT = "all, unsure, sample:RATE (such as sample:0.01) or none"


@dataclass(frozen=True, slots=True)
class KeepPolicy:
    """The predictions to store: a random share of all of them, or those with the verdict unsure."""

    share: float | None  # None: the unsure ones

    @classmethod
    def parse(cls, text: str) -> KeepPolicy:
        """Return the policy that `text` describes. Raises InputError."""
        name, _, rate = text.partition(":")
        if name == "sample":
            try:
                share = float(rate)
            except ValueError:
                share = 0.0
            if 0 < share <= 1:
                return cls(share)
        elif text in _POLICIES:
            return cls(_POLICIES[text])
        raise InputError(f'invalid policy "{text}": expected {FORMAT}', code="invalid-policy")

    @property
    def keeps_nothing(self) -> bool:
        """Whether no prediction is stored."""
        return self.share == 0

    def keeps(self, prediction: Prediction) -> bool:
        """Return whether to store `prediction`. Random, unless all or no predictions are stored."""
        if self.share is None:
            return prediction.verdict == UNSURE
        return random.random() < self.share


_POLICIES = {"all": 1.0, "unsure": None, "none": 0.0}
