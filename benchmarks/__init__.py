"""How near chatmark is to the limits that are not its own: `python -m benchmarks`."""
