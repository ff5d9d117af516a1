"""Jobs in a database: files of texts that are scored in the background, and their answers.

Knows rows, answers and times. Knows neither HTTP nor how texts are scored.
"""
