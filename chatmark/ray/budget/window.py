"""
A budget of calls that is lent to several processes; sans-IO, all times in seconds of one clock.

`CallWindow` believes that a call is at the server soon after its permit, because its caller is in
the same process. Here only the borrower knows when it made the call, and may be
slow to say so. A permit therefore counts until its borrower has said when the call was over, and a
second longer. A late report loses calls, and never exceeds the budget.
"""

import bisect
import math
from typing import Final, final

from chatmark.pacing.window import Pace

# The share of a second's calls that is lent at once: a borrower asks that often, and no oftener.
_AT_ONCE: Final = 0.05
# A borrower that is gone may have had a call on its way.
_MOST_WAY: Final = 0.02


@final
class PermitWindow:
    """
    Lends permits, so that no one-second window holds more calls than it may.

    Args:
        calls_per_second: The number; below 1 it is one call in so many seconds, above 1 a fraction
            is rounded down.
    """

    def __init__(self, calls_per_second: float) -> None:
        self._pace = Pace(calls_per_second)
        self._number = 0
        self._held: dict[int, str] = {}
        self._free_at: list[float] = []
        self._gone: set[str] = set()
        self.at_once = 1 + math.floor(self._pace.most * _AT_ONCE)

    @property
    def lent(self) -> int:
        """
        The permits whose borrowers have not reported the call.
        """
        return len(self._held)

    def delay(self, now: float, count: int = 1) -> float:
        """
        Return the seconds until *count* permits can be lent, infinity if unknown.
        """
        free_at = self._free_at
        del free_at[: bisect.bisect_right(free_at, now)]
        due = self._pace.due + (count - 1) * self._pace.spacing
        short = len(self._held) + len(free_at) + count - self._pace.most
        if short > len(free_at):
            return math.inf
        if short > 0:
            due = max(due, free_at[short - 1])
        return max(0.0, due - now)

    def lend(self, now: float, borrower: str, count: int) -> list[int]:
        """
        Lend permits that are due now, and return their numbers; nothing to a borrower that is gone.
        """
        if borrower in self._gone:
            return []
        self._pace.advance(now, count)
        numbers = list(range(self._number, self._number + count))
        self._number += count
        self._held.update(dict.fromkeys(numbers, borrower))
        return numbers

    def settle(self, number: int, at: float) -> None:
        """
        Note that the call of a permit was at the server at that time at the latest.
        """
        if self._held.pop(number, None) is not None:
            bisect.insort(self._free_at, at + self._pace.period)

    def unused(self, number: int) -> None:
        """
        Take a permit back with which no call was made.
        """
        if self._held.pop(number, None) is not None:
            self._pace.take_back()

    def forget(self, borrower: str, now: float) -> None:
        """
        Stop waiting for a borrower's report on its permits.
        """
        for number in [number for number, each in self._held.items() if each == borrower]:
            self.settle(number, now + _MOST_WAY)

    def part(self, borrower: str, now: float) -> None:
        """
        Lend a borrower nothing any more: it is gone.
        """
        self._gone.add(borrower)
        self.forget(borrower, now)
