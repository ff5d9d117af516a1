"""Evaluation results: the types of evaluation.json, and the report rendered from it."""
