"""Progress of a running job with its rates, and its counters over time."""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Generator
from typing import Any, Final, final

import attrs

from chatmark.jobs.counting import Addable, counted, duration, troubles

# Rates cover the last seconds, so that a pause shows.
_WINDOW: Final = 10.0
_MOST_SAMPLES: Final = 500
_FIRST_INTERVAL: Final = 1.0


@attrs.frozen
class Counters(Addable):
    """Counters of this run of a job at one moment; *done* counts what earlier runs settled, too."""

    done: int = 0
    calls: int = 0
    retries_by_reason: Counter[str] = attrs.field(factory=Counter[str])
    failures_by_code: Counter[int | None] = attrs.field(factory=Counter[int | None])

    @property
    def applied(self) -> int:
        """Changes that are done and did not fail."""
        return self.done - self.failed

    @property
    def failed(self) -> int:
        return self.failures_by_code.total()

    @property
    def retries(self) -> int:
        return self.retries_by_reason.total()


@attrs.frozen
class Progress:
    """
    A job at one moment.

    Args:
        counters: Its counters.
        total: Changes in all, None if unknown.
        rate: Changes done a second.
        call_rate: Calls a second.
        budget: Calls a second that are allowed, None without a limit, or with several.
        seconds: Seconds since the start of this run.
        things: The name of the things that are counted.
        phase: The part of the job: check, group, read, send or verify.
        share: The part that is done where the total is unknown, from 0 to 1; None if unknown too.
        several_limits: Whether calls that read and calls that send have a limit each: the line
            leaves out the rate of both together.
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
    several_limits: bool = False

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
        rate = "" if self.several_limits else f", {self.call_rate:.1f}{of_budget}/s"
        return f"{counted(calls, 'call')}{rate}" if calls else ""

    @property
    def line(self) -> str:
        """The progress in one line."""
        return f"{self.head}: {', '.join(filter(None, (self.work, self.effort)))}"

    @property
    def troubles(self) -> str:
        """Retries and failures so far in one line, "" without any."""
        return troubles(self.counters.retries_by_reason, self.counters.failures_by_code)


@final
class Meter:
    """
    Measures the rates of a job that has *total* things, *done* of them at the time *now*.

    The labels are further fields of its progress.
    """

    def __init__(self, total: int | None, now: float, *, done: int = 0, **labels: Any) -> None:
        self._start = Progress(Counters(), total, 0.0, 0.0, **labels)
        self._started = now
        self._samples = deque([(now, done, 0)])

    def at(self, now: float, counters: Counters) -> Progress:
        samples = self._samples
        if counters.done < samples[-1][1]:
            # A job on a cluster has lost a worker, whose users are done again.
            samples.clear()
        samples.append((now, counters.done, counters.calls))
        while len(samples) > 2 and samples[1][0] <= now - _WINDOW:  # noqa: PLR2004 - one span.
            samples.popleft()
        then, done, calls = samples[0]
        span, budget = now - then, self._start.budget
        rate = (counters.done - done) / span if span > 0 else 0.0
        call_rate = (counters.calls - calls) / span if span > 0 else 0.0
        # A burst is allowed, and a rate above the limit would seem to be none.
        call_rate = call_rate if budget is None else min(call_rate, budget)
        rates: dict[str, Any] = {"rate": rate, "call_rate": call_rate}
        return attrs.evolve(self._start, counters=counters, seconds=now - self._started, **rates)


@contextlib.contextmanager
def calling_at_intervals(function: Callable[[], object], interval: float) -> Generator[None]:
    """Call a function at intervals until it raises: progress that fails to show stops no job."""
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


@attrs.frozen
class Span:
    """The increase of the counters between two moments, in seconds since the start."""

    start: float
    end: float
    counts: Counters


@final
class Timeline:
    """
    Keeps samples at equal distances; the distance doubles when they become too many.

    The counters only grow, so leaving a sample out loses nothing but detail.
    """

    def __init__(self) -> None:
        self._samples = [(0.0, Counters())]
        # The time of the latest counters, and these.
        self.latest = self._samples[0]
        self._interval = _FIRST_INTERVAL

    def add(self, at: float, counts: Counters) -> None:
        """Add the counters since the start, *at* seconds after it, no less than the last time."""
        self.latest = (at, counts)
        if at < self._samples[-1][0] + self._interval:
            return
        self._samples.append(self.latest)
        if len(self._samples) > _MOST_SAMPLES:
            del self._samples[1::2]
            self._interval *= 2

    def spans(self, seconds: float = 0.0) -> list[Span]:
        """Return the spans between samples, each but the last of at least *seconds*."""
        spans: list[Span] = []
        (start, before), *samples = self._samples
        if self.latest is not self._samples[-1]:
            samples.append(self.latest)
        for at, counts in samples:
            if at - start >= seconds or at == self.latest[0]:
                spans.append(Span(start, at, counts - before))
                start, before = at, counts
        return spans
