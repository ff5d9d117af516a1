"""Labelled mentions of aspects, such as acting and music, in sentences of reviews."""
