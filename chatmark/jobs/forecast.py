"""
How long a job's calls will take: the session's own rules, gone through without a server.

A formula knows the pace, or the round trips of the longest lane, but not where in the job that lane
stands: a user with many requests who comes last is waited for alone. So the calls are gone through
one by one, paced by the very `CallWindow` that paces a session; 100,000 calls take about a second.
"""

import collections
import heapq
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from chatmark.jobs.portions import MOST_UNDER_WAY
from chatmark.lane import MAX_ITEMS
from chatmark.pacing import CallWindow


@attrs.frozen
class Conditions:
    """
    What limits a session.

    Args:
        calls_per_second: Its pace, None without one.
        round_trip: Seconds from a request to its answer.
        max_in_flight: The most requests at once.
    """

    calls_per_second: float | None
    round_trip: float
    max_in_flight: int = 32


def forecast(lanes: Iterable[int], conditions: Conditions) -> float:
    """
    Return the seconds that calls take when none has to be repeated.

    Args:
        lanes: How many items each user has, in the order of the job; a call takes 100, and the
            calls of a user go one after another.
        conditions: What limits them.

    >>> forecast([100, 1, 20, 500], Conditions(calls_per_second=None, round_trip=0.25))
    1.25
    """
    rate = conditions.calls_per_second
    window = None if rate is None else CallWindow(rate)
    held = _Held(lanes)
    # When each request ends, which it is, its slot in the window, and what its lane has left.
    under_way: list[tuple[float, int, Any, int]] = []
    now = 0.0
    for number in itertools.count():
        while not (held.is_ready() and len(under_way) < conditions.max_in_flight):
            if not under_way:
                return now
            now = _end_next(under_way, window, held, now)
        while window is not None and (due := now + window.delay(now)) > now:
            # What ends before the pace lets the next request go frees its place in the window.
            if under_way and under_way[0][0] <= due:
                now = _end_next(under_way, window, held, now)
            else:
                now = due
        slot = None if window is None else window.record(now)
        heapq.heappush(under_way, (now + conditions.round_trip, number, slot, held.take()))
    raise AssertionError


class _Held:
    """
    The lanes that a session holds and that could send; those with a full request go first.
    """

    def __init__(self, lanes: Iterable[int]) -> None:
        self._coming: Iterator[int] = iter(lanes)
        self._full: collections.deque[int] = collections.deque()
        self._partial: collections.deque[int] = collections.deque()
        self._room = MOST_UNDER_WAY
        self._fill()

    def is_ready(self) -> bool:
        """
        Whether a lane could send.
        """
        return bool(self._full or self._partial)

    def take(self) -> int:
        """
        Return what the next lane has when its request is sent.
        """
        return self._full.popleft() if self._full else self._partial.popleft()

    def ended(self, items: int) -> None:
        """
        Note that the request of a lane with so many items has ended.
        """
        self._room += min(items, MAX_ITEMS)
        self._add(items - MAX_ITEMS)
        self._fill()

    def _add(self, items: int) -> None:
        if items > 0:
            (self._full if items >= MAX_ITEMS else self._partial).append(items)

    def _fill(self) -> None:
        while self._room > 0 and (items := next(self._coming, None)) is not None:
            self._room -= items
            self._add(items)


def _end_next(
    under_way: list[tuple[float, int, Any, int]],
    window: CallWindow | None,
    held: _Held,
    now: float,
) -> float:
    end, _, slot, items = heapq.heappop(under_way)
    now = max(now, end)
    if window is not None:
        window.answered(slot, now)
    held.ended(items)
    return now
