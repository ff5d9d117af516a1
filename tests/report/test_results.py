from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("sklearn")

from reelsense.errors import BundleError
from reelsense.report.record import FORMAT, EvaluationRecord
from reelsense.report.results import Share
from tests.evaluation import records


@pytest.fixture(scope="module")
def record() -> EvaluationRecord:
    return records.make()


def test_record_is_read_as_written(record: EvaluationRecord) -> None:
    assert EvaluationRecord.from_json(record.to_json()) == record
    assert EvaluationRecord.from_json(records.make(quick=True).to_json()).evaluation.pairs == []


def test_record_without_texts_contains_no_review(record: EvaluationRecord) -> None:
    assert any(changes.source == "reviews" for changes in record.evaluation.identity)
    assert "zebra" in record.to_json().lower()
    published = record.without_texts()
    assert "zebra" not in published.to_json().lower()
    assert published.evaluation.metrics == record.evaluation.metrics
    names = [row.name for row in published.evaluation.label_errors.likeliest]
    assert names == [row.name for row in record.evaluation.label_errors.likeliest] != []


def test_record_reader_ignores_unknown_keys(record: EvaluationRecord) -> None:
    content = json.loads(record.to_json()) | {"added": "later"}
    assert EvaluationRecord.from_json(json.dumps(content)) == record


@pytest.mark.parametrize("change", [{"format": FORMAT + 1}, {"evaluation": {}}, {"model": None}])
def test_record_reader_rejects_other_content(
    record: EvaluationRecord, change: dict[str, object]
) -> None:
    content = json.loads(replace(record, plots=()).to_json()) | change
    with pytest.raises(BundleError) as raised:
        EvaluationRecord.from_json(json.dumps(content))
    assert raised.value.code == "invalid-evaluation"


@pytest.mark.parametrize("text", ["", "[]", "{", "<html>"])
def test_record_reader_rejects_malformed_json(text: str) -> None:
    with pytest.raises(BundleError) as raised:
        EvaluationRecord.from_json(text)
    assert raised.value.code == "invalid-evaluation"


@given(st.integers(0, 400), st.integers(1, 400))
def test_share_interval_is_that_of_wilson(one: int, other: int) -> None:
    from scipy.stats import binomtest

    count, total = min(one, other), max(one, other)
    expected = binomtest(count, total).proportion_ci(0.95, method="wilson")
    share = Share.of(count, total)
    assert (share.low, share.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= share.low <= share.value <= share.high <= 1
