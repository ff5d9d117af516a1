"""What an evaluation found: the types of evaluation.json, and the report rendered from it.

Measures nothing: `reelsense.evaluation` fills these types, and the server displays them.
"""
