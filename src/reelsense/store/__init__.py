"""What must survive a restart: jobs, that is files of texts and their answers, in a database.

Knows rows, answers and times. Knows neither HTTP nor how texts are scored.
"""
