"""A worker of a job on a cluster: an actor that sends the changes of some users."""

import asyncio
import contextlib
import pathlib
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import attrs

from chatmark import Budget, CallBudget, MarkSession, UnsentError
from chatmark.jobs.grouping.loading import Loaded
from chatmark.jobs.grouping.spool import Spool
from chatmark.jobs.grouping.units import Size
from chatmark.jobs.options import Control, JobOptions
from chatmark.jobs.reports.progress import Counters, Progress
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.running import run_loaded
from chatmark.ray.budget.actor import RemotePermits
from chatmark.ray.budget.remote import RemoteBudget
from chatmark.ray.input.row_tables import read_changes
from chatmark.ray.workers.failures import FailureTables
from chatmark.ray.workers.sealed import BudgetMaker, SealedSecrets

_INTERVAL: Final = 0.25


class Worker:
    """
    The actor.

    Args:
        name: The name of the worker for the permit server; no other worker has it.
        session: Options of the session.
        options: Options of the job.
    """

    def __init__(self, name: str, session: Mapping[str, Any], options: JobOptions) -> None:
        self._name = name
        self._session_options = session
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
        Group rows, and return the size of the job.

        Args:
            parts: References to tables, in the order of the input.

        Raises:
            OSError: The disk has no room for the rows.
        """
        for part in parts:
            table = await part
            await asyncio.to_thread(self._add, table)
        await asyncio.to_thread(self._spool.group)
        return self._spool.size

    async def run(self, sealed: SealedSecrets, permits: Any) -> JobReport:
        """
        Send everything, and return the report.

        Args:
            sealed: The credentials, and the maker of another budget.
            permits: The permit server, None without one.
        """
        credentials, maker = sealed.open()
        async with (
            self._open_budget(maker, permits) as budget,
            MarkSession(credentials, budget=budget, **self._session_options) as session,
        ):
            self._session = session
            loaded = Loaded(self._name, self._spool, self._spool.changes, 0)
            report = await run_loaded(
                session, loaded, self._options, on_progress=self._keep, control=self._control
            )
        if self._options.failed is not None:
            self._failures = FailureTables(self._failed)
        return report

    async def failures(self, names: Sequence[str]) -> Any:
        """Return the next table of failures, None after the last."""
        return None if self._failures is None else self._failures.next(names)

    async def progress(self) -> Counters:
        """Return the counters of the job."""
        return self._progress.counters

    async def stop(self) -> None:
        """Send nothing more; requests in flight end."""
        self._control.stop()
        if self._session is not None:
            # The report accounts for unsent changes.
            with contextlib.suppress(UnsentError):
                await self._session.close(send_waiting=False)

    def _keep(self, progress: Progress) -> None:
        self._progress = progress

    def _add(self, table: Any) -> None:
        for change, place in read_changes(table):
            self._spool.add(change, place)

    @asynccontextmanager
    async def _open_budget(self, maker: BudgetMaker | None, permits: Any) -> AsyncGenerator[Budget]:
        async with AsyncExitStack() as stack:
            if maker is not None:
                yield await stack.enter_async_context(maker())
            elif permits is None:
                yield CallBudget(None)
            else:
                budget = RemoteBudget(RemotePermits(self._name, permits))
                stack.push_async_callback(budget.aclose)
                yield budget
