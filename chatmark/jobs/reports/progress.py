"""Progress of a running job: rates, and the time that is left."""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Generator, Mapping
from typing import Any, Final, final

import attrs

from chatmark.jobs.counting import Addable, counted

# Rates cover the last seconds, so that a pause shows.
_WINDOW: Final = 10.0
_MINUTE: Final = 60
_HOUR: Final = 3600


@attrs.frozen
class Counters(Addable):
    """Counters of this run of a job at one moment; *done* counts what earlier runs settled, too."""

    done: int = 0
    calls: int = 0
    retries_by_reason: Counter[str] = attrs.field(factory=Counter[str])
    failures_by_code: Counter[int | None] = attrs.field(factory=Counter[int | None])


@attrs.frozen
class Progress:
    """
    A job at one moment.

    Args:
        counters: Its counters.
        total: Changes in all, None if unknown.
        rate: Changes done a second.
        call_rate: Calls a second.
        budget: Calls a second that are allowed, None without a limit.
        seconds: Seconds since the start of this run.
        things: The name of the things that are counted.
        phase: The part of the job: check, group, read, send or verify.
        share: The part that is done where the total is unknown, from 0 to 1; None if unknown too.
    """

    counters: Counters
    total: int | None
    rate: float
    call_rate: float
    budget: float | None = None
    seconds: float = 0.0
    things: str = "changes"
    phase: str = "send"
    share: float | None = None

    @property
    def fraction(self) -> float | None:
        """The part of the job that is done, from 0 to 1; None if unknown."""
        if self.total is None:
            return self.share
        return min(1.0, self.counters.done / max(self.total, 1))

    @property
    def left(self) -> float | None:
        """The seconds that are left, None if unknown."""
        if self.total is None or not self.rate:
            return None
        return max(0, self.total - self.counters.done) / self.rate

    @property
    def head(self) -> str:
        """The phase, and its percentage if that is known."""
        return self.phase if self.fraction is None else f"{self.phase} {self.fraction:.0%}"

    @property
    def work(self) -> str:
        """What is done, and at what rate."""
        thing = self.things.removesuffix("s")
        if self.total is None:
            return f"{counted(self.counters.done, thing)}, {self.rate:,.0f}/s"
        done = f"{self.counters.done:,} of {counted(self.total, thing)}, {self.rate:,.0f}/s"
        return done if self.left is None else f"{done}, {duration(self.left)} left"

    @property
    def effort(self) -> str:
        """The calls, and their rate; "" without any."""
        calls = self.counters.calls
        of_budget = "" if self.budget is None else f" of {self.budget:g}"
        return f"{counted(calls, 'call')}, {self.call_rate:.1f}{of_budget}/s" if calls else ""

    @property
    def line(self) -> str:
        """The progress in one line."""
        return f"{self.head}: {', '.join(filter(None, (self.work, self.effort)))}"

    @property
    def troubles(self) -> str:
        """Retries and failures so far in one line, "" without any."""
        return troubles(self.counters.retries_by_reason, self.counters.failures_by_code)


@final
@attrs.define
class Meter:
    """Measures the rates of a job that has *total* things, *done* of them at the time *now*."""

    total: int | None
    started: float = attrs.field(alias="now")
    done: int = attrs.field(default=0, kw_only=True)
    budget: float | None = attrs.field(default=None, kw_only=True)
    things: str = attrs.field(default="changes", kw_only=True)
    phase: str = attrs.field(default="send", kw_only=True)
    _samples: deque[tuple[float, int, int]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._samples = deque([(self.started, self.done, 0)])

    def at(self, now: float, counters: Counters) -> Progress:
        """Return the progress."""
        samples = self._samples
        if counters.done < samples[-1][1]:
            # A job on a cluster has lost a worker, whose users are done again.
            samples.clear()
        samples.append((now, counters.done, counters.calls))
        while len(samples) > 2 and samples[1][0] <= now - _WINDOW:  # noqa: PLR2004 - one span.
            samples.popleft()
        then, done, calls = samples[0]
        span = now - then
        rate = (counters.done - done) / span if span > 0 else 0.0
        call_rate = (counters.calls - calls) / span if span > 0 else 0.0
        # A burst is allowed, and a rate above the limit would seem to be none.
        call_rate = call_rate if self.budget is None else min(call_rate, self.budget)
        return Progress(
            counters,
            self.total,
            rate,
            call_rate,
            self.budget,
            now - self.started,
            self.things,
            self.phase,
        )


@contextlib.contextmanager
def calling_at_intervals(function: Callable[[], object], interval: float) -> Generator[None]:
    """
    Call a function at intervals of seconds while the block runs, until the function raises.

    Its error is not raised: progress that cannot be shown stops no job.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def call() -> None:
        nonlocal timer
        with contextlib.suppress(Exception):
            function()
            timer = loop.call_later(interval, call)

    timer = loop.call_later(interval, call)
    try:
        yield
    finally:
        timer.cancel()


def troubles(
    retries_by_reason: Mapping[str, int], failures_by_code: Mapping[int | None, int]
) -> str:
    """Return both in one line, "" without any."""
    found: dict[str, Mapping[Any, int]] = {
        "put back to be sent again": retries_by_reason,
        "failed": failures_by_code,
    }
    return ", ".join(
        f"{sum(counts.values()):,} {text} ({listed(counts)})"
        for text, counts in found.items()
        if any(counts.values())
    )


def by_count(counts: Mapping[Any, int]) -> list[tuple[Any, int]]:
    """Return the items of *counts*, the most frequent first, equal ones in a fixed order."""
    return sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))


def listed(counts: Mapping[Any, int]) -> str:
    """
    Return counts as text, the most frequent first.

    >>> listed({50001: 1, None: 2})
    'no code: 2, 50001: 1'
    """
    return ", ".join(
        f"{'no code' if key is None else key}: {count:,}" for key, count in by_count(counts)
    )


def precise(seconds: float) -> str:
    """Return a duration for people, with tenths of a second where it is short."""
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)  # noqa: PLR2004 - seconds.


def duration(seconds: float) -> str:
    """
    Return a duration for people.

    >>> duration(3725)
    '1:02:05 h'
    """
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}:{whole % _MINUTE:02} min"
    return f"{whole // _HOUR}:{whole % _HOUR // _MINUTE:02}:{whole % _MINUTE:02} h"
