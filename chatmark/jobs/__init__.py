"""
Bulk jobs: rows in, a report out.

- `rows`, `parser`: what one row says, writing one and reading one;
- `files`: JSON Lines, CSV (`csvrows`) and Parquet, compressed or not, and what a file holds in all;
- `columns`: what a file calls the fields of a row;
- `intake`: rows for a running session, from a file or a pipe;
- `outcome`, `report`: what became of them;
- `readback`: whether the server has what the file wants.
"""
