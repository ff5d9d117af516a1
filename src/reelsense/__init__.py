"""reelsense: the sentiment of movie reviews, from BERT."""

__version__ = "0.1.0"
