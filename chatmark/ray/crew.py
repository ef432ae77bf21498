"""
The workers of a job, as the one who started it sees them: hired, watched, and replaced when lost.
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
from chatmark.ray.engine import plain, ray
from chatmark.ray.failures import FailureFolder
from chatmark.ray.office import OfficeDesk
from chatmark.ray.sealed import Sealed
from chatmark.ray.summing import counters_of
from chatmark.ray.worker import Worker

# A worker may be lost with its machine. One whose successors are lost as well has another reason.
_MOST_LOSSES: Final = 3


class WorkerLostError(ChatmarkError):
    """
    A worker was lost again and again.
    """

    def __init__(self, index: int, losses: int) -> None:
        super().__init__(f"worker {index} was lost {losses} times; the cluster's logs say why")


class _OfficeActor(OfficeDesk):
    def __init__(self, calls_per_second: float) -> None:
        context = ray.get_runtime_context()
        super().__init__(calls_per_second, is_successor=context.was_current_actor_reconstructed)


@attrs.define
class _Post:
    """
    The users of one worker, and whoever works on them.
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
class Crew:
    """
    The workers.

    Args:
        parts: The rows of each, as references to tables.
        session: Options of each worker's session.
        options: How the job is run.
        calls_per_second: The most calls of all of them, None where another budget counts them or
            none does.

    Attributes:
        error: What stopped the job, where no worker says so.
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
        self._posts = [_Post(index, each) for index, each in enumerate(parts)]
        self._office: Any = None
        if calls_per_second is not None:
            # Whatever ends the one who started the job ends it, too.
            here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                ray.get_runtime_context().get_node_id(), soft=True
            )
            self._office = (
                ray.remote(_OfficeActor)
                .options(num_cpus=0, max_restarts=-1, scheduling_strategy=here)
                .remote(calls_per_second)
            )
        self._is_killed = False
        self.error: Exception | None = None
        self.is_stopped = False

    async def load(self) -> Size:
        """
        Hire all, and give them their rows; return what they have to do together.

        Raises:
            WorkerLostError: One was lost again and again.
            OSError: One has no room for its rows.
        """
        try:
            await asyncio.gather(*map(self._load, self._posts))
        except ray.exceptions.RayTaskError as error:
            raise plain(error) from None
        return sum((post.size for post in self._posts), Size())

    async def run(
        self, sealed: Sealed, names: Sequence[str], folder: FailureFolder | None
    ) -> list[tuple[float, JobReport]]:
        """
        Let all do what they have; return the report of each, and when it began.

        Args:
            sealed: Who calls.
            names: What the files are called.
            folder: Where failures are written.
        """
        await asyncio.gather(*(self._run(post, sealed, names, folder) for post in self._posts))
        return [(post.started, post.report or _given_up(post)) for post in self._posts]

    async def counters(self) -> Counters:
        """
        Return how all are doing.
        """
        await asyncio.gather(*(self._look(post) for post in self._posts))
        return sum((post.counters for post in self._posts), Counters())

    def stop(self, error: Exception | None = None) -> None:
        """
        Send nothing more; what is in flight ends.
        """
        if not self.is_stopped:
            self.is_stopped = True
            self.error = error
            for post in self._posts:
                if post.actor is not None and post.report is None:
                    post.actor.stop.remote()

    def kill(self) -> None:
        """
        End all at once; nobody knows what became of what they had.
        """
        self.is_stopped = self._is_killed = True
        for post in self._posts:
            self._dismiss(post)
        if self._office is not None:
            ray.kill(self._office)
            self._office = None

    async def _load(self, post: _Post) -> None:
        while post.actor is None:
            post.name = f"{post.index}.{post.losses}"
            post.actor = (
                ray.remote(Worker)
                .options(num_cpus=1, scheduling_strategy="SPREAD")
                .remote(post.name, self._session, self._options)
            )
            try:
                post.size = await post.actor.load.remote(post.parts)
            except ray.exceptions.RayActorError:
                self._note_loss(post)

    async def _run(
        self, post: _Post, sealed: Sealed, names: Sequence[str], folder: FailureFolder | None
    ) -> None:
        try:
            while post.report is None and not self._is_killed:
                with contextlib.suppress(_Lost):
                    await self._load(post)
                    await self._work(post, sealed, names, folder)
        except (ChatmarkError, OSError, ray.exceptions.RayError) as error:
            self.stop(plain(error))
        finally:
            self._dismiss(post)

    async def _work(
        self, post: _Post, sealed: Sealed, names: Sequence[str], folder: FailureFolder | None
    ) -> None:
        post.started = asyncio.get_running_loop().time()
        if self.is_stopped:
            # It was hired too late to be told.
            post.actor.stop.remote()
        try:
            report: JobReport = await post.actor.run.remote(sealed, self._office)
            if report.stopped is not None:
                self.stop(report.stopped)
            if folder is not None:
                with folder.file(f"part-{post.index:05}") as file:
                    while (table := await post.actor.failures.remote(names)) is not None:
                        file.write(table)
        except ray.exceptions.RayActorError:
            self._note_loss(post)
            raise _Lost from None
        post.report = report
        post.counters = counters_of(report)

    async def _look(self, post: _Post) -> None:
        if post.actor is not None and post.report is None:
            with contextlib.suppress(ray.exceptions.RayError):
                post.counters = await post.actor.progress.remote()

    def _note_loss(self, post: _Post) -> None:
        """
        Let somebody else do what a worker had, from its first row, or nobody where that is in vain.
        """
        self._dismiss(post)
        post.counters = Counters()
        post.losses += 1
        if self.is_stopped or post.losses > _MOST_LOSSES:
            raise WorkerLostError(post.index, post.losses)
        logger.warning("worker %d was lost: its users are done again", post.index)

    def _dismiss(self, post: _Post) -> None:
        actor, post.actor = post.actor, None
        if actor is None:
            return
        # It may only have been out of reach: two must not work on the same users.
        ray.kill(actor)
        if self._office is not None:
            self._office.part.remote(post.name)


class _Lost(Exception):  # noqa: N818 - it is no error, and leaves this module never.
    pass


def _given_up(post: _Post) -> JobReport:
    """
    Return the report of users whose worker was lost, with all that it knew.
    """
    changes = post.size.changes
    accounts = Accounts(total=changes, taken=changes, unconfirmed=changes)
    return JobReport(file="", rows=changes, accounts=accounts, conversations=post.size.units)
