"""
The process that started a job: it has partitions sent, one after another, notes each, and sums up.

A lost sender costs the partition that it sent: its successor sends that one again, and the report
counts the results of the successor. A partition whose senders are lost again and again is given up.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, Protocol, cast, final

import attrs

from chatmark import ChatmarkError, MarkResult
from chatmark.jobs.grouping.spool import Spool
from chatmark.jobs.journal.database import Run
from chatmark.jobs.options import JobOptions
from chatmark.jobs.reports.monitor import Monitor
from chatmark.jobs.reports.progress import Counters, Progress
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.sending.accounts import Accounts
from chatmark.jobs.sending.failures import FailureLog
from chatmark.jobs.sending.sender import MOST_UNANSWERED
from chatmark.jobs.sources.row import set_aside_row
from chatmark.jobs.tasks import cancel_and_wait
from chatmark.ray.input.partitions import Input, Partition
from chatmark.ray.sending.books import Books
from chatmark.ray.sending.checkpoint import Checkpoint, Sent
from chatmark.results import logger

# A sender may be lost with its machine. If its successors are lost too, the cause is another one.
_MOST_LOSSES: Final = 3


class SenderLostError(ChatmarkError):
    """The process that sent a partition was lost."""


class PartitionSender(Protocol):
    """Sends one partition at a time; `send` raises SenderLostError when a successor is ready."""

    async def send(self, partition: Partition) -> Sent: ...
    async def counters(self, partition: Partition) -> Counters: ...
    async def spool(self, partition: Partition) -> Spool: ...
    def stop(self) -> None: ...


@final
class Driver:
    """
    Has the partitions of a job sent.

    Args:
        given: The input.
        options: How the job is run.
        sender: Sends a partition.
        failures: The failures of the job.
        checkpoint: Notes each partition.
    """

    def __init__(
        self,
        given: Input,
        options: JobOptions,
        sender: PartitionSender,
        failures: FailureLog,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self._given = given
        self._options = options
        self._sender = sender
        self._checkpoint = checkpoint
        bad = len(given.bad)
        self._books = Books(given.size.changes + bad, bad, failures, options.target)
        self._earlier: list[Run] = []
        self._unanswered = self._given_up = self._unwritten = 0
        self._unverified: ChatmarkError | None = None

    async def run(self, on_progress: Callable[[Progress], object] | None = None) -> JobReport:
        """Send what is not noted, and return the report."""
        books, given = self._books, self._given
        for error in given.bad:
            books.failures.add_row(set_aside_row(error))
        left = self._left()
        both, total = cast("Any", books), books.accounts.total
        monitor = Monitor(both, both, self._options, total=total, on_progress=on_progress)
        async with monitor.following():
            for partition in left:
                if books.is_stopped:
                    break
                async with self._polling(partition):
                    try:
                        await self._send(partition)
                    except Exception as error:  # noqa: BLE001 - the report accounts for the rest.
                        self.stop(error)
        if books.read_back is not None:
            books.add_reading()
            monitor.count_reading(books.read_back.conversations, books.reading.seconds)
        report = monitor.report(
            given.name,
            given.rows,
            conversations=given.size.units,
            earlier_runs=self._earlier,
            job=given.digest,
            earlier_phases=given.phases,
            read_back=None if books.is_stopped else books.read_back,
            unverified=self._unverified,
        )
        return attrs.evolve(report, unwritten=self._unwritten)

    def stop(self, error: Exception | None = None) -> None:
        """Send nothing more; requests in flight end."""
        if not self._books.is_stopped:
            self._books.is_stopped = True
            self._books.error = error
            self._sender.stop()

    def _left(self) -> list[Partition]:
        """Count the partitions that earlier starts have noted, and return the others."""
        if self._checkpoint is None:
            return [*self._given.partitions]
        left: list[Partition] = []
        notes = self._checkpoint.notes(self._given.partitions)
        for partition, sent in zip(self._given.partitions, notes, strict=True):
            if sent is None:
                left.append(partition)
                continue
            self._books.add_accounts(sent)
            self._earlier += [Run()] * (sent.start + 1 - len(self._earlier))
            runs = self._earlier[sent.start] + sent.report.run
            self._earlier[sent.start] = attrs.evolve(runs, number=1)
        return left

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
                await self._add(partition, attrs.evolve(sent, start=len(self._earlier)))
                return
        await self._give_up(partition)

    async def _add(self, partition: Partition, sent: Sent) -> None:
        report, accounts = sent.report, sent.report.accounts
        if self._checkpoint is not None and accounts.settled == accounts.total:
            try:
                await asyncio.to_thread(self._checkpoint.note, partition, sent)
            except OSError as error:
                self._unwritten += partition.size.units
                self.stop(error)
        self._books.add(sent)
        self._unverified = self._unverified or report.unverified
        if report.stopped is not None:
            self.stop(report.stopped)
        # A partition may be too small to tell that the server is gone.
        self._given_up = 0
        self._unanswered = 0 if accounts.settled else self._unanswered + accounts.unconfirmed
        if self._unanswered >= MOST_UNANSWERED and report.failures:
            self.stop(report.failures[-1][1].error)

    async def _give_up(self, partition: Partition) -> None:
        """Count a partition as unconfirmed; after two in a row the cluster is at fault."""
        lost = SenderLostError(
            f"the sender of partition {partition.index} was lost {_MOST_LOSSES} times; read the "
            "cluster's logs"
        )
        self._given_up += 1
        if self._given_up > 1:
            self.stop(lost)
        changes = partition.size.changes
        accounts = Accounts(taken=changes, unconfirmed=changes)
        self._books.add_accounts(Sent(JobReport(file="", rows=0, accounts=accounts)))
        with await self._sender.spool(partition) as spool:
            for unit in spool:
                result = MarkResult(unit.change, None, str(lost), 1, lost)
                self._books.failures.add(unit, result)

    @contextlib.asynccontextmanager
    async def _polling(self, partition: Partition) -> AsyncGenerator[None]:
        async def poll() -> None:
            while True:
                await asyncio.sleep(self._options.interval)
                self._books.show(await self._sender.counters(partition))

        task = asyncio.create_task(poll(), name="chatmark-poll")
        try:
            yield
        finally:
            await cancel_and_wait(task)
