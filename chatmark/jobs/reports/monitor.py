"""Monitoring of a running job: progress, a timeline, and the report at its end."""

import asyncio
import contextlib
import datetime as dt
from collections import Counter
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, final

import attrs

from chatmark.jobs.counting import Phase
from chatmark.jobs.journal import Run
from chatmark.jobs.options import JobOptions
from chatmark.jobs.reports.progress import Counters, Meter, Progress, calling_at_intervals
from chatmark.jobs.reports.report import JobReport, Throughput, Timeline
from chatmark.jobs.sending.sender import Sender

if TYPE_CHECKING:
    from chatmark import MarkSession


@final
class Monitor:
    """Monitors a job that runs in a session."""

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
        looks_up = options.skip_unchanged or options.undo is not None
        self._budget = budget = None if looks_up else options.calls_per_second
        self._meter = Meter(total, self._started, done=sender.accounts.done, budget=budget)
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
            undo=self._options.undo,
            calls_per_second=self._budget,
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
