"""Processes and sockets: gunicorn, workers, listeners and connections."""
