"""Exports: all marks of many users as rows."""
