"""Follows a running job: its progress, its timeline, and the report at its end."""

import asyncio
import contextlib
import datetime as dt
from collections import Counter
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, final

from chatmark.jobs.counting import Phase
from chatmark.jobs.journal import Run
from chatmark.jobs.options import JobOptions
from chatmark.jobs.reports.progress import Counters, Meter, Progress, Timeline, calling_at_intervals
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.sending.sender import Sender

if TYPE_CHECKING:
    from chatmark import MarkSession


@final
class Monitor:
    """Follows a *sender* that sends through a *session*, from now on."""

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
        self._total = total
        self._on_progress = on_progress
        self._loop = asyncio.get_running_loop()
        self._before = session.stats
        self._started = self._loop.time()
        self._started_at = dt.datetime.now(dt.UTC)
        # Calls that read have a rate limit of their own, so that none limits the sum.
        self._looks_up = options.skip_unchanged or options.undo is not None
        self._budget = None if self._looks_up else options.calls_per_second
        # The timeline is that of this run alone.
        self._earlier = self._counters()
        self._timeline = Timeline()
        # Sending, as far as it has ended, and conversations that were read back.
        self._sending = Run()
        self._read = 0

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
        """Report progress and keep the timeline while the block sends."""
        meter = Meter(
            self._total,
            self._started,
            done=self._earlier.done,
            budget=self._budget,
            several_limits=self._looks_up,
        )

        def sample() -> Counters:
            counters = self._counters()
            self._timeline.add(self.run().seconds, counters - self._earlier)
            return counters

        with self._telling(meter, sample):
            try:
                yield
            finally:
                sample()
                self._sending = self.run()

    @contextlib.contextmanager
    def following_reading(self, total: int, done: Callable[[], int]) -> Generator[None]:
        """Report the progress of reading back while the block runs."""
        now, budget = self._loop.time(), self._options.calls_per_second
        meter = Meter(total, now, budget=budget, things="conversations", phase="verify")
        before = self.run().calls
        with self._telling(meter, lambda: Counters(done(), self.run().calls - before)):
            try:
                yield
            finally:
                self._read = done()

    def count_reading(self, conversations: int, seconds: float) -> None:
        """Count some of the time as that of reading back, which took turns with sending."""
        self._read = conversations
        self._sending -= Run(seconds=seconds)

    def report(
        self, name: str, rows: int, earlier_phases: tuple[Phase, ...] = (), **more: object
    ) -> JobReport:
        """Return the report; the *earlier_phases* were those of reading the input."""
        sender, stats, before = self._sender, self._session.stats, self._before
        accounts, run = sender.accounts, self._sending
        reading = self.run() - run
        phases = [
            *earlier_phases,
            Phase("send", "changes", accounts.ended_now, run.seconds, run.calls),
        ]
        if reading.calls:
            phases.append(
                Phase("verify", "conversations", self._read, reading.seconds, reading.calls)
            )
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

    @contextlib.contextmanager
    def _telling(self, meter: Meter, counters: Callable[[], Counters]) -> Generator[None]:
        def tell() -> None:
            now = meter.at(self._loop.time(), counters())
            if self._on_progress is not None:
                self._on_progress(now)

        with calling_at_intervals(tell, self._options.interval):
            yield

    def _counters(self) -> Counters:
        accounts = self._sender.accounts
        return Counters(accounts.done, self.run().calls, self._retries(), accounts.failures)

    def _retries(self) -> Counter[str]:
        stats = self._session.stats
        return Counter(stats.retries_by_reason) - Counter(self._before.retries_by_reason)
