"""Resumable scoring of files: plan a task, cut rows into shards, score shards, store them."""
