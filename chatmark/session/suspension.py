"""How long the process was suspended."""

from typing import Final

# A busy loop is a few seconds late, too.
_LATE: Final = 5.0


def standstill(took: float, most: float) -> float:
    """
    Return how long the process was suspended during something that takes at most so many seconds.

    No deadline runs in that time.
    """
    return took - most if took > most + _LATE else 0.0
