"""Every error has a stable code, also on the other side of a process border."""

import pickle

import pytest

from reelsense import errors
from reelsense.errors import InputError, OverloadedError, ReelsenseError, TextError

CLASSES = [
    member
    for member in vars(errors).values()
    if isinstance(member, type) and issubclass(member, ReelsenseError)
]


def test_error_classes_have_distinct_codes() -> None:
    codes = [error.code for error in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all("code" in vars(error) for error in CLASSES)


@pytest.mark.parametrize(
    "error",
    [
        ReelsenseError("no"),
        InputError("no", code="blank"),
        TextError(3, "is blank"),
        TextError(3, "is blank", code="blank"),
        OverloadedError("full", 7),
    ],
    ids=repr,
)
def test_pickled_error_keeps_its_values(error: ReelsenseError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # pickled one line above
    assert type(copy) is type(error)
    assert (str(copy), copy.code, vars(copy)) == (str(error), error.code, vars(error))
