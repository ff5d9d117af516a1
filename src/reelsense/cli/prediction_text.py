"""A prediction in one line, for people."""

from __future__ import annotations

import math

from reelsense.prediction import UNSURE, Prediction


def said(answer: Prediction) -> str:
    """Return the verdict, how sure it is, and the stars of `answer`."""
    # Rounds towards doubt: nothing short of certainty is shown as 100 %.
    sureness = f"{math.floor(answer.score * 1000) / 10:.1f}%"
    verdict = f"{answer.label}  {sureness}"
    if answer.verdict == UNSURE:
        verdict = f"{UNSURE}  ({answer.label} {sureness})"
    return verdict if answer.stars is None else f"{verdict}  {answer.stars:.1f} of 10 stars"
