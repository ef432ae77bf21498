"""
The workers of a job: started, monitored, and replaced if they are lost.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import attrs

from chatmark.errors import ChatmarkError
from chatmark.events import logger
from chatmark.jobs.grouping.units import Size
from chatmark.jobs.options import JobOptions
from chatmark.jobs.reports.progress import Counters
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.sending.accounts import Accounts
from chatmark.ray.budget.server import PermitServer
from chatmark.ray.runtime import plain, ray
from chatmark.ray.workers.failures import FailureFolder
from chatmark.ray.workers.sealed import Sealed
from chatmark.ray.workers.summing import counters_of
from chatmark.ray.workers.worker import Worker

# A worker may be lost with its machine. If its successors are lost, too, there is another reason.
_MOST_LOSSES: Final = 3


class WorkerLostError(ChatmarkError):
    """
    A worker was lost again and again.
    """

    def __init__(self, index: int, losses: int) -> None:
        super().__init__(f"worker {index} was lost {losses} times; the cluster's logs say why")


class _PermitServerActor(PermitServer):
    def __init__(self, calls_per_second: float) -> None:
        context = ray.get_runtime_context()
        super().__init__(calls_per_second, is_successor=context.was_current_actor_reconstructed)


@attrs.define
class _Slot:
    """
    The users of one worker, and the actor that has them.
    """

    index: int
    parts: list[Any]
    actor: Any = None
    name: str = ""
    losses: int = 0
    size: Size = attrs.field(factory=Size)
    counters: Counters = attrs.field(factory=Counters)
    started: float = 0.0
    report: JobReport | None = None


@final
class WorkerPool:
    """
    The workers.

    Args:
        parts: The rows of each, as references to tables.
        session: Options of each worker's session.
        options: How the job is run.
        calls_per_second: The most calls of all workers, None with another budget or
            without one.

    Attributes:
        error: The error that stopped the job, unless a worker's report has it.
        is_stopped: Whether it ends, or ended, early.
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
            # It ends with the process that started the job.
            here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                ray.get_runtime_context().get_node_id(), soft=True
            )
            self._permits = (
                ray.remote(_PermitServerActor)
                .options(num_cpus=0, max_restarts=-1, scheduling_strategy=here)
                .remote(calls_per_second)
            )
        self._is_killed = False
        self.error: Exception | None = None
        self.is_stopped = False

    async def load(self) -> Size:
        """
        Start all workers with their rows; return what they have to send.

        Raises:
            WorkerLostError: One was lost again and again.
            OSError: One has no room for its rows.
        """
        try:
            await asyncio.gather(*map(self._load, self._slots))
        except ray.exceptions.RayTaskError as error:
            raise plain(error) from None
        return sum((slot.size for slot in self._slots), Size())

    async def run(
        self, sealed: Sealed, names: Sequence[str], folder: FailureFolder | None
    ) -> list[tuple[float, JobReport]]:
        """
        Run all workers; return the report of each, and the time at which it began.

        Args:
            sealed: The credentials.
            names: The names of the files.
            folder: Where failures are written.
        """
        await asyncio.gather(*(self._run(slot, sealed, names, folder) for slot in self._slots))
        return [(slot.started, slot.report or _given_up(slot)) for slot in self._slots]

    async def counters(self) -> Counters:
        """
        Return how all are doing.
        """
        await asyncio.gather(*(self._look(slot) for slot in self._slots))
        return sum((slot.counters for slot in self._slots), Counters())

    def stop(self, error: Exception | None = None) -> None:
        """
        Send nothing more; requests in flight end.
        """
        if not self.is_stopped:
            self.is_stopped = True
            self.error = error
            for slot in self._slots:
                if slot.actor is not None and slot.report is None:
                    slot.actor.stop.remote()

    def kill(self) -> None:
        """
        End all workers at once; the outcome of their changes is unknown.
        """
        self.is_stopped = self._is_killed = True
        for slot in self._slots:
            self._dismiss(slot)
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
        self, slot: _Slot, sealed: Sealed, names: Sequence[str], folder: FailureFolder | None
    ) -> None:
        try:
            while slot.report is None and not self._is_killed:
                with contextlib.suppress(_Lost):
                    await self._load(slot)
                    await self._work(slot, sealed, names, folder)
        except (ChatmarkError, OSError, ray.exceptions.RayError) as error:
            self.stop(plain(error))
        finally:
            self._dismiss(slot)

    async def _work(
        self, slot: _Slot, sealed: Sealed, names: Sequence[str], folder: FailureFolder | None
    ) -> None:
        slot.started = asyncio.get_running_loop().time()
        if self.is_stopped:
            # It was started after the stop.
            slot.actor.stop.remote()
        try:
            report: JobReport = await slot.actor.run.remote(sealed, self._permits)
            if report.stopped is not None:
                self.stop(report.stopped)
            if folder is not None:
                with folder.file(f"part-{slot.index:05}") as file:
                    while (table := await slot.actor.failures.remote(names)) is not None:
                        file.write(table)
        except ray.exceptions.RayActorError:
            self._note_loss(slot)
            raise _Lost from None
        slot.report = report
        slot.counters = counters_of(report)

    async def _look(self, slot: _Slot) -> None:
        if slot.actor is not None and slot.report is None:
            with contextlib.suppress(ray.exceptions.RayError):
                slot.counters = await slot.actor.progress.remote()

    def _note_loss(self, slot: _Slot) -> None:
        """
        Prepare to replace a lost worker from its first row, unless that is useless.
        """
        self._dismiss(slot)
        slot.counters = Counters()
        slot.losses += 1
        if self.is_stopped or slot.losses > _MOST_LOSSES:
            raise WorkerLostError(slot.index, slot.losses)
        logger.warning("worker %d was lost: its users are done again", slot.index)

    def _dismiss(self, slot: _Slot) -> None:
        actor, slot.actor = slot.actor, None
        if actor is None:
            return
        # It may only have been out of reach: two must not work on the same users.
        ray.kill(actor)
        if self._permits is not None:
            self._permits.part.remote(slot.name)


class _Lost(Exception):  # noqa: N818 - it is no error, and leaves this module never.
    pass


def _given_up(slot: _Slot) -> JobReport:
    """
    Return the report of users whose worker was lost with its counters.
    """
    changes = slot.size.changes
    accounts = Accounts(total=changes, taken=changes, unconfirmed=changes)
    return JobReport(file="", rows=changes, accounts=accounts, conversations=slot.size.units)
