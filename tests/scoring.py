"""Score one file, as `reelsense predict --input` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reelsense.cli.files import Request, score_files
from reelsense.inference.classifier import Classifier


def score_file(
    classifier: Classifier,
    source: Path | str,
    output: Path | str | None,
    column: str | None = None,
    **options: Any,
) -> bool:
    output = None if output is None else str(output)
    request = Request(source=str(source), output=output, column=column, **options)
    return score_files(classifier, request)
