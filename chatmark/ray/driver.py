"""
The process that started a job: it has partitions sent, one after another, notes each, and sums up.

A lost sender costs the partition that it sent: its successor sends that one again, and the report
counts the results of the successor. A partition whose senders are lost again and again is given up.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, Protocol, cast, final

import attrs

from chatmark import ChatmarkError, MarkResult, MarkSession
from chatmark.events import logger
from chatmark.jobs.counting import Addable
from chatmark.jobs.grouping import Loaded, Unit
from chatmark.jobs.journal import Run
from chatmark.jobs.options import Control, JobOptions
from chatmark.jobs.reports.monitor import Monitor
from chatmark.jobs.reports.progress import Counters, Progress
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.running import run_loaded
from chatmark.jobs.sending.accounts import Accounts, FailureLog, UnitOutcome, outcome_of
from chatmark.jobs.sending.sender import MOST_UNANSWERED
from chatmark.jobs.server import ReadBack
from chatmark.jobs.sources.row import set_aside_row
from chatmark.ray.checkpoint import Checkpoint
from chatmark.ray.input import Input, Partition

# A sender may be lost with its machine. If its successors are lost too, the cause is another one.
_MOST_LOSSES: Final = 3
_MOST_DIFFERENCES: Final = 20


class SenderLostError(ChatmarkError):
    """The process that sent a partition was lost."""


async def send_partition(
    session: MarkSession,
    options: JobOptions,
    partition: Partition,
    data: bytes,
    on_progress: Callable[[Progress], object] | None = None,
    control: Control | None = None,
) -> JobReport:
    """Send a partition from its dumped spool, and return a report with all failures."""
    failures: list[tuple[Unit, MarkResult]] = []

    def keep(unit: Unit, result: MarkResult) -> None:
        if result.error is not None and outcome_of(result) is not UnitOutcome.NOT_SENT:
            failures.append((unit, result))

    options = attrs.evolve(options, failed=None, journal=None)
    spool = partition.spool(data)
    with Loaded("", spool, spool.changes, 0) as loaded:
        report = await run_loaded(
            session, loaded, options, on_progress=on_progress, on_result=keep, control=control
        )
    return attrs.evolve(report, failures=failures)


class PartitionSender(Protocol):
    """
    Sends partitions; yields counters at intervals, and a report with all failures at the end.

    It raises SenderLostError when it was lost and its successor is ready.
    """

    def send(self, partition: Partition) -> AsyncGenerator[Counters | JobReport]: ...
    def stop(self) -> None: ...


@attrs.frozen
class _Stats(Addable):
    """The counters of a session that a report has."""

    calls: int = 0
    retries: int = 0
    retries_by_reason: Counter[str] = attrs.field(factory=Counter[str])
    pauses: int = 0
    paused: float = 0.0


@final
class Driver:
    """Has the partitions of a job sent. A `Monitor` takes it for their session and their sender."""

    def __init__(
        self,
        given: Input,
        options: JobOptions,
        sender: PartitionSender,
        failures: FailureLog,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.failures = failures
        self.journal = None
        self.error: Exception | None = None
        self.is_stopped = False
        self.items = 0
        self._given = given
        self._options = options
        self._sender = sender
        self._checkpoint = checkpoint
        bad = len(given.bad)
        self._accounts = Accounts(given.size.changes + bad, bad)
        self._stats = _Stats()
        # Those of the partition that is sent.
        self._shown = Counters()
        self._reading = Run()
        self._read_back: ReadBack | None = None
        self._earlier: list[Run] = []
        self._unanswered = self._given_up = self._unwritten = 0
        self._unverified: ChatmarkError | None = None

    @property
    def accounts(self) -> Accounts:
        """The accounts, with those of the partition that is sent."""
        failed = self._shown.failures_by_code
        return self._accounts + Accounts(applied=self._shown.done - failed.total(), refused=failed)

    @property
    def stats(self) -> _Stats:
        """The counters, with those of the partition that is sent."""
        retries = self._shown.retries_by_reason
        return self._stats + _Stats(self._shown.calls, retries.total(), retries)

    async def run(self, on_progress: Callable[[Progress], object] | None = None) -> JobReport:
        """Send what is not noted, and return the report."""
        given = self._given
        for error in given.bad:
            self.failures.add_row(set_aside_row(error))
        left = self._left()
        both, total = cast("Any", self), self._accounts.total
        monitor = Monitor(both, both, self._options, total=total, on_progress=on_progress)
        with monitor.following():
            for partition in left:
                if self.is_stopped:
                    break
                try:
                    await self._send(partition)
                except Exception as error:  # noqa: BLE001 - the report accounts for the rest.
                    self.stop(error)
        if self._read_back is not None:
            self._stats += _Stats(self._reading.calls)
            monitor.count_reading(self._read_back.conversations, self._reading.seconds)
        report = monitor.report(
            given.name,
            given.rows,
            conversations=given.size.units,
            earlier_runs=self._earlier,
            job=given.digest,
            earlier_phases=given.phases,
            read_back=None if self.is_stopped else self._read_back,
            unverified=self._unverified,
        )
        return attrs.evolve(report, unwritten=self._unwritten)

    def stop(self, error: Exception | None = None) -> None:
        """Send nothing more; requests in flight end."""
        if not self.is_stopped:
            self.is_stopped = True
            self.error = error
            self._sender.stop()

    def _left(self) -> list[Partition]:
        """Count the partitions that earlier starts have noted, and return the others."""
        if self._checkpoint is None:
            return [*self._given.partitions]
        left: list[Partition] = []
        found = self._checkpoint.reports(self._given.partitions)
        for partition, noted in zip(self._given.partitions, found, strict=True):
            if noted is None:
                left.append(partition)
                continue
            start, report = noted
            self._add_outcomes(report)
            self._earlier += [Run()] * (start + 1 - len(self._earlier))
            self._earlier[start] += report.run
        return left

    async def _send(self, partition: Partition) -> None:
        """Send a partition, again if its sender is lost, and add up what became of it."""
        for _ in range(_MOST_LOSSES):
            try:
                async with contextlib.aclosing(self._sender.send(partition)) as sending:
                    async for news in sending:
                        if isinstance(news, JobReport):
                            await self._add(partition, news)
                            return
                        # The counters of a successor begin again; those shown never go back.
                        if news.done >= self._shown.done:
                            self._shown = news
            except SenderLostError as error:
                if self.is_stopped:
                    break
                logger.warning("%s: partition %d is sent again", error, partition.index)
        await self._give_up(partition)

    async def _add(self, partition: Partition, report: JobReport) -> None:
        run, accounts, start = report.run, report.accounts, len(self._earlier)
        if self._checkpoint is not None and accounts.settled == accounts.total:
            try:
                await asyncio.to_thread(self._checkpoint.note, partition, start, report)
            except OSError as error:
                self._unwritten += partition.size.units
                self.stop(error)
        self._add_outcomes(report)
        retries = Counter(report.retries_by_reason)
        self._stats += _Stats(run.calls, run.retries, retries, report.pauses, report.paused or 0.0)
        self.items += run.items
        self._reading += report.reading
        if report.read_back is not None:
            self._read_back = (self._read_back or ReadBack()) + report.read_back
            del self._read_back.differences[_MOST_DIFFERENCES:]
        self._unverified = self._unverified or report.unverified
        if report.stopped is not None:
            self.stop(report.stopped)
        # A partition may be too small to tell that the server is gone.
        self._given_up = 0
        self._unanswered = 0 if accounts.settled else self._unanswered + accounts.unconfirmed
        if self._unanswered >= MOST_UNANSWERED and report.failures:
            self.stop(report.failures[-1][1].error)

    def _add_outcomes(self, report: JobReport) -> None:
        self._shown = Counters()
        self._accounts += attrs.evolve(report.accounts, total=0)
        for unit, result in report.failures:
            self.failures.add(unit, result)

    async def _give_up(self, partition: Partition) -> None:
        """Count a partition as unconfirmed; after two in a row the cluster is at fault."""
        lost = SenderLostError(
            f"the sender of partition {partition.index} was lost {_MOST_LOSSES} times; read the "
            "cluster's logs"
        )
        self._given_up += 1
        if self._given_up > 1:
            self.stop(lost)
        self._shown = Counters()
        changes = partition.size.changes
        self._accounts += Accounts(taken=changes, unconfirmed=changes)
        with partition.spool(await partition.data) as spool:
            for unit in spool:
                self.failures.add(unit, MarkResult(unit.change, None, str(lost), 1, lost))
