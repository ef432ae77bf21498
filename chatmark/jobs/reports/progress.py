"""
How a running job is doing: rates, and the time that is left.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, final

import attrs

from chatmark.jobs.reports.report import by_count

# Rates are those of the last seconds, so that a pause shows.
_WINDOW: Final = 10.0
_MINUTE: Final = 60
_HOUR: Final = 3600


@attrs.frozen
class Reading:
    """
    The counters of a job at one moment.

    Args:
        done: Changes whose fate is known, those of earlier runs among them.
        calls: Calls made in this run.
        retries_by_reason: Units that are sent again, by the reason.
        failures_by_code: Changes that failed, by the vendor's code.
    """

    done: int
    calls: int
    retries_by_reason: Mapping[str, int] = attrs.field(factory=dict[str, int])
    failures_by_code: Mapping[int | None, int] = attrs.field(factory=dict[int | None, int])


@attrs.frozen
class Progress:
    """
    A job at one moment.

    Args:
        reading: Its counters.
        total: Changes in all, None where nobody knows.
        rate: Changes done a second.
        call_rate: Calls a second.
        budget: Calls a second that are allowed, None for as many as go.
        seconds: How long this run has taken.
        things: What is counted.
    """

    reading: Reading
    total: int | None
    rate: float
    call_rate: float
    budget: float | None = None
    seconds: float = 0.0
    things: str = "changes"

    @property
    def fraction(self) -> float | None:
        """
        How much of the job is done, from 0 to 1.
        """
        return None if self.total is None else self.reading.done / max(self.total, 1)

    @property
    def left(self) -> float | None:
        """
        The seconds that are left, None where nobody knows.
        """
        if self.total is None or not self.rate:
            return None
        return (self.total - self.reading.done) / self.rate

    @property
    def line(self) -> str:
        """
        How far it is, and how fast.
        """
        of_total = "" if self.total is None else f" of {self.total:,}"
        of_budget = "" if self.budget is None else f" of {self.budget:g}"
        left = "" if self.left is None else f", {duration(self.left)} left"
        return (
            f"{self.reading.done:,}{of_total} {self.things}, {self.rate:,.0f}/s, "
            f"{self.reading.calls:,} calls, {self.call_rate:.1f}{of_budget}/s{left}"
        )

    @property
    def troubles(self) -> str:
        """
        What went wrong so far, "" where nothing did.
        """
        return troubles(self.reading.retries_by_reason, self.reading.failures_by_code)


@final
class Meter:
    """
    Measures the rates of a job.

    Args:
        total: Its changes in all, None where nobody knows.
        now: Seconds of any clock.
        done: Changes that are done already.
        budget: Calls a second that are allowed, None for as many as go.
        things: What is counted.
    """

    def __init__(
        self,
        total: int | None,
        now: float,
        *,
        done: int = 0,
        budget: float | None = None,
        things: str = "changes",
    ) -> None:
        self._total = total
        self._things = things
        self._budget = budget
        self._started = now
        self._marks: deque[tuple[float, int, int]] = deque([(now, done, 0)])

    def at(self, now: float, reading: Reading) -> Progress:
        """
        Return how the job is doing.
        """
        marks = self._marks
        if reading.done < marks[-1][1]:
            # A job on a cluster has lost a worker, and with it what that had done.
            marks.clear()
        marks.append((now, reading.done, reading.calls))
        while len(marks) > 2 and marks[1][0] <= now - _WINDOW:  # noqa: PLR2004 - one span at least.
            marks.popleft()
        then, done_then, calls_then = marks[0]
        span = now - then
        rate = (reading.done - done_then) / span if span > 0 else 0.0
        call_rate = (reading.calls - calls_then) / span if span > 0 else 0.0
        seconds = now - self._started
        return Progress(reading, self._total, rate, call_rate, self._budget, seconds, self._things)


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
