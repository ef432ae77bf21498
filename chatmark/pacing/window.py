"""How many calls a second, and when the next may go. Sans-IO."""

import bisect
import math
import operator
import re
import sys
from typing import Any, Final

import attrs

from chatmark.errors import InputError

# The server counts a call on arrival. A call counts from its latest possible arrival: the answer's
# time minus the fastest round trip, clamped to these seconds after sending.
_LEAST_WAY: Final = 0.02
_MOST_WAY: Final = 0.05
# A call that goes so much later than its permit was given counts from then.
_LATE: Final = 0.001
# No clock is exacter, and no sum of floats.
_RESOLUTION: Final = 1e-6
# The share of a second's calls that may go at once after a rest.
_BURST: Final = 0.1


@attrs.define(eq=False)
class Slot:
    """A call in a window: when it was sent, until when it counts, and how many counted before."""

    sent_at: float
    free_at: float
    before: int


_free_at: Final = operator.attrgetter("free_at")


def parse_rate(rate: Any, field: str = "calls_per_second") -> Any:
    """
    Return the number of a text such as "190" or the share "190/8", and other values as they are.

    >>> parse_rate("190/8"), parse_rate(190)
    (23.75, 190)

    Raises:
        InputError: The text says something else.
    """
    if not isinstance(rate, str):
        return rate
    found = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*(?:/\s*(\d{1,9}))?\s*", rate, re.ASCII)
    parts = 0 if found is None else int(found[2] or 1)
    if found is None or parts == 0:
        reason = 'must be calls a second such as "190", or a share of them such as "190/8"'
        raise InputError(field, reason, rate)
    return float(found[1]) / parts


class CallWindow:
    """
    Holds calls to a number in any one-second window, spread evenly; sans-IO, all times in seconds.

    An average would not do: two bursts around the turn of a second are refused as one. The
    spreading keeps a bulk run from spending a second's calls in its first tenth and a single call
    waiting for the rest of it.

    Args:
        calls_per_second: The number; below 1 it is one call in so many seconds, above 1 a fraction
            is rounded down.
        most_way: How long a call may be on its way to the server: of slow answers this much is
            believed to be that.

    Attributes:
        most: The calls in any window of that length.
        period: Its length: a second, or more for less than one call a second.
        limit: The calls over which the window is spread now: all, or fewer for a slower pace.

    Raises:
        InputError: It is not a number above 0.
    """

    def __init__(self, calls_per_second: float, most_way: float = _MOST_WAY) -> None:
        # Neither an int nor a second divided by it may be larger than any float.
        if isinstance(calls_per_second, bool) or not (
            isinstance(calls_per_second, int | float)
            and sys.float_info.min <= calls_per_second <= sys.float_info.max
        ):
            raise InputError("calls_per_second", "must be a number above 0", calls_per_second)
        self.most = max(1, math.floor(calls_per_second))
        self.period = max(1.0, 1.0 / calls_per_second)
        self.limit = float(self.most)
        self._most_way = most_way
        self._burst = self.period * math.floor(self.most * _BURST) / self.most
        # When the next call is due.
        self._due = -math.inf
        # In the order in which they become free.
        self._slots: list[Slot] = []
        self._least_round_trip = math.inf

    def delay(self, now: float) -> float:
        """Return after how many seconds the next call may be sent, 0 for now."""
        slots = self._slots
        del slots[: bisect.bisect_right(slots, now, key=_free_at)]
        # A call counts for a window and its way: at the pace of the limit these are so many.
        most = min(self.most, math.ceil(self.limit * (1 + self._most_way / self.period)))
        free_at = slots[-most].free_at if len(slots) >= most else now
        return max(0.0, self._due - now, free_at - now)

    def rest(self, until: float) -> None:
        """Let no call be due before that time."""
        self._due = max(self._due, until)

    def record(self, now: float) -> Slot:
        """Count a call that is sent now."""
        # Lateness of a timer is made up for, so that it does not add up to a slower pace.
        self._due = max(self._due, now - self._burst) + self.period / self.limit
        slot = Slot(now, now + self.period + self._most_way, len(self._slots))
        bisect.insort(self._slots, slot, key=_free_at)
        return slot

    def sent(self, slot: Slot, now: float) -> None:
        """Note that the call goes only now: the loop was busy with something else."""
        if now > slot.sent_at + _LATE:
            slot.sent_at = now
            self._move(slot, now + self.period + self._most_way)

    def answered(self, slot: Slot, now: float, *, is_refusal: bool = False) -> None:
        """Note that the call's answer is here, so that it was at the server before now."""
        round_trip = now - slot.sent_at
        if not is_refusal:
            # A refusal comes faster than an answer, so it must not be the fastest trip.
            self._least_round_trip = min(self._least_round_trip, round_trip)
        late = max(round_trip - self._least_round_trip, min(round_trip, _LEAST_WAY))
        if late < self._most_way:
            self._move(slot, slot.sent_at + self.period + late + _RESOLUTION)

    def unused(self, slot: Slot) -> None:
        """Take a call back that was counted but not sent."""
        if slot in self._slots:
            self._slots.remove(slot)
            self._due -= self.period / self.limit

    def _move(self, slot: Slot, free_at: float) -> None:
        if slot in self._slots:
            self._slots.remove(slot)
            slot.free_at = free_at
            bisect.insort(self._slots, slot, key=_free_at)
