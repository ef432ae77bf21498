"""Faults that a script can order."""
