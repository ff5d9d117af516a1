"""Every public method accepts any iterable of strings, in the order of iteration."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.errors import InputError, TextError
from tests import tiny

CLASSIFIER = tiny.classifier()
TEXTS = ["a good film", "a bad film", "good", "awful film", "the film"]

Wrap = Callable[[list[str]], Iterable[str]]


def shuffled(texts: list[str]) -> Any:
    """Return a Series whose index is in another order than its rows."""
    index = np.random.default_rng(len(texts)).permutation(len(texts))
    return pd.Series(texts, index=index, dtype=object)


CONTAINERS: dict[str, Wrap] = {
    "tuple": tuple,
    "generator": lambda texts: (text for text in texts),
    "dict values": lambda texts: dict(enumerate(texts)).values(),
    "NumPy strings": lambda texts: np.array(texts, dtype=str),
    "NumPy objects": lambda texts: np.array(texts, dtype=object),
    "shuffled Series": shuffled,
    "filtered Series": lambda texts: pd.Series(["x", *texts, "y"], dtype=object)[1:-1],
    "Series of strings": lambda texts: pd.Series(texts, dtype="string"),
    "categories": lambda texts: pd.Series(texts, dtype="category"),
    "Index": lambda texts: pd.Index(texts, dtype=object),
    "polars": lambda texts: pl.Series(texts, dtype=pl.String),
    "Arrow array": lambda texts: pa.array(texts, pa.string()),
    "Arrow chunks": lambda texts: pa.chunked_array([texts[:1], texts[1:]], pa.string()),
}


@pytest.mark.parametrize("wrap", CONTAINERS.values(), ids=CONTAINERS)
@given(st.lists(st.sampled_from(TEXTS), max_size=6))
def test_containers_equal_a_list(wrap: Wrap, texts: list[str]) -> None:
    assert CLASSIFIER.predict(wrap(texts)) == CLASSIFIER.predict(texts)
    assert CLASSIFIER.predict_each(wrap(texts)) == CLASSIFIER.predict_each(texts)
    assert CLASSIFIER.predict_proba(wrap(texts)).tolist() == (
        CLASSIFIER.predict_proba(texts).tolist()
    )


@pytest.mark.parametrize(
    "texts",
    [
        "good",
        b"good",
        {"a": "good"},
        pd.DataFrame({"review": ["good"]}),
        pl.DataFrame({"review": ["good"]}),
        pa.table({"review": ["good"]}),
        7,
        None,
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("method", ["predict", "predict_each", "predict_proba", "score"])
def test_other_types_raise_input_error(method: str, texts: Any) -> None:
    with pytest.raises(InputError) as error:
        getattr(CLASSIFIER, method)(texts)
    assert error.value.code == "not-a-list"


@pytest.mark.parametrize(
    "texts",
    [
        ["good", None],
        ["good", float("nan")],
        np.array(["good", np.nan], dtype=object),
        pd.Series(["good", None]),
        pd.Series(["good", pd.NA], dtype="string"),
        pl.Series(["good", None]),
        pa.array(["good", None]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_missing_texts_raise_text_error(texts: Any) -> None:
    with pytest.raises(TextError) as error:
        CLASSIFIER.predict(texts)
    assert (error.value.position, error.value.code) == (1, "missing")
    good, missing = CLASSIFIER.predict_each(texts)
    assert good == CLASSIFIER.predict(["good"])[0]
    assert isinstance(missing, TextError)


def test_elements_of_other_types_are_errors_of_their_texts() -> None:
    rows: Any = np.array([["good"], ["bad"]])
    codes = [getattr(error, "code", None) for error in CLASSIFIER.predict_each(rows)]
    assert codes == ["not-a-string", "not-a-string"]
