import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.drift.profile import ROW, make_rows, parse, prediction_rows, serialize
from reelsense.errors import BundleError
from reelsense.prediction import EMBEDDING_SIZE, TextFeatures
from tests import tiny
from tests.drift import synthetic
from tests.drift.synthetic import MANIFEST

LABELS = MANIFEST.labels
LONG = "A joy from the first scene to the last, with a great cast."


def test_parse_restores_the_rows() -> None:
    rows = synthetic.make_rows(1000)
    content = serialize(rows)
    parsed = parse(content, LABELS)
    for name in ROW.names or ():
        if name != "embedding":
            assert (parsed[name] == rows[name]).all(), name
    assert np.abs(parsed["embedding"] - rows["embedding"]).max() < 0.05
    assert len(content) < 100_000
    columns = json.loads(content)
    assert columns["embedding"]["centroid"] == pytest.approx([0] * EMBEDDING_SIZE, abs=0.2)
    assert columns["embedding"]["spread"] == pytest.approx([1] * EMBEDDING_SIZE, abs=0.2)


def test_profile_without_embeddings_has_none() -> None:
    rows = synthetic.make_rows(10)
    rows["embedding"] = np.nan
    assert "embedding" not in json.loads(serialize(rows))
    assert np.isnan(parse(serialize(rows), LABELS)["embedding"]).all()


def changed(**values: Any) -> str:
    content = json.loads(serialize(synthetic.make_rows(3)))
    columns = {key: values.pop(key) for key in list(values) if key in content["columns"]}
    return json.dumps(content | values | {"columns": content["columns"] | columns})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "null",
        changed(format=2),
        changed(tokens=3),
        changed(tokens=[]),
        changed(language=[["en"], ["en"], ["en"]]),
        changed(tokens=[1, 2, 0]),
        changed(tokens=[1, 2, 2**40]),
        changed(confidence=[0.5, 0.5, 1.5]),
        changed(confidence=[0.5, 0.5, None]),
        changed(label=[0, 1, 2]),
        changed(label=[0, -1, 1]),
        '{"format": 1, "columns": {}}',
        changed(embedding={"centroid": [0], "spread": [1], "rows": [[0]]}),
        changed(embedding=[]),
        changed(embedding={"centroid": [0] * 16, "spread": [1] * 16, "rows": [["a"] * 16] * 3}),
    ],
)
def test_parse_rejects_invalid_profiles(content: str) -> None:
    with pytest.raises(BundleError) as raised:
        parse(content, LABELS)
    assert raised.value.code == "invalid-profile"


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5))
def test_parse_of_any_value_raises_nothing_else(value: object) -> None:
    for content in (json.dumps(value), changed(embedding=value), changed(tokens=value)):
        with suppress(BundleError):
            assert len(parse(content, LABELS)) == 3


def test_rows_have_the_properties_of_the_texts() -> None:
    vector = np.arange(EMBEDDING_SIZE, dtype=np.float32)
    first, second = make_rows(
        replace(MANIFEST, length_groups=(tiny.SENTENCES,)),
        [LONG, "nicht"],
        labels=[1, 0],
        confidence=[0.912345678, 0.95],
        tokens=[14, 1],
        features=[TextFeatures(0.5, vector), None],
    )
    assert (first["label"], first["tokens"], first["unknown"]) == (1, 14, 0.5)
    assert first["confidence"] == np.float32(0.9123)
    assert (first["embedding"] == vector).all()
    assert np.isnan(second["embedding"]).all()
    assert (first["language"], second["language"]) == (b"en", b"und")
    # The threshold is 0.9 for long texts; sentences cannot meet the default target error rate.
    assert (first["unsure"], second["unsure"]) == (False, True)


def test_rows_do_not_depend_on_the_requested_risk() -> None:
    classifier = tiny.cautious_classifier()
    texts = ["good film", "a bad bad film"]
    rows = [
        prediction_rows(classifier.manifest, texts, classifier.predict(texts, risk=risk))
        for risk in (None, 0.1)
    ]
    assert rows[0]["unsure"].tolist() == rows[1]["unsure"].tolist() == [True, False]
    assert rows[0]["label"].tolist() == [1, 0]
    assert rows[0]["tokens"].tolist() == [2, 4]
