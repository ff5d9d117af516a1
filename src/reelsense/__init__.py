"""reelsense: sentiment classification of movie reviews with BERT.

The public names are imported on first use, so that `import reelsense` is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reelsense.bulk.frames import predict_frame
    from reelsense.bulk.progress import ScoringProgress, ScoringSummary
    from reelsense.bulk.score_files import score_files
    from reelsense.inference.classifier import Classifier
    from reelsense.prediction import Explanation, Prediction

__all__ = [
    "Classifier",
    "Explanation",
    "Prediction",
    "ScoringProgress",
    "ScoringSummary",
    "__version__",
    "predict_frame",
    "score_files",
]

__version__ = "0.1.0"

_MODULES = {
    "Classifier": "reelsense.inference.classifier",
    "Explanation": "reelsense.prediction",
    "Prediction": "reelsense.prediction",
    "ScoringProgress": "reelsense.bulk.progress",
    "ScoringSummary": "reelsense.bulk.progress",
    "predict_frame": "reelsense.bulk.frames",
    "score_files": "reelsense.bulk.score_files",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
