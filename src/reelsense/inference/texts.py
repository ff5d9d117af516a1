"""Texts as callers pass them: any iterable of strings, some of which cannot be scored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from reelsense.errors import InputError, TextError

SLICE = 512  # texts scored at a time, so that memory does not grow with the length of a list


def text_list(texts: object) -> list[object]:
    """Return the elements of `texts` in the order of iteration.

    A Series is iterated, not indexed: its index may be shuffled or have gaps.

    Raises:
        InputError: `texts` is a single string, a table or a mapping.
    """
    advice = ""
    if isinstance(texts, str | bytes):
        advice = "not one string: pass a list, for example [text]"
    elif hasattr(texts, "columns"):  # a data frame of pandas or polars, or an Arrow table
        advice = 'not a table: pass one of its columns, for example frame["review"]'
    elif isinstance(texts, Mapping):
        advice = "not a mapping: pass its values"
    elif not isinstance(texts, Iterable):
        advice = f"not {type(texts).__name__}"
    if advice:
        raise InputError(f"invalid texts: expected a list of strings, {advice}", code="not-a-list")
    column: Any = texts
    if hasattr(column, "to_pylist"):  # the elements of Arrow arrays are scalars of Arrow
        return list(column.to_pylist())
    return list(column)


def text_error(text: object, position: int) -> TextError | None:
    """Return why a text cannot be scored, as far as that is known before tokenization."""
    if isinstance(text, str):
        return None if text.strip() else TextError(position, "is blank", code="blank")
    is_nan = isinstance(text, float | np.floating) and np.isnan(text)
    if text is None or is_nan or type(text).__name__ == "NAType":  # that of pandas
        return TextError(position, f"is missing ({text})", code="missing")
    return TextError(position, f"is not a string but {type(text).__name__}", code="not-a-string")


def checked_texts(texts: Iterable[object], first: int = 0) -> list[str]:
    """Return the texts, counted from `first`. Raises the TextError of the first invalid one."""
    checked = text_list(texts)
    for position, text in enumerate(checked, first):
        if error := text_error(text, position):
            raise error
    return [str(text) for text in checked]


def unreadable(position: int) -> TextError:
    """Return the error of a text without readable tokens."""
    return TextError(position, "contains no readable characters", code="unreadable")
