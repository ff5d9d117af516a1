"""Whether answers hold when a review is written a little differently, and turn when they should.

`flips` changes texts in ways that leave their opinion as it was, as the invariance tests of
Ribeiro et al. (2020, "Beyond Accuracy: Behavioral Testing of NLP Models with CheckList") do, and
counts the answers that change. `pairs` takes reviews beside edited ones whose opinion is the
opposite (Kaushik et al. 2020, "Learning the Difference that Makes a Difference with
Counterfactually-Augmented Data"; Gardner et al. 2020, "Evaluating Models' Local Decision
Boundaries via Contrast Sets") and counts the pairs with both halves right.

Knows texts and a `Scorer`; knows no files and no models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from reelsense.datasets.reviews import Review
from reelsense.errors import InputError
from reelsense.evaluation.metrics import Share, share
from reelsense.evaluation.perturbations import PERTURBATIONS
from reelsense.evaluation.predictions import predict_labelled
from reelsense.evaluation.scorer import Scorer, score


@dataclass(frozen=True, slots=True)
class LabelChanges:
    """How many of the texts that a perturbation changed got another label."""

    name: str
    what: str
    """One sentence that says what was done to the texts."""
    flips: Share
    target: float | None = None
    """The most that `flips` should be."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """How many reviews were answered rightly before and after an edit that turned the opinion."""

    name: str
    originals: Share
    edits: Share
    both: Share
    """Pairs with both halves right."""


def flips(scorer: Scorer, texts: Sequence[str], seed: int = 0) -> list[LabelChanges]:
    """Count the answers to `texts` that change under each of `PERTURBATIONS`.

    What happens to a text depends on `seed` and its place in `texts`, not on the other texts.
    """
    given = score(scorer, texts, "as given").argmax(axis=1)
    found = []
    for each in PERTURBATIONS:
        changed = {}
        for n, text in enumerate(texts):
            new = each.change(text, Random(f"{seed}-{each.name}-{n}"))
            if new != text:
                changed[n] = new
        answers = score(scorer, list(changed.values()), each.name).argmax(axis=1)
        flipped = int((answers != given[list(changed)]).sum())
        found.append(LabelChanges(each.name, each.what, share(flipped, len(changed)), each.target))
    return found


def pairs(scorer: Scorer, name: str, originals: Sequence[Review], edits: Sequence[Review]) -> Pairs:
    """Count right answers on `originals` and `edits`; those at the same place make a pair.

    Raises InputError if there are more of one than of the other, or if a review's label is none
    of the scorer's.
    """
    if len(originals) != len(edits):
        raise InputError(f"{name}: {len(originals)} originals, but {len(edits)} edits")
    first, second = predict_labelled(scorer, [*originals, *edits], name).correct.reshape(2, -1)
    count = len(originals)
    return Pairs(
        name=name,
        originals=share(int(first.sum()), count),
        edits=share(int(second.sum()), count),
        both=share(int((first & second).sum()), count),
    )
