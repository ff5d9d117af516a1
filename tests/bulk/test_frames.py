from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from reelsense import predict_frame
from reelsense.errors import DatasetError, InputError
from tests import tiny

TEXTS = ["good", None, "awful film", " "]
LABELS = ["positive", None, "negative", None]
ERRORS = [None, "is missing (None)", None, "is blank"]


def values(column: Any) -> list[Any]:
    """Return a column as a list with None for missing values."""
    return [None if value is pd.NA or value != value else value for value in column]  # NaN


@pytest.mark.parametrize("index", [[7, 3, 3, 1], pd.MultiIndex.from_product([["a", "b"], [1, 2]])])
def test_predict_frame_keeps_the_index_of_pandas(index: Any) -> None:
    model = tiny.star_classifier()
    frame = pd.DataFrame({"id": range(4), "review": TEXTS}, index=index)
    for result in (predict_frame(frame, model=model), predict_frame(frame["review"], model=model)):
        assert result.index.equals(frame.index)
        assert list(result) == ["label", "score", "positive", "verdict", "stars", "error"]
        assert values(result["label"]) == values(result["verdict"]) == LABELS
        assert result["score"].dtype == result["stars"].dtype == np.float64
        assert values(result["score"])[::2] == pytest.approx([0.881, 0.881], abs=0.001)
        assert values(result["stars"])[1::2] == [None, None]
        assert [error and error[:9] for error in values(result["error"])] == [
            error and error[:9] for error in ERRORS
        ]


def test_predict_frame_returns_polars_for_polars() -> None:
    model = tiny.classifier()
    frame = pl.DataFrame({"id": [1, 2, 3, 4], "review": TEXTS})
    for result in (
        predict_frame(frame, column="review", model=model),
        predict_frame(frame["review"], model=model),
    ):
        assert result["label"].to_list() == LABELS
        assert result["error"].to_list() == ERRORS
        assert result.schema == {
            "label": pl.String,
            "score": pl.Float64,
            "positive": pl.Float64,
            "verdict": pl.String,
            "error": pl.String,
        }
    together = pl.concat([frame, result], how="horizontal")
    assert together.filter(pl.col("error").is_null())["id"].to_list() == [1, 3]


@pytest.mark.parametrize("library", [pd, pl])
def test_predict_frame_has_the_same_types_without_rows_and_without_predictions(
    library: Any,
) -> None:
    model = tiny.classifier()
    texts = library.Series(["good"])
    some = predict_frame(texts, model=model)
    for others in (texts[:0], library.Series([" "])):
        assert list(predict_frame(others, model=model).dtypes) == list(some.dtypes)


def test_predict_frame_applies_the_target_error_rate() -> None:
    model = tiny.cautious_classifier()
    verdicts = [
        predict_frame(pd.Series(["good"]), model=model, risk=risk)["verdict"][0]
        for risk in (0.02, 0.1)
    ]
    assert verdicts == ["unsure", "positive"]


def test_predict_frame_accepts_names_and_numbers_of_columns() -> None:
    frame = pd.DataFrame([["good", "bad"]], columns=["x", "x"])
    frame[5] = ["awful"]
    columns: list[Any] = ["1", 1, "2", 2, "5", 5]
    results = [
        predict_frame(frame, column=column, model=tiny.classifier())["label"][0]
        for column in columns
    ]
    assert results == ["positive"] * 2 + ["negative"] * 4
    levels = pd.MultiIndex.from_tuples([("a", "review"), ("b", "review")])
    frame = pd.DataFrame([["good", "bad"]], columns=levels)
    result = predict_frame(frame, column=("b", "review"), model=tiny.classifier())
    assert result["label"][0] == "negative"


def test_predict_frame_accepts_subclasses() -> None:
    class Places(pd.DataFrame):  # type: ignore[misc]
        """As that of GeoPandas."""

    result = predict_frame(Places({"review": ["good"]}), model=tiny.classifier())
    assert (type(result), result["label"][0]) == (pd.DataFrame, "positive")


@pytest.mark.parametrize(
    ("frame", "column", "code"),
    [
        (pd.DataFrame({"x": [1], "y": [2]}), "review", "no-such-column"),
        (pl.DataFrame({"x": [1], "y": [2]}), None, "no-such-column"),
        (pd.DataFrame({"x": [1], "y": [2]}), 3, "no-such-column"),
        (pd.DataFrame(), None, "no-such-column"),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), "x", "ambiguous-column"),
        (pd.Series(["good"]), "review", "conflicting-arguments"),
        (["good"], None, "not-a-frame"),
        (pl.LazyFrame({"text": ["good"]}), None, "not-a-frame"),
        (pd.Index(["good"]), None, "not-a-frame"),
    ],
)
def test_predict_frame_rejects_other_input(frame: Any, column: Any, code: str) -> None:
    with pytest.raises((InputError, DatasetError)) as caught:
        predict_frame(frame, column=column, model=tiny.classifier())
    assert caught.value.code == code
