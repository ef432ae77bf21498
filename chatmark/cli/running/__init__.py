"""The work of commands between their options and their output."""
