"""Sentiment of movie reviews with BERT."""

from reelsense.inference.classifier import Classifier
from reelsense.prediction import Explanation, Prediction

__all__ = ["Classifier", "Explanation", "Prediction", "__version__"]

__version__ = "0.1.0"
