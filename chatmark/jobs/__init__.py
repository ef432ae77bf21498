"""
Bulk jobs: rows in, a report out.

- `rows`: what one row says, and writing one;
- `files`: JSON Lines and CSV, and what a file holds in all;
- `intake`: rows for a running session, from a file or a pipe;
- `outcome`, `report`: what became of them;
- `readback`: whether the server has what the file wants.
"""
