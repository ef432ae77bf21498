"""Monitoring of a running job: progress with rates, a timeline, and the report at its end."""

import asyncio
import contextlib
import datetime as dt
from collections import Counter, deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final, final

import attrs

from chatmark.jobs.counting import Addable, Phase, counted, duration, troubles
from chatmark.jobs.journal import Run
from chatmark.jobs.options import JobOptions
from chatmark.jobs.reports.report import JobReport, Throughput, Timeline
from chatmark.jobs.sending.sender import Sender

if TYPE_CHECKING:
    from chatmark import MarkSession

# Rates cover the last seconds, so that a pause shows.
_WINDOW: Final = 10.0


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


@final
class Monitor:
    def __init__(
        self,
        session: "MarkSession",
        sender: Sender,
        options: JobOptions,
        *,
        total: int | None,
        on_progress: Callable[[Progress], object] | None,
    ) -> None:
        self._session = session
        self._sender = sender
        self._options = options
        self._on_progress = on_progress
        self._loop = asyncio.get_running_loop()
        self._before = session.stats
        self._started = self._loop.time()
        self._started_at = dt.datetime.now(dt.UTC)
        # Calls that read have a rate limit of their own, so that none limits the sum.
        self._looks_up = options.skip_unchanged or options.undo is not None
        self._budget = None if self._looks_up else options.calls_per_second
        limits: dict[str, Any] = {"budget": self._budget, "several_limits": self._looks_up}
        self._meter = Meter(total, self._started, done=sender.accounts.done, **limits)
        self._timeline = Timeline()
        self._end: Run | None = None
        self._read = 0
        # The timeline is that of this run alone.
        self._earlier = self._counts(Run())

    def run(self) -> Run:
        stats, before = self._session.stats, self._before
        return Run(
            stats.calls - before.calls,
            self._sender.items,
            stats.retries - before.retries,
            self._loop.time() - self._started,
        )

    @contextlib.contextmanager
    def following(self) -> Generator[None]:
        """Report progress and keep the timeline while the block runs."""

        def sample() -> None:
            run, accounts = self.run(), self._sender.accounts
            self._timeline.add(run.seconds, self._counts(run) - self._earlier)
            failures = accounts.failures
            self._show(self._meter, Counters(accounts.done, run.calls, self._retries(), failures))

        with calling_at_intervals(sample, self._options.interval):
            try:
                yield
            finally:
                # Reading back comes after the job.
                self._end = self.run()

    @contextlib.contextmanager
    def following_reading(self, total: int, done: Callable[[], int]) -> Generator[None]:
        """Report the progress of reading back while the block runs."""
        now, budget = self._loop.time(), self._options.calls_per_second
        meter = Meter(total, now, budget=budget, things="conversations", phase="verify")
        before = self.run().calls

        def sample() -> None:
            self._show(meter, Counters(done(), self.run().calls - before))

        with calling_at_intervals(sample, self._options.interval):
            try:
                yield
            finally:
                self._read = done()

    def count_reading(self, conversations: int, seconds: float) -> None:
        """Count some of the time as that of reading back, which took turns with sending."""
        self._read = conversations
        run = self._end or self.run()
        self._end = attrs.evolve(run, seconds=run.seconds - seconds)

    def report(
        self, name: str, rows: int, earlier_phases: tuple[Phase, ...] = (), **more: object
    ) -> JobReport:
        """Return the report; the *earlier_phases* were those of reading the input."""
        run, all_run = self._end or self.run(), self.run()
        self._timeline.add(run.seconds, self._counts(run) - self._earlier)
        sender, stats, before = self._sender, self._session.stats, self._before
        accounts = sender.accounts
        reading = Run(all_run.calls - run.calls, seconds=all_run.seconds - run.seconds)
        ended = max(accounts.ended - accounts.earlier, 0)
        phases = [*earlier_phases, Phase("send", "changes", ended, run.seconds, run.calls)]
        if reading.calls:
            verify = ("verify", "conversations", self._read, reading.seconds, reading.calls)
            phases.append(Phase(*verify))
        return JobReport(
            file=name,
            rows=rows,
            accounts=accounts,
            run=run,
            reading=reading,
            target=self._options.target or self._session.target,
            phases=phases,
            calls_per_second=self._budget,
            several_limits=self._looks_up,
            subjects=sender.failures.subjects,
            failures=sender.failures.first,
            retries_by_reason=self._retries(),
            pauses=stats.pauses - before.pauses,
            paused=stats.paused - before.paused,
            started_at=self._started_at,
            timeline=self._timeline,
            interrupted=sender.is_stopped and sender.error is None,
            stopped=sender.error,
            unwritten=0 if sender.journal is None else sender.journal.unwritten,
            **more,  # type: ignore[arg-type]
        )

    def _show(self, meter: Meter, counters: Counters) -> None:
        if self._on_progress is not None:
            self._on_progress(meter.at(self._loop.time(), counters))

    def _counts(self, run: Run) -> Throughput:
        accounts = self._sender.accounts
        applied = accounts.applied + accounts.unchanged
        return Throughput(applied, accounts.failures.total(), run.calls, run.retries)

    def _retries(self) -> Counter[str]:
        stats = self._session.stats
        return Counter(stats.retries_by_reason) - Counter(self._before.retries_by_reason)
