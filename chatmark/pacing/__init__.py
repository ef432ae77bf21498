"""How fast: calls a second, and the waits between attempts."""
