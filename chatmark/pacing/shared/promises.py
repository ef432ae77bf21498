"""One process's stock of a shared budget: promises to use, calls to report. Sans-IO."""

import collections
import math
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from chatmark.pacing.shared.clock import ServerClock

# The use of a process is measured over this many seconds.
_LATELY: Final = 0.2


@attrs.frozen
class Promise:
    """
    A promise: one call may be sent from *due* on, for a short while.

    Args:
        name: The call's name in the count.
        due: The moment by the server's clock, in seconds.
    """

    name: str
    due: float


class Promises:
    """
    The promises in stock, oldest first, and the calls to report.

    Args:
        process: A name that no other process has.
        lateness: Seconds after which a promise is too old to be used.
        spacing: Seconds between two calls of all processes.
        ahead: Seconds from a question to the last moment that is promised, about.
    """

    def __init__(self, process: str, lateness: float, spacing: float, ahead: float) -> None:
        self.process = process
        self.stock: collections.deque[Promise] = collections.deque()
        self.ahead = ahead
        self._lateness = lateness
        self._spacing = spacing
        self._numbers = 0
        self._used: collections.deque[float] = collections.deque()
        # Until when a call counts, by this process's clock; None for a call not made.
        self._untold: dict[str, float | None] = {}

    @property
    def has_news(self) -> bool:
        """Whether there are calls to report."""
        return bool(self._untold)

    def wanted(self, waiting: int, now: float) -> int:
        """
        Return how many promises to ask for.

        That is one for each call that waits, and as many as the process uses until they arrive.
        """
        while self._used and self._used[0] <= now - _LATELY:
            self._used.popleft()
        habit = round(len(self._used) * self.ahead / _LATELY)
        target = min(math.ceil(self.ahead / self._spacing) + 1, waiting + habit)
        if target == 0:
            self.give_back(len(self.stock))
        return max(0, target - len(self.stock))

    def number(self, wanted: int) -> int:
        """Reserve this many numbers, which name promises; return the first."""
        first = self._numbers
        self._numbers += wanted
        return first

    def add(self, first: int, dues: Iterable[float]) -> None:
        """Take promises into stock."""
        for number, due in enumerate(dues, first):
            self.stock.append(Promise(f"{self.process}:{number}", due))

    def take(self, now: float) -> str:
        """Use the oldest promise, and return its name."""
        self._used.append(now)
        return self.stock.popleft().name

    def give_back(self, count: int) -> None:
        """Report the oldest promises as not used."""
        for _ in range(count):
            self._untold[self.stock.popleft().name] = None

    def drop_stale(self, clock: ServerClock, now: float) -> None:
        """Give back the promises that are too old: their calls would count for too short a time."""
        latest = clock.latest(now)
        self.give_back(sum(latest > each.due + self._lateness for each in self.stock))

    def tell(self, name: str, until: float | None) -> None:
        """Note until when a call counts, by this process's clock; None if it was not made."""
        self._untold[name] = until

    def report(self, now: float) -> dict[str, float | None]:
        """Return the calls to report. A call that counts no more needs no report."""
        self._untold = {
            name: until for name, until in self._untold.items() if until is None or until > now
        }
        return dict(self._untold)

    def told(self, report: Mapping[str, float | None]) -> None:
        """Note that the server has this report."""
        for name, until in report.items():
            if self._untold.get(name, math.nan) == until:
                del self._untold[name]
