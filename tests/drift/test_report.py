from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from reelsense.drift.profile import Rows
from reelsense.drift.report import ALERTS, MEASURES, MIN_TEXTS, DriftReport, compare
from tests.drift.synthetic import MANIFEST, make_rows

REFERENCE = make_rows(1000, seed=99)


def of(current: Rows) -> DriftReport:
    return compare(MANIFEST, REFERENCE, current)


def alerts(report: DriftReport) -> dict[str, str]:
    return {measure.name: measure.alert for measure in report.measures}


@pytest.mark.parametrize("size", [MIN_TEXTS, 100, 500])
def test_texts_like_the_reference_seldom_cause_an_alert(size: int) -> None:
    found = [of(make_rows(size, seed)).alert for seed in range(100)]
    assert found.count("none") >= 98


@pytest.mark.parametrize("size", [10, MIN_TEXTS, 100])
def test_few_validation_texts_cause_no_alert(size: int) -> None:
    pairs = [(make_rows(size, 2 * seed), make_rows(100, 2 * seed + 1)) for seed in range(50)]
    found = [compare(MANIFEST, reference, current).alert for reference, current in pairs]
    assert found.count("none") >= 49


@pytest.mark.parametrize(
    ("change", "measure"),
    [
        ({"length": 60}, "length"),
        ({"positive": 0.2}, "labels"),
        ({"language": b"de"}, "language"),
        ({"shift": 0.5}, "embedding_centroid"),
        ({"spread": 2.0}, "embedding_spread"),
    ],
)
def test_a_changed_property_causes_an_alarm(change: dict[str, Any], measure: str) -> None:
    report = of(make_rows(500, **change))
    assert report.alert == "alarm"
    assert alerts(report)[measure] == "alarm"
    assert measure.replace("_", " ") in report.reason
    others = set(alerts(report)) - {measure, "classifier", "embedding_spread"}
    assert {alerts(report)[name] for name in others} == {"none"}


@pytest.mark.parametrize(
    ("column", "value", "measure"),
    [
        ("unknown", 0.5, "unknown_tokens"),
        ("confidence", 0.6, "confidence"),
        ("unsure", True, "unsure"),
    ],
)
def test_a_changed_prediction_causes_an_alarm(column: str, value: float, measure: str) -> None:
    current = make_rows(200)
    current[column] = value
    assert alerts(of(current))[measure] == "alarm"


def test_small_difference_causes_no_alert_however_certain() -> None:
    current = make_rows(100_000, positive=0.58)
    labels = next(measure for measure in of(current).measures if measure.name == "labels")
    assert labels.p_value < 0.0001
    assert (labels.alert, of(current).alert) == ("none", "none")


def test_medium_difference_causes_a_warning() -> None:
    report = of(make_rows(500, positive=0.3))
    assert report.alert == "warning"
    assert "labels: 30% positive instead of 50%" in report.reason


def test_report_has_every_measure() -> None:
    report = of(make_rows(100))
    assert tuple(measure.name for measure in report.measures) == MEASURES
    assert report.reason == "No measure differs enough"
    assert report.auc == next(m.current for m in report.measures if m.name == "classifier")
    assert (report.texts, report.reference_texts, report.since) == (100, 1000, None)
    assert {measure.alert for measure in report.measures} <= set(ALERTS)


def test_report_shows_shares_and_means() -> None:
    measures = {m.name: m for m in of(make_rows(100, positive=1)).measures}
    assert measures["labels"].current == {"positive": 1.0, "negative": 0.0}
    assert asdict(measures["labels"])["reference"]["negative"] == pytest.approx(0.5, abs=0.05)
    assert measures["length"].reference == pytest.approx(200, rel=0.05)
    assert str(measures["language"]) == "language: 100% en instead of 100%"
    assert measures["length"].cells()[0] == "length"


def test_report_names_the_oldest_text() -> None:
    current = make_rows(40)
    current["time"] = 1000 + np.arange(40)
    assert of(current).since == 1000


def test_embeddings_are_compared_only_if_all_texts_have_them() -> None:
    current = make_rows(100)
    current["embedding"][3] = np.nan
    names = [measure.name for measure in of(current).measures]
    assert names == [name for name in MEASURES if not name.startswith("embedding")]
    assert of(current).alert == "none"


@pytest.mark.parametrize("count", [0, 1, MIN_TEXTS - 1])
def test_few_texts_cause_no_alert(count: int) -> None:
    report = of(make_rows(count, length=3))
    assert (report.alert, report.texts, report.measures) == ("none", count, ())
    assert report.reason == f"Too few texts: {count} of at least {MIN_TEXTS}"
    assert report.estimated_accuracy is None


def test_model_without_a_profile_has_no_alert() -> None:
    report = compare(MANIFEST, None, make_rows(100))
    assert (report.alert, report.reference_texts) == ("none", 0)
    assert "--profile-only" in report.reason


def test_model_with_many_labels_is_compared() -> None:
    manifest = replace(MANIFEST, labels=tuple(f"label {n}" for n in range(1000)))
    reference, current = make_rows(1000, 1), make_rows(300, 2)
    for rows in (reference, current):
        rows["label"] = np.random.default_rng(len(rows)).integers(0, 1000, len(rows))
    assert compare(manifest, reference, current).alert == "none"
    current["label"] = 7
    assert compare(manifest, reference, current).alert == "alarm"


def test_estimated_accuracy_has_the_level_of_the_drift() -> None:
    usual, changed = of(make_rows(100)), of(make_rows(100, length=5))
    assert usual.estimated_accuracy is not None
    assert changed.estimated_accuracy is not None
    assert (usual.estimated_accuracy.drift, changed.estimated_accuracy.drift) == ("none", "alarm")
    assert "unreliable" in str(changed.estimated_accuracy)
    assert "unreliable" not in str(usual.estimated_accuracy)
