"""
A worker of a job on a cluster: an actor that runs a job for some of the users.
"""

import asyncio
import contextlib
import pathlib
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import attrs

from chatmark.failures import UnsentError
from chatmark.jobs.grouping.loading import Loaded
from chatmark.jobs.grouping.spool import Spool
from chatmark.jobs.grouping.units import Size
from chatmark.jobs.options import Control, JobOptions
from chatmark.jobs.reports.progress import Counters, Progress
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.running import run_loaded
from chatmark.pacing.budget import MARKING, Budget, CallBudget
from chatmark.ray.budget.remote import RemoteBudget
from chatmark.ray.budget.server import PermitReport, PermitServerLostError
from chatmark.ray.input.row_tables import changes
from chatmark.ray.runtime import ray
from chatmark.ray.workers.failures import FailureTables
from chatmark.ray.workers.sealed import BudgetMaker, Sealed
from chatmark.session.session import MarkSession

_INTERVAL: Final = 0.25


class Worker:
    """
    The actor.

    Args:
        name: Its unique name for the permit server.
        session: Options of its session.
        options: How its job is run.
    """

    def __init__(self, name: str, session: Mapping[str, Any], options: JobOptions) -> None:
        self._name = name
        self._session_options = session
        # Its folder goes with it; after a `kill -9` Ray cleans up its own session.
        self._folder = tempfile.TemporaryDirectory(prefix="chatmark-", ignore_cleanup_errors=True)
        self._failed = pathlib.Path(self._folder.name) / "failed.jsonl"
        self._options = attrs.evolve(
            options,
            failed=None if options.failed is None else str(self._failed),
            interval=_INTERVAL,
        )
        self._spool = Spool()
        self._control = Control()
        self._session: MarkSession | None = None
        self._progress = Progress(Counters(), None, 0.0, 0.0)
        self._failures: FailureTables | None = None

    async def load(self, parts: Sequence[Any]) -> Size:
        """
        Take rows, and group them.

        Args:
            parts: References to tables, in the order of the input.

        Raises:
            OSError: There is no room for them.
        """
        for part in parts:
            table = await part
            await asyncio.to_thread(self._add, table)
        await asyncio.to_thread(self._spool.group)
        return self._spool.size

    async def run(self, sealed: Sealed, permits: Any) -> JobReport:
        """
        Send everything, and report.

        Args:
            sealed: The credentials.
            permits: The permit server, None without one.
        """
        credentials, maker = sealed.open()
        async with (
            self._budget(maker, permits) as budget,
            MarkSession(credentials, budget=budget, **self._session_options) as session,
        ):
            self._session = session
            loaded = Loaded(self._name, self._spool, self._spool.changes, 0)
            report = await run_loaded(
                session, loaded, self._options, on_progress=self._note, control=self._control
            )
        if self._options.failed is not None:
            self._failures = FailureTables(self._failed)
        return report

    async def failures(self, names: Sequence[str]) -> Any:
        """
        Return a table of some more failures, None after the last.
        """
        return None if self._failures is None else self._failures.next(names)

    async def progress(self) -> Counters:
        """
        Return how it is doing.
        """
        return self._progress.counters

    async def stop(self) -> None:
        """
        Send nothing more; requests in flight end.
        """
        self._control.stop()
        if self._session is not None:
            # The report accounts for what is given up.
            with contextlib.suppress(UnsentError):
                await self._session.close(send_waiting=False)

    def _note(self, progress: Progress) -> None:
        self._progress = progress

    def _add(self, table: Any) -> None:
        for change, place in changes(table):
            self._spool.add(change, place)

    @asynccontextmanager
    async def _budget(self, maker: BudgetMaker | None, permits: Any) -> AsyncGenerator[Budget]:
        async with AsyncExitStack() as stack:
            if maker is not None:
                yield await stack.enter_async_context(maker())
            elif permits is None:
                yield CallBudget(None)
            else:
                budget = RemoteBudget(RemotePermits(self._name, permits))
                stack.push_async_callback(budget.aclose)
                yield budget


class RemotePermits:
    """
    The permit server, as a worker reaches it.

    Args:
        name: The worker's.
        actor: The actor of the permit server.
        command: The command whose calls are counted.
    """

    def __init__(self, name: str, actor: Any, command: str = MARKING) -> None:
        self._name = name
        self._actor = actor
        self._command = command

    def of(self, command: str) -> "RemotePermits":
        """
        See `PermitSource.of`.
        """
        return RemotePermits(self._name, self._actor, command)

    async def take(self, wanted: int, account: PermitReport, *, anew: bool) -> Sequence[int]:
        """
        See `PermitSource.take`.
        """
        try:
            numbers: list[int] = await self._actor.take.remote(
                self._command, self._name, wanted, account, anew=anew
            )
        except ray.exceptions.RayActorError as error:
            raise PermitServerLostError(type(error).__name__) from None
        return numbers

    def note(self, account: PermitReport) -> None:
        """
        See `PermitSource.note`.
        """
        self._actor.note.remote(self._command, account)

    def pause(self, seconds: float) -> None:
        """
        See `PermitSource.pause`.
        """
        self._actor.pause.remote(self._command, seconds)
