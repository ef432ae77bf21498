"""
The process that started a job: it has partitions sent, one after another, and sums up.

A lost sender costs the partition that it sent: its successor sends that one again, and the report
counts the results of the successor. A partition whose senders are lost again and again is given up.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Final, Protocol, cast, final

import attrs

from chatmark import ChatmarkError, MarkResult
from chatmark.events import logger
from chatmark.jobs.counting import Phase
from chatmark.jobs.grouping.spool import Spool
from chatmark.jobs.options import JobOptions
from chatmark.jobs.reports.monitor import Monitor
from chatmark.jobs.reports.progress import Counters, Progress
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.sending.accounts import Accounts
from chatmark.jobs.sending.failures import FailureLog
from chatmark.jobs.sending.sender import MOST_UNANSWERED
from chatmark.jobs.sources.row import RowError, set_aside_row
from chatmark.jobs.tasks import cancel_and_wait
from chatmark.ray.input.partitions import Partition
from chatmark.ray.sending.books import Books

# A sender may be lost with its machine. If its successors are lost too, the cause is another one.
_MOST_LOSSES: Final = 3


class SenderLostError(ChatmarkError):
    """The process that sent a partition was lost."""


@attrs.frozen
class Sent:
    """The report of a partition, and the rows that failed, as JSON Lines."""

    report: JobReport
    failed: bytes = b""


class PartitionSender(Protocol):
    """The sender of partitions; it sends one at a time."""

    async def send(self, partition: Partition) -> Sent:
        """
        Send a partition.

        Raises:
            SenderLostError: The sender was lost; it runs again, and knows nothing.
        """
        ...

    async def counters(self, partition: Partition) -> Counters | None:
        """Return the counters of a partition that is sent, None if the sender is lost."""
        ...

    async def spool(self, partition: Partition) -> Spool:
        """Return the changes of a partition."""
        ...

    def stop(self) -> None:
        """Send nothing more; requests in flight end."""


@attrs.frozen
class Input:
    """
    The input of a job, in partitions.

    Args:
        name: The name in messages.
        rows: How many rows it has, bad rows included.
        bad: The rows that are set aside.
        digest: The digest of all its changes.
        partitions: The others.
        phases: Checking and grouping.
    """

    name: str
    rows: int
    bad: Sequence[RowError]
    digest: str
    partitions: Sequence[Partition]
    phases: tuple[Phase, ...] = ()


@final
class Driver:
    """
    Has the partitions of a job sent.

    Args:
        given: The input.
        options: How the job is run.
        sender: Sends a partition.
        failures: The failures of the job.
    """

    def __init__(
        self, given: Input, options: JobOptions, sender: PartitionSender, failures: FailureLog
    ) -> None:
        self._given = given
        self._options = options
        self._sender = sender
        self._failures = failures
        self._unanswered = self._given_up = 0
        self._unverified: ChatmarkError | None = None
        bad = len(given.bad)
        changes = sum(partition.size.changes for partition in given.partitions)
        accounts = Accounts(total=changes + bad, set_aside=bad)
        self._books = Books(accounts, failures, options.target)

    async def run(self, on_progress: Callable[[Progress], object] | None = None) -> JobReport:
        """Send everything, and return the report."""
        books, given = self._books, self._given
        for error in given.bad:
            self._failures.add_row(set_aside_row(error))
        as_both = cast("Any", books)
        total = books.accounts.total
        monitor = Monitor(as_both, as_both, self._options, total=total, on_progress=on_progress)
        async with monitor.following():
            for partition in given.partitions:
                if books.is_stopped:
                    break
                async with self._polling(partition):
                    try:
                        await self._send(partition)
                    except Exception as error:  # noqa: BLE001 - the report accounts for the rest.
                        self.stop(error)
                monitor.earlier = books.earlier
        if books.read_back is not None:
            books.add_reading()
            monitor.count_reading(books.read_back.conversations, books.reading.seconds)
        report = monitor.report(
            given.name,
            given.rows,
            conversations=sum(partition.size.units for partition in given.partitions),
            earlier_runs=books.earlier_runs,
            job=given.digest,
            earlier_phases=given.phases,
            read_back=None if books.is_stopped else books.read_back,
            unverified=self._unverified,
        )
        return attrs.evolve(report, unwritten=books.unwritten)

    def stop(self, error: Exception | None = None) -> None:
        """Send nothing more; requests in flight end."""
        if not self._books.is_stopped:
            self._books.is_stopped = True
            self._books.error = error
            self._sender.stop()

    async def _send(self, partition: Partition) -> None:
        """Send a partition, again if its sender is lost, and add up what became of it."""
        for _ in range(_MOST_LOSSES):
            try:
                sent = await self._sender.send(partition)
            except SenderLostError as error:
                if self._books.is_stopped:
                    break
                logger.warning("%s: partition %d is sent again", error, partition.index)
            else:
                self._given_up = 0
                self._add(sent)
                return
        await self._give_up(partition)

    def _add(self, sent: Sent) -> None:
        report, failures = sent.report, self._failures
        self._books.add(report)
        for unit, result in report.failures:
            failures.keep(unit, result)
        failures.subjects.update(report.subjects)
        for line in sent.failed.splitlines():
            failures.add_row(json.loads(line))
        self._unverified = self._unverified or report.unverified
        if report.stopped is not None:
            self.stop(report.stopped)
        # A partition may be too small to tell that the server is gone.
        accounts = report.accounts
        is_answered = accounts.settled > accounts.earlier
        self._unanswered = 0 if is_answered else self._unanswered + accounts.unconfirmed
        if self._unanswered >= MOST_UNANSWERED and report.failures:
            self.stop(report.failures[-1][1].error)

    async def _give_up(self, partition: Partition) -> None:
        """Count a partition as unconfirmed; after two in a row the cluster is at fault."""
        lost = SenderLostError(
            f"the sender of partition {partition.index} was lost {_MOST_LOSSES} times; read the "
            "cluster's logs"
        )
        self._books.give_up(partition.size.changes)
        self._given_up += 1
        if self._given_up > 1:
            self.stop(lost)
        with await self._sender.spool(partition) as spool:
            for unit in spool:
                self._failures.add(unit, MarkResult(unit.change, None, str(lost), 1, lost))

    @contextlib.asynccontextmanager
    async def _polling(self, partition: Partition) -> AsyncGenerator[None]:
        async def poll() -> None:
            while True:
                await asyncio.sleep(self._options.interval)
                counters = await self._sender.counters(partition)
                if counters is not None:
                    self._books.show(counters)

        task = asyncio.create_task(poll(), name="chatmark-poll")
        try:
            yield
        finally:
            await cancel_and_wait(task)
