"""
How long a session was held back by the server, or the process was suspended.
"""

import math
from typing import Final, final

# A busy loop is a few seconds late, too.
_LATE: Final = 5.0


def standstill(took: float, most: float) -> float:
    """
    Return how long the process was suspended during something that takes at most so many seconds.

    No deadline runs in that time.
    """
    return took - most if took > most + _LATE else 0.0


@final
class Waits:
    """
    Adds up the pauses that the server asked for; pauses may overlap, and that time counts once.

    Attributes:
        seconds: The sum, those to come of a pause that lasts among them.
    """

    __slots__ = ("_until", "seconds")

    def __init__(self) -> None:
        self._until = -math.inf
        self.seconds = 0.0

    def add(self, now: float, seconds: float) -> None:
        """
        Note a pause of so many seconds that begins now.
        """
        end = now + seconds
        self.seconds += max(0.0, end - max(now, self._until))
        self._until = max(self._until, end)
