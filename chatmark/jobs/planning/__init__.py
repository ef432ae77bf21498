"""The effects, calls and time of a job before it runs."""
