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

PREDICTIONS = predictions(
    *[("positive", 0.95), ("negative", 0.1)] * 6, ("negative", 0.92), ("positive", 0.4)
)
GROUPS = tiny.cautious_classifier().manifest.groups
SVG = "{http://www.w3.org/2000/svg}"


def texts(figure: Figure) -> list[str]:
    """Return the texts in a plot. Fails if it is not an SVG."""
    root = ET.fromstring(plots.as_svg(figure))  # noqa: S314
    assert root.tag == f"{SVG}svg"
    return ["".join(text.itertext()).strip() for text in root.iter(f"{SVG}text")]


def test_coverage_marks_reachable_targets() -> None:
    shown = texts(plots.coverage(PREDICTIONS, selective_results(PREDICTIONS, GROUPS)))
    assert "target 2%" in shown
    assert "target 1%" not in shown
    assert not any(word.startswith("target") for word in texts(plots.coverage(PREDICTIONS, [])))


@pytest.mark.parametrize("probability", [0.5, 0.51, 1.0])
def test_plots_of_a_single_prediction(probability: float) -> None:
    one = predictions(("positive", probability))
    assert "accuracy" in texts(plots.reliability(one))
    assert "coverage" in texts(plots.coverage(one, selective_results(one, GROUPS)))


def test_plots_show_names_on_axes() -> None:
    slices = [Slice("1 to 50", share(3, 4)), Slice("over 1,000", share(0, 0))]
    assert {"1 to 50", "over 1,000", "words"} <= {*texts(plots.accuracy_by(slices, "words"))}
    label_changes = [
        LabelChanges("typos <b>", "", share(1, 9)),
        LabelChanges("none changed", "", share(0, 0)),
    ]
    assert {"typos <b>", "none changed"} <= {*texts(plots.label_changes(label_changes))}
    shifts = [TermShift(f"term {n}", n / 100, 9) for n in range(20)]
    changes = IdentityChanges(
        "religion", "templates", "held-out", share(1, 9), share(1, 3), 0.2, shifts, ("a", "b")
    )
    shown = [word for word in texts(plots.identity_shifts(changes)) if word.startswith("term")]
    assert sorted(shown) == sorted(f"term {n}" for n in (*range(8), *range(12, 20)))


def test_training_shows_loss_and_accuracy() -> None:
    validation = [{"step": 20, "loss": 0.3, "accuracy": 0.925}]
    shown = texts(plots.training({"loss": [[10, 0.7], [20, 0.5]], "validation": validation}))
    assert {"step", "92.5%", "validation loss"} <= {*shown}
