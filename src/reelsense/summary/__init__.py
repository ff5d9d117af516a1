"""Summaries of scored tables: groups, trends, aspects, findings, and rows worth reading.

Used by the server and the command line. Does not know HTTP or databases.
"""
