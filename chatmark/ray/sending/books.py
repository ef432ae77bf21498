"""The sums over the partitions of a job, as a `Monitor` wants them of a session and a sender."""

from collections import Counter
from typing import Final, final

import attrs

from chatmark.jobs.counting import Addable
from chatmark.jobs.journal import Run
from chatmark.jobs.reports.progress import Counters
from chatmark.jobs.sending.accounts import Accounts, FailureLog
from chatmark.jobs.server import ReadBack
from chatmark.ray.sending.checkpoint import Sent

_MOST_KEPT: Final = 20


@attrs.frozen
class Stats(Addable):
    """The counters of a session that a report has."""

    calls: int = 0
    retries: int = 0
    retries_by_reason: Counter[str] = attrs.field(factory=Counter[str])
    pauses: int = 0
    paused: float = 0.0


@final
class Books:
    """
    The sums.

    Args:
        total: The changes of the job, and the rows that are set aside.
        set_aside: The latter alone.
        failures: The failures of the job.
        target: The application and its server.
    """

    def __init__(self, total: int, set_aside: int, failures: FailureLog, target: str) -> None:
        self.failures = failures
        self.target = target
        self.journal = None
        self.error: Exception | None = None
        self.is_stopped = False
        self.items = 0
        self.reading = Run(number=0)
        self.read_back: ReadBack | None = None
        self._accounts = Accounts(total, set_aside)
        self._stats = Stats()
        self._shown = Counters()

    @property
    def accounts(self) -> Accounts:
        """The accounts, with those of the partition that is sent."""
        failed = self._shown.failures_by_code
        return self._accounts + Accounts(applied=self._shown.done - failed.total(), refused=failed)

    @property
    def stats(self) -> Stats:
        """The counters, with those of the partition that is sent."""
        retries = self._shown.retries_by_reason
        return self._stats + Stats(self._shown.calls, retries.total(), retries)

    def show(self, counters: Counters) -> None:
        """Show the counters of the partition that is sent; they never go back."""
        if counters.done >= self._shown.done:
            self._shown = counters

    def add_accounts(self, sent: Sent) -> None:
        """Add the changes and the failures of a partition."""
        report = sent.report
        self._shown = Counters()
        self._accounts += attrs.evolve(report.accounts, total=0)
        for row in sent.rows():
            self.failures.add_row(row)
        for unit, result in report.failures:
            self.failures.keep(unit, result)
        self.failures.subjects.update(report.subjects)

    def add(self, sent: Sent) -> None:
        """Add a partition that was sent."""
        report, run = sent.report, sent.report.run
        self.add_accounts(sent)
        retries = Counter(report.retries_by_reason)
        self._stats += Stats(run.calls, run.retries, retries, report.pauses, report.paused or 0.0)
        self.items += run.items
        self.reading += report.reading
        if report.read_back is not None:
            self.read_back = (self.read_back or ReadBack()) + report.read_back
            del self.read_back.differences[_MOST_KEPT:]

    def add_reading(self) -> None:
        """Count the calls of reading back, too."""
        self._stats += Stats(self.reading.calls)
