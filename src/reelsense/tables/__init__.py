"""Read and write tables: delimited files, JSON Lines, text and Parquet, local or remote."""
