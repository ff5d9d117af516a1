"""Sentiment of movie reviews with BERT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reelsense.inference.classifier import Classifier
    from reelsense.prediction import Explanation, Prediction

__all__ = ["Classifier", "Explanation", "Prediction", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the public names on first use: commands that need no model start without numpy."""
    if name == "Classifier":
        from reelsense.inference.classifier import Classifier

        return Classifier
    if name in ("Explanation", "Prediction"):
        from reelsense import prediction

        return getattr(prediction, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
