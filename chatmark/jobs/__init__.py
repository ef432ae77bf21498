"""
Bulk jobs: rows in, a report out.

- `rows`, `parser`: what one row says, writing one and reading one;
- `files`: JSON Lines, CSV (`csvrows`) and Parquet, compressed or not, and what a file holds in all;
- `columns`: what a file calls the fields of a row;
- `intake`: rows for a running session, from a file or a pipe;
- `outcome`, `report`: what became of them;
- `lookup`, `looking`: what the server has, in few calls; `unchanged` and `readback` compare it;
- `plan`, `foresight`, `forecast`: what applying a file would do, and how long it would take;
- `users`, `export`, `exportfile`, `exportrows`: all marks of many users, as rows;
- `htmlpage`, `htmlparts`, `plot`: a report as a page;
- `ahead`, `patience`: many users at once, and when to stop asking.
"""
