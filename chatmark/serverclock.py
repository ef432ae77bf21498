"""
Another machine's clock, known within bounds; sans-IO.

A promise "at t by the server's clock" is kept by a process with a clock of its own. What it knows
of the server's is that the time in an answer lies between question and answer. The narrowest such
bounds of late are kept, so that one quick answer serves many slow ones.
"""

import math
from typing import Final

# By how much two clocks may drift apart, in seconds a second; quartz is ten times better.
_DRIFT: Final = 0.0005


class ServerClock:
    """
    Bounds for the server's time, in seconds; the local times are those of one monotonic clock.
    """

    __slots__ = ("_ahead", "_behind", "_heard")

    def __init__(self) -> None:
        # The server's time minus the local one is no less, and no more, than these.
        self._behind = -math.inf
        self._ahead = math.inf
        self._heard = -math.inf

    def observe(self, asked: float, told: float, heard: float) -> bool:
        """
        Learn from an answer: the server's time was *told* at some moment between the other two.

        Return whether that agrees with what was known.
        """
        widening = _DRIFT * (heard - self._heard) if math.isfinite(self._heard) else math.inf
        behind = max(self._behind - widening, told - heard)
        ahead = min(self._ahead + widening, told - asked)
        agrees = behind <= ahead
        if not agrees:
            # One of the clocks was set, or this is another server.
            behind, ahead = told - heard, told - asked
        self._behind, self._ahead, self._heard = behind, ahead, heard
        return agrees

    @property
    def doubt(self) -> float:
        """
        How far apart the bounds are.
        """
        return self._ahead - self._behind

    def latest(self, local: float) -> float:
        """
        Return the server's time that has certainly not passed at a local time.
        """
        return local + self._ahead

    def reached(self, time: float) -> float:
        """
        Return the local time at which the server's has certainly come.
        """
        return time - self._behind
