"""
The server's clock, known within bounds. Sans-IO.

A process keeps a promise "at t by the server's clock" with its own clock. It knows that the
server's time in an answer lies between question and answer. The narrowest such bounds are kept, so
that one quick answer serves many slow ones.
"""

import math
from typing import Final

# How far two clocks may drift apart, in seconds a second. Quartz is ten times better.
_DRIFT: Final = 0.0005


class ServerClock:
    """Bounds for the server's time, in seconds. Local times are those of one monotonic clock."""

    __slots__ = ("_ahead", "_behind", "_heard")

    def __init__(self) -> None:
        # The least and the greatest difference between the server's time and the local time.
        self._behind = -math.inf
        self._ahead = math.inf
        self._heard = -math.inf

    def observe(self, asked: float, told: float, heard: float) -> bool:
        """
        Learn that the server's time was *told* at a moment between the other two.

        Return whether this agrees with the earlier bounds.
        """
        widening = _DRIFT * (heard - self._heard) if math.isfinite(self._heard) else math.inf
        behind = max(self._behind - widening, told - heard)
        ahead = min(self._ahead + widening, told - asked)
        agrees = behind <= ahead
        if not agrees:
            # A clock was set, or this is another server.
            behind, ahead = told - heard, told - asked
        self._behind, self._ahead, self._heard = behind, ahead, heard
        return agrees

    @property
    def doubt(self) -> float:
        """How far apart the bounds are."""
        return self._ahead - self._behind

    def latest(self, local: float) -> float:
        """Return the latest that the server's time can be at a local time."""
        return local + self._ahead

    def reached(self, time: float) -> float:
        """Return the local time by which the server's time has certainly come."""
        return time - self._behind
