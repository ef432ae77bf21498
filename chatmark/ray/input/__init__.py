"""The input of a job: its files, their slices, and checked rows as Arrow tables."""
