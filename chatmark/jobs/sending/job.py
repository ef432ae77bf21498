"""
Units through a session: each is taken up once, and ends in exactly one fate.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Final, final

import attrs

from chatmark.errors import (
    ApplicationRefusedError,
    ChatmarkError,
    DeadlineExceededError,
    RefusedError,
    UnsentError,
)
from chatmark.jobs.grouping.spool import Unit
from chatmark.jobs.journal.database import Settled
from chatmark.jobs.journal.writer import JournalWriter
from chatmark.jobs.sending.accounts import Accounts
from chatmark.jobs.sending.batches import MOST_UNDER_WAY
from chatmark.jobs.sending.failures import Outcome
from chatmark.jobs.sending.outcomes import FINAL, Fate, fate_of, refuses_all
from chatmark.jobs.tasks import end, outlast
from chatmark.models import MarkChange, MarkResult

if TYPE_CHECKING:
    from chatmark.session import MarkSession

# So many units in a row that no answer came for in all their time.
_MOST_UNANSWERED: Final = 1000
_STOPPED: Final = "the job was stopped before the outcome was known"


def _is_unanswered(error: ChatmarkError | None) -> bool:
    return isinstance(error, DeadlineExceededError) and not isinstance(error.last, RefusedError)


@final
class Job:
    """
    Sends units and enters what becomes of them.

    Args:
        accounts: The books.
        outcome: Keeps the failures.

    Attributes:
        accounts: The books.
        outcome: The failures.
        journal: Writes the journal, where there is one.
        error: What stopped the job before its end.
        items: How many units were sent, counted each time.
    """

    def __init__(self, accounts: Accounts, outcome: Outcome) -> None:
        self.accounts = accounts
        self.outcome = outcome
        self._under_way: dict[int, Unit] = {}
        self._applying: asyncio.Task[object] | None = None
        self._moved = asyncio.Event()
        self._has_news = asyncio.Event()
        self._is_stopped = False
        self._unanswered = 0
        self.journal: JournalWriter | None = None
        self.error: Exception | None = None
        self.items = 0

    def stop(self, error: Exception | None = None) -> None:
        """
        Send nothing more; what is in flight ends.

        Args:
            error: Why, None where somebody wants it so.
        """
        if not self._is_stopped:
            self._is_stopped = True
            self.error = error
            if self._applying is not None:
                self._applying.cancel()

    @property
    def is_stopped(self) -> bool:
        """
        Whether it ends, or ended, early.
        """
        return self._is_stopped

    async def run(
        self, session: "MarkSession", portions: AsyncGenerator[list[Unit]], *, grouped: bool
    ) -> None:
        """
        Send units until there are no more, or the job is stopped; then wait for those in flight.

        Args:
            session: Where to send them.
            portions: The units; those of one portion are submitted together.
            grouped: Whether no portion gains by waiting for the next.

        Raises:
            SessionError: The session broke.
            Exception: What the source of the units raised.
        """
        cancelled: asyncio.CancelledError | None = None
        async with contextlib.AsyncExitStack() as stack:
            if grouped:
                hastening = asyncio.create_task(self._hasten(session), name="chatmark-hasten")
                stack.push_async_callback(end, hastening)
            source = await stack.enter_async_context(
                contextlib.aclosing(self._changes(portions, grouped=grouped))
            )
            self._applying = asyncio.create_task(
                session.apply(source, on_result=self._settle), name="chatmark-apply"
            )
            if self._is_stopped:
                self._applying.cancel()
            try:
                await asyncio.wait([self._applying])
            except asyncio.CancelledError as error:
                # Whoever cancels the job waits for what is in flight; a second time, for nothing
                # but the one who reads the source.
                cancelled = error
                self.stop()
                await outlast(self._applying)
            await self._drain()
        if cancelled is not None:
            raise cancelled
        if not self._applying.cancelled():
            self._heed(self._applying.exception())

    def enter(self, unit: Unit, fate: Fate) -> None:
        """
        Enter the fate of a unit that needs no request.
        """
        self._begin(unit)
        self._end(unit, fate)

    def _heed(self, error: BaseException | None) -> None:
        if isinstance(error, ApplicationRefusedError):
            # Reading was refused, for which there is no result.
            self.stop(error)
        elif error is not None:
            raise error

    async def _changes(
        self, portions: AsyncGenerator[list[Unit]], *, grouped: bool
    ) -> AsyncGenerator[list[MarkChange]]:
        async with contextlib.aclosing(portions):
            async for portion in portions:
                # Requests get their turn even where there is room for everything.
                await asyncio.sleep(0)
                if grouped:
                    await self._wait_for_room(len(portion))
                for unit in portion:
                    self._begin(unit)
                    # What the session is given has a result, even if it does not take it any more.
                    self._under_way[id(unit.change)] = unit
                self._has_news.set()
                yield [unit.change for unit in portion]

    async def _wait_for_room(self, size: int) -> None:
        while len(self._under_way) + size > MOST_UNDER_WAY:
            self._moved.clear()
            await self._moved.wait()

    async def _hasten(self, session: "MarkSession") -> None:
        """
        Let the session send lanes that are not full: what it waits for would not come.
        """
        with contextlib.suppress(ChatmarkError):
            while True:
                await self._has_news.wait()
                self._has_news.clear()
                await session.flush()

    async def _drain(self) -> None:
        while self._under_way:
            self._moved.clear()
            await self._moved.wait()

    def _begin(self, unit: Unit) -> None:
        self.accounts.taken += unit.rows

    def _settle(self, result: MarkResult) -> None:
        # A result has the very change that was submitted.
        unit = self._under_way.pop(id(result.change))
        self.items += result.attempts
        self._moved.set()
        if result.error is None:
            # What comes of millions.
            self._unanswered = 0
            self._end(unit, Fate.APPLIED)
            return
        fate = fate_of(result)
        if isinstance(result.error, UnsentError):
            # Its own words are of everything that the session had.
            result = attrs.evolve(result, info=_STOPPED, error=ChatmarkError(_STOPPED))
        self._end(unit, fate, result)
        # A server that answers nobody for a whole deadline is gone: the rest would only be lost.
        self._unanswered = self._unanswered + 1 if _is_unanswered(result.error) else 0
        if refuses_all(result.error) or self._unanswered >= _MOST_UNANSWERED:
            # What stops the job is about all its changes.
            error = (result.error or ChatmarkError(_STOPPED)).fresh()
            error.change = None
            self.stop(error)

    def _end(self, unit: Unit, fate: Fate, result: MarkResult | None = None) -> None:
        code = None if result is None else result.code
        self.accounts.add(fate, unit.rows, code)
        if self.journal is not None and fate in FINAL:
            if fate is Fate.REFUSED and result is not None:
                settled = Settled(unit.position, fate, code, result.info, result.attempts)
            else:
                settled = Settled(unit.position, fate)
            self.journal.add(settled)
        if result is not None and fate not in (Fate.APPLIED, Fate.NOT_SENT):
            try:
                self.outcome.add(unit, result)
            except OSError as error:
                self.stop(error)
