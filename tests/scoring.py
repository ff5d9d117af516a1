"""Score one file, as `reelsense predict --input` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reelsense.cli.predict_files import predict_files
from reelsense.inference.classifier import Classifier


def score_file(
    classifier: Classifier,
    source: Path | str,
    output: Path | str | None,
    column: str | None = None,
    **options: Any,
) -> bool:
    target = None if output is None else str(output)
    return predict_files(str(source), target, model=classifier, column=column, **options)
