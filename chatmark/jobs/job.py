"""
A file through a session, from its first row to what the server has at the end.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import attrs

from chatmark.errors import ChatmarkError
from chatmark.jobs.files import ChangeFile
from chatmark.jobs.intake import Intake
from chatmark.jobs.outcome import Outcome
from chatmark.jobs.readback import ReadBack, read_back
from chatmark.jobs.report import JobReport
from chatmark.jobs.spool import Spool
from chatmark.models import MarkedConversation, MarkReport

if TYPE_CHECKING:
    from chatmark.session import MarkSession

    Opened = AbstractAsyncContextManager[MarkSession]
    Watch = Callable[[MarkSession], AbstractAsyncContextManager[None]]


@attrs.define
class JobEnd:
    """
    How a job ended.

    Args:
        report: What became of the file.
        marked: The marked conversations of the users that were asked for.
        error: Why these, or the reading back, could not be had.
    """

    report: JobReport
    marked: dict[str, list[MarkedConversation]] = attrs.field(
        factory=dict[str, list[MarkedConversation]]
    )
    error: ChatmarkError | None = None


@attrs.define
class Job:
    """
    Sends what a file says.

    Cancelling `run` ends the job early: no further row is read, what is in flight ends.

    Args:
        file: The file.
        intake: Its changes.
        outcome: What became of them.
        verify: Whether to read the conversations back and compare.
        users: Whose marked conversations to read at the end.
    """

    file: ChangeFile
    intake: Intake
    outcome: Outcome
    verify: bool = False
    users: Sequence[str] = ()
    _session: "MarkSession | None" = attrs.field(default=None, init=False)
    _marks: MarkReport | None = attrs.field(default=None, init=False)
    _read_back: ReadBack | None = attrs.field(default=None, init=False)

    async def run(self, opened: "Opened", watch: "Watch") -> JobEnd:
        """
        Send the changes and return how it ended; an interruption is an ending too.

        Args:
            opened: The session, to be opened and closed here.
            watch: Makes what runs while changes are sent.

        Raises:
            OSError: The file could not be read, or the failures not be written.
            SessionError: The session broke.
        """
        started = asyncio.get_running_loop().time()
        marked: dict[str, list[MarkedConversation]] = {}
        error: ChatmarkError | None = None
        interrupted = False
        try:
            async with opened as self._session:
                async with watch(self._session):
                    self._marks = await self._session.apply(self.intake, on_result=self.outcome.add)
                try:
                    await self._look(marked)
                except ChatmarkError as caught:
                    error = caught
        except asyncio.CancelledError:
            interrupted = True
        elapsed = asyncio.get_running_loop().time() - started
        return JobEnd(self._report(interrupted=interrupted, elapsed=elapsed), marked, error)

    async def _look(self, marked: dict[str, list[MarkedConversation]]) -> None:
        session = self._session
        if session is None or self.intake.error is not None:
            return
        if self.verify:
            with Spool() as spool:
                for change in self.file.changes():
                    spool.add(change, 0)
                spool.group()
                self._read_back = await read_back(session, spool)
        for user in self.users:
            marked[user] = [each async for each in session.marked(user)]

    def _report(self, *, interrupted: bool, elapsed: float) -> JobReport:
        stats = None if self._session is None else self._session.stats
        marks = self._marks
        if marks is None:
            # The session knows what became of the changes that nobody waits for any more.
            marks = MarkReport(elapsed=elapsed)
            if stats is not None:
                marks = MarkReport(
                    succeeded=stats.succeeded,
                    failed=stats.failed,
                    withdrawn=stats.withdrawn,
                    calls=stats.calls,
                    retries=stats.retries,
                    failures_by_code=dict(stats.failures_by_code),
                    elapsed=elapsed,
                )
        return JobReport(
            file=self.file.name,
            rows=self.intake.rows,
            changes=self.intake.changes,
            marks=marks,
            failures=self.outcome.failures,
            retries_by_reason={} if stats is None else stats.retries_by_reason,
            interrupted=interrupted,
            bad_row=None if self.intake.error is None else str(self.intake.error),
            read_back=self._read_back,
        )
