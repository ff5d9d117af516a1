"""reelsense: the sentiment of movie reviews, from BERT."""

from reelsense.inference.classifier import Classifier
from reelsense.prediction import Prediction

__all__ = ["Classifier", "Prediction", "__version__"]

__version__ = "0.1.0"
