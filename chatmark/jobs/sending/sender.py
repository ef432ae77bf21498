"""Sends units through a session. Each unit is started once and ends with exactly one outcome."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any, Final, final

import attrs

from chatmark import ChatmarkError, MarkChange, MarkResult, UnsentError
from chatmark.jobs.grouping import Unit
from chatmark.jobs.journal import JournalWriter, Settled
from chatmark.jobs.sending.accounts import (
    FINAL,
    Accounts,
    FailureLog,
    UnitOutcome,
    is_unanswered,
    outcome_of,
    refuses_all,
    subject_of,
)

if TYPE_CHECKING:
    from chatmark import MarkSession

# The server is taken for gone after so many units in a row without an answer before their deadline.
MOST_UNANSWERED: Final = 1000
# Units in flight at once: enough for parallel lanes, few enough for memory.
MOST_IN_FLIGHT: Final = 10_000
_STOPPED: Final = "the job was stopped before the outcome was known"


async def cancel_and_wait(task: "asyncio.Task[object]") -> None:
    """Cancel a task and wait until it has ended, even when cancelled oneself."""
    task.cancel()
    await _wait_through_cancellation(task)


async def _wait_through_cancellation(task: "asyncio.Task[object]") -> None:
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            # The caller closes the resources of the task next.
            cancelled = error
    if cancelled is not None:
        raise cancelled


@final
class Sender:
    """Sends units and counts their outcomes; *items* is how many it sent, counted each time."""

    def __init__(
        self,
        accounts: Accounts,
        failures: FailureLog,
        on_result: Callable[[Unit, MarkResult], object] | None,
    ) -> None:
        self.accounts = accounts
        self.failures = failures
        self._on_result = on_result
        self.journal: JournalWriter | None = None
        self.error: Exception | None = None
        self.is_stopped = False
        self.items = 0
        self._in_flight: dict[int, Unit] = {}
        self._applying: asyncio.Task[object] | None = None
        self._settled_some = asyncio.Event()
        self._submitted_some = asyncio.Event()
        self._unanswered = 0
        # Why the server did not get the last changes, None after any answer.
        self._unsent: ChatmarkError | None = None

    def stop(self, error: Exception | None = None) -> None:
        """Send nothing more; requests in flight end."""
        if not self.is_stopped:
            self.is_stopped = True
            self.error = error
            if self._applying is not None:
                self._applying.cancel()

    async def run(
        self, session: "MarkSession", batches: AsyncGenerator[list[Unit]], *, grouped: bool
    ) -> None:
        """
        Send units until there are no more, or the job is stopped; then wait for those in flight.

        An error of the session, or of the disk that has the units, stops the job, and so does one
        that kept the last changes from the server. Afterwards the journal is complete, or its error
        has stopped the job.

        The units of one batch are submitted together; a *grouped* one never gains by waiting for
        the next.
        """
        try:
            cancelled: asyncio.CancelledError | None = None
            async with contextlib.AsyncExitStack() as stack:
                if grouped:
                    flushing = asyncio.create_task(self._flush(session), name="chatmark-flush")
                    stack.push_async_callback(cancel_and_wait, flushing)
                source = await stack.enter_async_context(
                    contextlib.aclosing(self._changes(batches, grouped=grouped))
                )
                self._applying = asyncio.create_task(
                    session.apply(source, on_result=self._settle), name="chatmark-apply"
                )
                if self.is_stopped:
                    self._applying.cancel()
                try:
                    await asyncio.wait([self._applying])
                except asyncio.CancelledError as error:
                    # The first cancellation waits for requests in flight, the second only for the
                    # reader of the source.
                    cancelled = error
                    self.stop()
                    await _wait_through_cancellation(self._applying)
                await self._wait_until_in_flight(0)
            if cancelled is not None:
                raise cancelled
            if not self._applying.cancelled():
                self._applying.result()
        except (ChatmarkError, OSError) as error:
            self.stop(error)
        finally:
            if self.journal is not None:
                await self.journal.aclose()
                if self.journal.error is not None:
                    self.stop(self.journal.error)
        if self._unsent is not None:
            self._stop_for_all(self._unsent)

    def enter(self, unit: Unit, outcome: UnitOutcome, result: MarkResult) -> None:
        """Count a unit that needs no request, or gets none; *result* says why."""
        self.accounts.taken += unit.rows
        self._end(unit, outcome, result)

    async def _changes(
        self, batches: AsyncGenerator[list[Unit]], *, grouped: bool
    ) -> AsyncGenerator[list[MarkChange]]:
        async with contextlib.aclosing(batches):
            async for batch in batches:
                # Let requests go out even if there is room for everything.
                await asyncio.sleep(0)
                if grouped:
                    await self._wait_until_in_flight(MOST_IN_FLIGHT - len(batch))
                if self.journal is not None:
                    await self.journal.wait_for_room()
                for unit in batch:
                    self.accounts.taken += unit.rows
                    # The session gives each change a result, even if it accepts no more.
                    self._in_flight[id(unit.change)] = unit
                self._submitted_some.set()
                yield [unit.change for unit in batch]

    async def _wait_until_in_flight(self, most: int) -> None:
        while len(self._in_flight) > most:
            self._settled_some.clear()
            await self._settled_some.wait()

    async def _flush(self, session: "MarkSession") -> None:
        """Make the session send lanes that are not full: their users have no more changes."""
        with contextlib.suppress(ChatmarkError):
            while True:
                await self._submitted_some.wait()
                self._submitted_some.clear()
                await session.flush()

    def _settle(self, result: MarkResult) -> None:
        # A result has the very change that was submitted.
        unit = self._in_flight.pop(id(result.change))
        self.items += result.attempts
        self._settled_some.set()
        outcome, error = outcome_of(result), result.error
        if isinstance(error, UnsentError):
            # The session's text is about all changes that it gave up.
            error = ChatmarkError(_STOPPED)
            result = attrs.evolve(result, info=_STOPPED, error=error)
        self._end(unit, outcome, result)
        if error is None or not is_unanswered(error):
            self._unanswered = 0
            self._unsent = None
        else:
            self._unanswered += 1
            if outcome is UnitOutcome.NOT_SENT:
                self._unsent = error
        if error is not None and (refuses_all(error) or self._unanswered >= MOST_UNANSWERED):
            self._stop_for_all(error)

    def _stop_for_all(self, error: ChatmarkError) -> None:
        # The error that stops the job is not about one change alone.
        error = error.fresh()
        error.change = None
        self.stop(error)

    def _end(self, unit: Unit, outcome: UnitOutcome, result: MarkResult) -> None:
        self.accounts.add(outcome, unit.rows, result.code)
        answer: tuple[Any, ...] = ()
        if result.error is not None:
            answer = (result.code, result.info, result.attempts, subject_of(result))
            if outcome is not UnitOutcome.NOT_SENT:
                try:
                    self.failures.add(unit, result)
                except OSError as error:
                    self.stop(error)
        if self.journal is not None and outcome in FINAL:
            self.journal.add(Settled(unit.position, outcome, *answer))
        if self._on_result is not None:
            self._on_result(unit, result)
