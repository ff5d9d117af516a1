"""Jobs in a database: files of texts that are scored in the background, and their predictions.

Does not know HTTP or how texts are scored.
"""
