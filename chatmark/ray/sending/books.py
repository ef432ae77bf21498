"""The sums over the partitions of a job."""

import itertools
from collections import Counter
from typing import Final, final

import attrs

from chatmark.jobs.counting import Addable
from chatmark.jobs.journal.database import Run
from chatmark.jobs.reports.progress import Counters
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.reports.timeline import Throughput
from chatmark.jobs.sending.accounts import Accounts
from chatmark.jobs.sending.failures import FailureLog
from chatmark.jobs.server.readback import ReadBack

_MOST_KEPT: Final = 20


@attrs.frozen
class Stats(Addable):
    """Those counters of a session that a report has."""

    calls: int = 0
    retries: int = 0
    retries_by_reason: Counter[str] = attrs.field(factory=Counter[str])
    pauses: int = 0
    paused: float = 0.0


@final
class Books:
    """
    The sums, as a `Monitor` wants them of a session and of its sender.

    Args:
        accounts: The changes of the job.
        failures: The failures of the job.
        target: The application and its server.

    Attributes:
        error: The error that stopped the job.
        is_stopped: Whether the job ends, or ended, early.
        items: How many units were sent, counted each time.
        reading: Calls of reading back.
        earlier: What earlier starts of the job did.
        earlier_runs: Their calls.
        unwritten: Settled units that are not in the checkpoint.
        read_back: The result of reading back.
    """

    journal = None

    def __init__(self, accounts: Accounts, failures: FailureLog, target: str) -> None:
        self.failures = failures
        self.target = target
        self.error: Exception | None = None
        self.is_stopped = False
        self.items = self.unwritten = 0
        self.reading = Run(number=0)
        self.earlier = Throughput()
        self.earlier_runs: list[Run] = []
        self.read_back: ReadBack | None = None
        self._accounts = accounts
        self._stats = Stats()
        self._sending = Counters()

    @property
    def accounts(self) -> Accounts:
        """The accounts, with those of the partition that is sent."""
        failed = self._sending.failures_by_code
        applied = self._sending.done - failed.total()
        return self._accounts + Accounts(applied=applied, refused=failed)

    @property
    def stats(self) -> Stats:
        """The counters of sessions, with those of the partition that is sent."""
        counters = self._sending
        retries = counters.retries_by_reason
        return self._stats + Stats(counters.calls, retries.total(), retries)

    def show(self, counters: Counters) -> None:
        """Show the counters of the partition that is sent; they never go back."""
        if counters.done >= self._sending.done:
            self._sending = counters

    def add(self, report: JobReport) -> None:
        """Add a partition that was sent."""
        self._sending = Counters()
        run, accounts = report.run, report.accounts
        retries = Counter(report.retries_by_reason)
        self._accounts += attrs.evolve(accounts, total=0)
        self._stats += Stats(run.calls, run.retries, retries, report.pauses, report.paused or 0.0)
        self.items += run.items
        self.reading += report.reading
        self.unwritten += report.unwritten
        both = itertools.zip_longest(self.earlier_runs, report.earlier_runs, fillvalue=Run())
        self.earlier_runs = [attrs.evolve(ours + theirs, number=1) for ours, theirs in both]
        all_runs = Throughput(accounts.applied + accounts.unchanged, accounts.failures.total())
        this_run = sum((span.counts for span in report.timeline.spans()), Throughput())
        self.earlier += attrs.evolve(all_runs - this_run, calls=0, retries=0)
        if report.read_back is not None:
            self.read_back = (self.read_back or ReadBack()) + report.read_back
            del self.read_back.differences[_MOST_KEPT:]

    def add_reading(self) -> None:
        """Count the calls of reading back, too."""
        self._stats += Stats(self.reading.calls)

    def give_up(self, changes: int) -> None:
        """Add a partition of which nothing is known."""
        self._sending = Counters()
        self._accounts += Accounts(taken=changes, unconfirmed=changes)
