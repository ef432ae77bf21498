"""Sending units through a session and accounting for each."""
