"""
How a running job is doing: rates, and the time that is left.
"""

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, final

import attrs

from chatmark.jobs.report import by_count

if TYPE_CHECKING:
    from chatmark.events import SessionStats

# Rates are those of the last seconds, so that a pause shows.
_WINDOW: Final = 10.0
_MINUTE: Final = 60
_HOUR: Final = 3600


@attrs.frozen
class Progress:
    """
    A job at one moment.

    Args:
        done: Changes that are settled.
        total: Changes in all, None where nobody knows.
        rate: Changes settled a second.
        call_rate: Calls a second.
        stats: The session's counters.
    """

    done: int
    total: int | None
    rate: float
    call_rate: float
    stats: "SessionStats"

    @property
    def fraction(self) -> float | None:
        """
        How much of the job is done, from 0 to 1.
        """
        return None if self.total is None else self.done / max(self.total, 1)

    @property
    def left(self) -> float | None:
        """
        The seconds that are left, None where nobody knows.
        """
        if self.total is None or not self.rate:
            return None
        return (self.total - self.done) / self.rate

    @property
    def line(self) -> str:
        """
        How far it is, and how fast.
        """
        of_total = "" if self.total is None else f" of {self.total:,}"
        left = "" if self.left is None else f", {duration(self.left)} left"
        return (
            f"{self.done:,}{of_total} changes, {self.rate:,.0f}/s, "
            f"{self.stats.calls:,} calls, {self.call_rate:.1f}/s{left}"
        )

    @property
    def troubles(self) -> str:
        """
        What went wrong so far, "" where nothing did.
        """
        return troubles(self.stats.retries_by_reason, self.stats.failures_by_code)


@final
class Meter:
    """
    Measures the rates of a job.

    Args:
        total: Its changes in all, None where nobody knows.
        now: Seconds of any clock.
    """

    def __init__(self, total: int | None, now: float) -> None:
        self._total = total
        self._marks: deque[tuple[float, int, int]] = deque([(now, 0, 0)])

    def at(self, now: float, stats: "SessionStats") -> Progress:
        """
        Return how the job is doing.
        """
        done = stats.succeeded + stats.failed + stats.withdrawn
        marks = self._marks
        marks.append((now, done, stats.calls))
        while len(marks) > 2 and marks[1][0] <= now - _WINDOW:  # noqa: PLR2004 - one span at least.
            marks.popleft()
        then, done_then, calls_then = marks[0]
        span = now - then
        rate = (done - done_then) / span if span > 0 else 0.0
        call_rate = (stats.calls - calls_then) / span if span > 0 else 0.0
        return Progress(done, self._total, rate, call_rate, stats)


def troubles(
    retries_by_reason: Mapping[str, int], failures_by_code: Mapping[int | None, int]
) -> str:
    """
    Return in one line what has to be sent again and what failed, "" where nothing has.
    """
    parts: list[str] = []
    retries = sum(retries_by_reason.values())
    if retries:
        parts.append(f"{retries:,} put back to be sent again ({_listed(retries_by_reason)})")
    failed = sum(failures_by_code.values())
    if failed:
        parts.append(f"{failed:,} failed ({_listed(failures_by_code)})")
    return ", ".join(parts)


def _listed(counts: Mapping[Any, int]) -> str:
    rows = by_count(counts)
    return ", ".join(f"{'no code' if key is None else key}: {count:,}" for key, count in rows)


def duration(seconds: float) -> str:
    """
    Return a time in words.

    >>> duration(3725)
    '1:02:05 h'
    """
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}:{whole % _MINUTE:02} min"
    return f"{whole // _HOUR}:{whole % _HOUR // _MINUTE:02}:{whole % _MINUTE:02} h"
