"""Drift: how the texts of today differ from the validation texts of the model.

Does not know HTTP or files of texts.
"""
