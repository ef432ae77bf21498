"""The workers of a job: the pool starts and monitors them, and replaces those that are lost."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import attrs

from chatmark import ChatmarkError
from chatmark.events import logger
from chatmark.jobs.grouping.units import Size
from chatmark.jobs.options import JobOptions
from chatmark.jobs.reports.progress import Counters
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.sending.accounts import Accounts
from chatmark.ray.budget.actor import start_permit_server
from chatmark.ray.runtime import cause_of, raising_causes, ray
from chatmark.ray.workers.failures import FailureFolder
from chatmark.ray.workers.reports import counters_of
from chatmark.ray.workers.sealed import SealedSecrets
from chatmark.ray.workers.worker import Worker

# A worker may be lost with its machine. If its successors are lost too, the cause is another one.
_MOST_LOSSES: Final = 3


class WorkerLostError(ChatmarkError):
    """A worker was lost again and again."""

    def __init__(self, index: int, losses: int) -> None:
        super().__init__(f"worker {index} was lost {losses} times; read the cluster's logs")


@attrs.define
class _Slot:
    """The users of one worker, and the actor that has them."""

    index: int
    parts: list[Any]
    actor: Any = None
    name: str = ""
    losses: int = 0
    size: Size = attrs.field(factory=Size)
    counters: Counters = attrs.field(factory=Counters)
    started: float = 0.0
    report: JobReport | None = None

    @property
    def is_running(self) -> bool:
        """Whether an actor has these users, and has not reported."""
        return self.actor is not None and self.report is None

    def final_report(self) -> JobReport:
        """Return the report; all changes of a lost worker are unconfirmed."""
        if self.report is not None:
            return self.report
        changes = self.size.changes
        accounts = Accounts(total=changes, taken=changes, unconfirmed=changes)
        return JobReport(file="", rows=changes, accounts=accounts, conversations=self.size.units)


@final
class WorkerPool:
    """
    The workers.

    Args:
        parts: The rows of each worker, as references to tables.
        session: Options of each worker's session.
        options: How the job is run.
        calls_per_second: The most calls of all workers; None for another budget or none.

    Attributes:
        error: The error that stopped the job, unless a worker's report has it.
        is_stopped: Whether the job ends, or ended, early.
    """

    def __init__(
        self,
        parts: Sequence[list[Any]],
        session: Mapping[str, Any],
        options: JobOptions,
        calls_per_second: float | None,
    ) -> None:
        self._session = session
        self._options = options
        self._slots = [_Slot(index, each) for index, each in enumerate(parts)]
        self._permits: Any = None
        if calls_per_second is not None:
            self._permits = start_permit_server(calls_per_second)
        self._is_killed = False
        self.error: Exception | None = None
        self.is_stopped = False

    async def load(self) -> Size:
        """
        Start all workers with their rows, and return the size of the job.

        Raises:
            WorkerLostError: A worker was lost again and again.
            OSError: A worker has no room for its rows.
        """
        with raising_causes():
            await asyncio.gather(*map(self._load, self._slots))
        return sum((slot.size for slot in self._slots), Size())

    async def run(
        self, sealed: SealedSecrets, names: Sequence[str], folder: FailureFolder | None
    ) -> list[tuple[float, JobReport]]:
        """
        Run all workers, and return the start time and the report of each.

        Args:
            sealed: The credentials.
            names: The names of the files.
            folder: Receives the failures.
        """
        await asyncio.gather(*(self._run(slot, sealed, names, folder) for slot in self._slots))
        return [(slot.started, slot.final_report()) for slot in self._slots]

    async def counters(self) -> Counters:
        """Return the counters of all workers together."""
        await asyncio.gather(*map(self._update_counters, self._slots))
        return sum((slot.counters for slot in self._slots), Counters())

    def stop(self, error: Exception | None = None) -> None:
        """Send nothing more; requests in flight end."""
        if not self.is_stopped:
            self.is_stopped = True
            self.error = error
            for slot in self._slots:
                if slot.is_running:
                    slot.actor.stop.remote()

    def kill(self) -> None:
        """End all workers at once; the outcome of their changes is unknown."""
        self.is_stopped = self._is_killed = True
        for slot in self._slots:
            self._kill(slot)
        if self._permits is not None:
            ray.kill(self._permits)
            self._permits = None

    async def _load(self, slot: _Slot) -> None:
        while slot.actor is None:
            slot.name = f"{slot.index}.{slot.losses}"
            slot.actor = (
                ray.remote(Worker)
                .options(num_cpus=1, scheduling_strategy="SPREAD")
                .remote(slot.name, self._session, self._options)
            )
            try:
                slot.size = await slot.actor.load.remote(slot.parts)
            except ray.exceptions.RayActorError:
                self._note_loss(slot)

    async def _run(
        self, slot: _Slot, sealed: SealedSecrets, names: Sequence[str], folder: FailureFolder | None
    ) -> None:
        try:
            while slot.report is None and not self._is_killed:
                await self._load(slot)
                try:
                    await self._send(slot, sealed, names, folder)
                except ray.exceptions.RayActorError:
                    self._note_loss(slot)
        except (ChatmarkError, OSError, ray.exceptions.RayError) as error:
            self.stop(cause_of(error))
        finally:
            self._kill(slot)

    async def _send(
        self, slot: _Slot, sealed: SealedSecrets, names: Sequence[str], folder: FailureFolder | None
    ) -> None:
        slot.started = asyncio.get_running_loop().time()
        if self.is_stopped:
            # The worker was started after the stop.
            slot.actor.stop.remote()
        report: JobReport = await slot.actor.run.remote(sealed, self._permits)
        if report.stopped is not None:
            self.stop(report.stopped)
        if folder is not None:
            with folder.file(f"part-{slot.index:05}") as file:
                while (table := await slot.actor.failures.remote(names)) is not None:
                    file.write(table)
        slot.report = report
        slot.counters = counters_of(report)

    async def _update_counters(self, slot: _Slot) -> None:
        if slot.is_running:
            with contextlib.suppress(ray.exceptions.RayError):
                slot.counters = await slot.actor.progress.remote()

    def _note_loss(self, slot: _Slot) -> None:
        """Prepare to replace a lost worker from its first row, unless the job ends."""
        self._kill(slot)
        slot.counters = Counters()
        slot.losses += 1
        if self.is_stopped or slot.losses > _MOST_LOSSES:
            raise WorkerLostError(slot.index, slot.losses)
        logger.warning("worker %d was lost: a new worker sends its changes again", slot.index)

    def _kill(self, slot: _Slot) -> None:
        actor, slot.actor = slot.actor, None
        if actor is None:
            return
        # A lost worker may only be out of reach: two workers must not send for the same users.
        ray.kill(actor)
        if self._permits is not None:
            self._permits.dismiss.remote(slot.name)
