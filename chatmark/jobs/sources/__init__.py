"""Sources of rows: files and streams of JSON Lines, CSV and Parquet."""
