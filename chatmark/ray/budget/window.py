"""
A budget of calls that is lent to several processes; sans-IO, all times in seconds of one clock.

`CallWindow` expects a call to reach the server soon after its permit, because its caller is in the
same process. Here only the borrower knows when it made the call, and its report may be late. A
permit therefore counts until one second after the reported end of the call. A late report loses
calls, and never exceeds the budget.
"""

import bisect
import math
from typing import Final, final

from chatmark.pacing.window import Pace

# The share of a second's calls that is lent at once, so that borrowers ask some 20 times a second.
_SHARE_AT_ONCE: Final = 0.05
# Seconds for which a call of a lost borrower may still be on its way to the server.
_LONGEST_WAY: Final = 0.02


@final
class PermitWindow:
    """
    Lends permits, so that no one-second window holds more calls than the budget.

    Args:
        calls_per_second: The budget. Below 1 it means one call in so many seconds, above 1 a
            fraction is rounded down.
    """

    def __init__(self, calls_per_second: float) -> None:
        self._pace = Pace(calls_per_second)
        self._number = 0
        self._lent: dict[int, str] = {}
        self._free_at: list[float] = []
        self._dismissed: set[str] = set()
        self.at_once = 1 + math.floor(self._pace.most * _SHARE_AT_ONCE)

    @property
    def lent(self) -> int:
        """The number of permits whose calls are not reported yet."""
        return len(self._lent)

    def delay(self, now: float, count: int = 1) -> float:
        """Return the seconds until *count* permits can be lent, infinity if unknown."""
        free_at = self._free_at
        del free_at[: bisect.bisect_right(free_at, now)]
        due = self._pace.due + (count - 1) * self._pace.spacing
        short = len(self._lent) + len(free_at) + count - self._pace.most
        if short > len(free_at):
            return math.inf
        if short > 0:
            due = max(due, free_at[short - 1])
        return max(0.0, due - now)

    def lend(self, now: float, borrower: str, count: int) -> list[int]:
        """Lend permits that are due, and return their numbers; none to a dismissed borrower."""
        if borrower in self._dismissed:
            return []
        self._pace.advance(now, count)
        numbers = list(range(self._number, self._number + count))
        self._number += count
        self._lent.update(dict.fromkeys(numbers, borrower))
        return numbers

    def settle(self, number: int, at: float) -> None:
        """Note that the call of a permit had reached the server at that time."""
        if self._lent.pop(number, None) is not None:
            bisect.insort(self._free_at, at + self._pace.period)

    def take_back(self, number: int) -> None:
        """Take back a permit with which no call was made."""
        if self._lent.pop(number, None) is not None:
            self._pace.take_back()

    def forget(self, borrower: str, now: float) -> None:
        """Stop waiting for a borrower's report on its permits."""
        for number in [number for number, each in self._lent.items() if each == borrower]:
            self.settle(number, now + _LONGEST_WAY)

    def dismiss(self, borrower: str, now: float) -> None:
        """Lend nothing more to a borrower that is gone."""
        self._dismissed.add(borrower)
        self.forget(borrower, now)
