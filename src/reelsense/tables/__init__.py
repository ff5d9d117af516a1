"""Tables of texts: delimited files, JSON Lines, text and Parquet, on any storage."""
