"""The journal: which units are settled, in a file that outlives the process."""
