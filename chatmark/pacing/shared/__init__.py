"""The parts of a budget that processes share."""
