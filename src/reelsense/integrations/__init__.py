"""Interfaces for other libraries and for agents. Each module needs its own extra."""
