"""
Following a job: progress while it runs, a timeline, and the report at its end.
"""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, final

from chatmark.jobs.journal.database import Run
from chatmark.jobs.options import JobOptions
from chatmark.jobs.reports.progress import Meter, Progress, Reading
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.reports.ticking import ticking
from chatmark.jobs.reports.timeline import Counts, Timeline
from chatmark.jobs.sending.job import Job

if TYPE_CHECKING:
    from chatmark.session import MarkSession


@final
class Watch:
    """
    Follows a job that runs in a session.

    Args:
        session: The session; what it did before is not the job's.
        job: The job.
        options: How it is run.
        total: Its changes in all, None where nobody knows.
        on_progress: Called with how it is doing.
    """

    def __init__(
        self,
        session: "MarkSession",
        job: Job,
        options: JobOptions,
        *,
        total: int | None,
        on_progress: Callable[[Progress], object] | None,
    ) -> None:
        self._session = session
        self._job = job
        self._options = options
        self._on_progress = on_progress
        self._loop = asyncio.get_running_loop()
        self._before = session.stats
        self._started = self._loop.time()
        self._started_at = dt.datetime.now(dt.UTC)
        self._meter = Meter(total, self._started, done=job.accounts.done, budget=options.budget)
        self._timeline = Timeline()
        self._end: Run | None = None
        # What earlier runs settled is no part of this run's timeline.
        self._earlier = self._counts(Run())

    def run(self) -> Run:
        """
        Return what this run did so far.
        """
        stats, before = self._session.stats, self._before
        return Run(
            stats.calls - before.calls,
            self._job.items,
            stats.retries - before.retries,
            self._loop.time() - self._started,
        )

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncGenerator[None]:
        """
        Tell how the job is doing, and keep its timeline, while the block runs.
        """
        async with ticking(self._look, self._options.interval):
            try:
                yield
            finally:
                # What is read back comes after the job.
                self._end = self.run()

    @contextlib.asynccontextmanager
    async def following_reading(self, total: int, done: Callable[[], int]) -> AsyncGenerator[None]:
        """
        Tell how reading back goes while the block runs.

        Args:
            total: Conversations to be read.
            done: Returns how many of them have been.
        """
        options = self._options
        meter = Meter(
            total, self._loop.time(), budget=options.budget, things="conversations read back"
        )
        before = self.run().calls

        def look() -> None:
            if self._on_progress is not None:
                reading = Reading(done(), self.run().calls - before)
                self._on_progress(meter.at(self._loop.time(), reading))

        async with ticking(look, options.interval):
            yield

    def report(self, name: str, rows: int, **more: object) -> JobReport:
        """
        Return the report.
        """
        run, all_run = self._end or self.run(), self.run()
        self._note(run)
        stats, before, job = self._session.stats, self._before, self._job
        return JobReport(
            file=name,
            rows=rows,
            accounts=self._job.accounts,
            run=run,
            reading=Run(all_run.calls - run.calls, seconds=all_run.seconds - run.seconds),
            failures=self._job.outcome.failures,
            retries_by_reason=self._retries(),
            pauses=stats.pauses - before.pauses,
            paused=stats.paused - before.paused,
            started_at=self._started_at,
            timeline=self._timeline,
            interrupted=job.is_stopped and job.error is None,
            stopped=job.error,
            unwritten=0 if job.journal is None else job.journal.unwritten,
            **more,  # type: ignore[arg-type]
        )

    def _look(self) -> None:
        run, accounts = self.run(), self._job.accounts
        self._note(run)
        if self._on_progress is not None:
            failures = dict(accounts.refused)
            if accounts.unconfirmed:
                failures[None] = failures.get(None, 0) + accounts.unconfirmed
            reading = Reading(accounts.done, run.calls, self._retries(), failures)
            self._on_progress(self._meter.at(self._loop.time(), reading))

    def _note(self, run: Run) -> None:
        self._timeline.add(run.seconds, self._counts(run) - self._earlier)

    def _counts(self, run: Run) -> Counts:
        accounts = self._job.accounts
        failed = accounts.all_refused + accounts.unconfirmed
        return Counts(accounts.applied + accounts.unchanged, failed, run.calls, run.retries)

    def _retries(self) -> dict[str, int]:
        before = self._before.retries_by_reason
        return {
            reason: count - before.get(reason, 0)
            for reason, count in self._session.stats.retries_by_reason.items()
            if count > before.get(reason, 0)
        }
