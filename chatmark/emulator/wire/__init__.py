"""Requests and answers of the emulator."""
