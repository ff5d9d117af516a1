"""Resumable scoring of files: shards, rows and output. Knows tables and the classifier."""
