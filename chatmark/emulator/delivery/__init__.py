"""Sending a reply, or breaking the connection."""
