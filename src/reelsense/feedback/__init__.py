"""Stored predictions, and the feedback that people give on predictions and texts.

Does not know HTTP or models.
"""
