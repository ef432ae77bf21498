"""
For how long the server held a session back.
"""

import math
from typing import final


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
