"""
How many calls a second are left, learned from refusals while others use the application, too.

The rule is additive increase and multiplicative decrease, by which TCP finds its share of a line
that no sender owns. A refusal tells that the window was full: our calls in it are what the others
left, and the limit becomes a little less. From there it rises, the faster the longer nothing is
refused, so that it is whole again some seconds after the others are gone. Processes that learn side
by side rise by the same steps and give up the same part of what they have, so they become equal.

Sans-IO, all times in seconds.
"""

import math
from typing import Final

from chatmark.pacing.window import Slot

# A refusal leaves this part of the calls, and of the limit: few calls may be lack of work.
_KEPT: Final = 0.97
_KEPT_OF_LIMIT: Final = 0.5
# The growth, in wholes a second squared: half of the whole takes eleven seconds.
_GROWTH: Final = 0.003
# The pause after a refusal with no success since the one before, and for each one more.
_PAUSE: Final = 0.1
# So many in a row are not about the rate any more.
_MOST_STRIKES: Final = 3


class LearnedLimit:
    """
    The calls in a window that are left for us.

    Args:
        most: The most that it may be.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # The limit after the last refusal, and when that arrived.
        self._left = float(most)
        self._fell_at = -math.inf
        # When the latest call was sent that was admitted.
        self._good_until = -math.inf
        # Before the first success a refusal says nothing about the rate.
        self._strikes = _MOST_STRIKES - 1

    def at(self, now: float) -> float:
        """Return the limit."""
        return min(self._most, self._left + self._most * _GROWTH * (now - self._fell_at) ** 2)

    def admitted(self, slot: Slot) -> None:
        """Note that the server did not find a call too many."""
        self._good_until = max(self._good_until, slot.sent_at)

    def refused(self, slot: Slot, now: float) -> float | None:
        """
        Note that the server found a call too many.

        Refusals of calls that were sent before the previous refusal arrived are the same event.

        Returns:
            For how long no call may be made, so that the second has room again, 0 if that was
            said before; None if that does not help, because nothing is admitted.
        """
        if slot.sent_at <= self._fell_at:
            return None if self._strikes >= _MOST_STRIKES else 0.0
        self._strikes = 0 if self._good_until > self._fell_at else self._strikes + 1
        limit = self.at(now)
        used = min(slot.before, limit)
        self._left = max(used * _KEPT, limit * _KEPT_OF_LIMIT, 1.0)
        self._fell_at = now
        if self._strikes >= _MOST_STRIKES:
            return None
        return max(1.0 - self._left / max(used, 1), _PAUSE * self._strikes)
