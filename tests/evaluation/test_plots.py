from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from matplotlib.figure import Figure

from reelsense.evaluation import plots
from reelsense.evaluation.metrics import share
from reelsense.evaluation.selective import selective_results
from reelsense.report.results import IdentityChanges, LabelChanges, Slice, TermShift
from tests import tiny
from tests.evaluation.test_predictions import predictions

JUDGED = predictions(
    *[("positive", 0.95), ("negative", 0.1)] * 6, ("negative", 0.92), ("positive", 0.4)
)
GROUPS = tiny.cautious_classifier().manifest.groups
SVG = "{http://www.w3.org/2000/svg}"


def words(figure: Figure) -> list[str]:
    """What can be read in it; fails where it is no SVG."""
    root = ET.fromstring(plots.as_svg(figure))  # noqa: S314
    assert root.tag == f"{SVG}svg"
    return ["".join(text.itertext()).strip() for text in root.iter(f"{SVG}text")]


def test_the_coverage_marks_the_thresholds_that_there_are() -> None:
    drawn = words(plots.coverage(JUDGED, selective_results(JUDGED, GROUPS)))
    assert "target 2%" in drawn
    assert "target 1%" not in drawn
    assert not any(word.startswith("target") for word in words(plots.coverage(JUDGED, [])))


@pytest.mark.parametrize("probability", [0.5, 0.51, 1.0])
def test_one_answer_is_enough(probability: float) -> None:
    one = predictions(("positive", probability))
    assert "accuracy" in words(plots.reliability(one))
    assert "coverage" in words(plots.coverage(one, selective_results(one, GROUPS)))


def test_names_stand_at_the_axes() -> None:
    slices = [Slice("1 to 50", share(3, 4)), Slice("over 1,000", share(0, 0))]
    assert {"1 to 50", "over 1,000", "words"} <= {*words(plots.accuracy_by(slices, "words"))}
    found = [
        LabelChanges("typos <b>", "", share(1, 9)),
        LabelChanges("none changed", "", share(0, 0)),
    ]
    assert {"typos <b>", "none changed"} <= {*words(plots.label_changes(found))}
    shifts = [TermShift(f"term {n}", n / 100, 9) for n in range(20)]
    changes = IdentityChanges(
        "religion", "templates", "held-out", share(1, 9), share(1, 3), 0.2, shifts, ("a", "b")
    )
    drawn = [word for word in words(plots.identity_shifts(changes)) if word.startswith("term")]
    assert sorted(drawn) == sorted(f"term {n}" for n in (*range(8), *range(12, 20)))


def test_the_training() -> None:
    validation = [{"step": 20, "loss": 0.3, "accuracy": 0.925}]
    drawn = words(plots.training({"loss": [[10, 0.7], [20, 0.5]], "validation": validation}))
    assert {"step", "92.5%", "validation loss"} <= {*drawn}
