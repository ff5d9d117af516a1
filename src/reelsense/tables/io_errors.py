"""The one mapping of errors of files and stores to domain errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reelsense.errors import DatasetError, ReelsenseError


@contextmanager
def io_errors(name: str, action: str, code: str) -> Iterator[None]:
    """Map any error to a DatasetError.

    Every fsspec store, gzip and pyarrow have exceptions of their own, so all are caught.

    Args:
        name: The file, as the user calls it.
        action: What failed, as in "cannot be {action}".
        code: Of the DatasetError.
    """
    try:
        yield
    except ReelsenseError:
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DatasetError(f"{name} cannot be {action}: {reason}", code=code) from error
