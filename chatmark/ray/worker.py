"""
A worker of a job on a cluster: an actor with some of the users, whom it treats as a job.
"""

import asyncio
import contextlib
import pathlib
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import attrs

from chatmark.errors import UnsentError
from chatmark.jobs.counting import Addable
from chatmark.jobs.grouping.loading import Loaded
from chatmark.jobs.grouping.spool import Spool
from chatmark.jobs.options import Control, JobOptions
from chatmark.jobs.reports.progress import Counters, Progress
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.running import run_loaded
from chatmark.pacing import Budget, CallBudget
from chatmark.ray.budget import LeasedBudget
from chatmark.ray.engine import ray
from chatmark.ray.failures import FailureTables
from chatmark.ray.office import Account, OfficeLostError
from chatmark.ray.rowtable import changes
from chatmark.ray.sealed import BudgetMaker, Sealed
from chatmark.session import MarkSession

_INTERVAL: Final = 0.25


@attrs.frozen(kw_only=True)
class WorkerOptions:
    """
    What every worker is told, and anybody may know.

    Args:
        session: Options of the session: where to, and how.
        skip_unchanged: Whether to read what the server has, and send only what would change it.
        verify: Whether to read the conversations back and compare.
        keep_failures: Whether somebody wants to have them.
    """

    session: dict[str, Any] = attrs.field(factory=dict[str, Any])
    skip_unchanged: bool = False
    verify: bool = False
    keep_failures: bool = False


@attrs.frozen
class Load(Addable):
    """
    What a worker has to do.

    Args:
        changes: Changes of rows.
        units: Conversations of users.
        users: Users.
        calls: The fewest calls that can send them.
    """

    changes: int = 0
    units: int = 0
    users: int = 0
    calls: int = 0


class Worker:
    """
    The actor.

    Args:
        name: What the office calls it; no other worker ever has that name.
        options: What it is told.
    """

    def __init__(self, name: str, options: WorkerOptions) -> None:
        self._name = name
        self._options = options
        self._spool = Spool()
        self._control = Control()
        self._session: MarkSession | None = None
        self._progress = Progress(Counters(), None, 0.0, 0.0)
        # Its folder goes with it; after a `kill -9` it is Ray's session that is cleaned up.
        self._folder = tempfile.TemporaryDirectory(prefix="chatmark-", ignore_cleanup_errors=True)
        self._failures: FailureTables | None = None

    async def load(self, parts: Sequence[Any]) -> Load:
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
        spool = self._spool
        return Load(spool.changes, spool.units, spool.users, spool.calls)

    async def run(self, sealed: Sealed, office: Any) -> JobReport:
        """
        Send everything, and report.

        Args:
            sealed: Who calls.
            office: The actor to borrow calls from, None where there is none.
        """
        options = self._options
        failed = str(pathlib.Path(self._folder.name) / "failed.jsonl")
        job = JobOptions(
            failed=failed if options.keep_failures else None,
            skip_unchanged=options.skip_unchanged,
            verify=options.verify,
            interval=_INTERVAL,
        )
        credentials, maker = sealed.open()
        async with (
            self._budget(maker, office) as budget,
            MarkSession(credentials, budget=budget, **options.session) as session,
        ):
            self._session = session
            loaded = Loaded(self._name, self._spool, self._spool.changes, 0)
            report = await run_loaded(
                session, loaded, job, on_progress=self._note, control=self._control
            )
        if options.keep_failures:
            self._failures = FailureTables(pathlib.Path(failed))
        return report

    async def failures(self, names: Sequence[str]) -> Any:
        """
        Return some more of the rows that failed as a table, None where there are no more.

        Args:
            names: What the files of the job are called.
        """
        return None if self._failures is None else self._failures.next(names)

    async def progress(self) -> Counters:
        """
        Return how it is doing.
        """
        return self._progress.counters

    async def stop(self) -> None:
        """
        Send nothing more; what is in flight ends.
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
    async def _budget(self, maker: BudgetMaker | None, office: Any) -> AsyncGenerator[Budget]:
        async with AsyncExitStack() as stack:
            if maker is not None:
                yield await stack.enter_async_context(maker())
            elif office is None:
                yield CallBudget(None)
            else:
                budget = LeasedBudget(RayOffice(self._name, office))
                stack.push_async_callback(budget.aclose)
                yield budget


class RayOffice:
    """
    The office, as a worker reaches it.

    Args:
        name: The worker's.
        actor: The office's actor.
    """

    def __init__(self, name: str, actor: Any) -> None:
        self._name = name
        self._actor = actor

    async def take(self, wanted: int, account: Account, *, anew: bool) -> Sequence[int]:
        """
        See `Office.take`.
        """
        try:
            numbers: list[int] = await self._actor.take.remote(
                self._name, wanted, account, anew=anew
            )
        except ray.exceptions.RayActorError as error:
            raise OfficeLostError(type(error).__name__) from None
        return numbers

    def note(self, account: Account) -> None:
        """
        See `Office.note`.
        """
        self._actor.note.remote(account)

    def pause(self, seconds: float) -> None:
        """
        See `Office.pause`.
        """
        self._actor.pause.remote(seconds)
