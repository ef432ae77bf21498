"""The handle that `MarkSession.submit` returns: await it for the outcome of one change."""

import asyncio
import sys
from collections.abc import Generator
from typing import Any, NoReturn

from chatmark.changes import MarkChange
from chatmark.core.pending import WITHDRAWN, Entry
from chatmark.errors import ChatmarkError
from chatmark.failures import UnsentError, WithdrawnError
from chatmark.lazy import publish
from chatmark.results import MarkResult
from chatmark.session.dispatcher import Dispatcher
from chatmark.session.failure_log import UnseenFailures


class SubmittedEntry(Entry):
    """
    A single change, with the futures of the tasks that wait for it.
    """

    __slots__ = ("caller", "unseen", "waiters")

    def __init__(self, change: MarkChange, caller: Any = None) -> None:
        super().__init__(change)
        self.caller = caller
        self.waiters: list[asyncio.Future[None]] = []
        # Where its failure is noted, if its handle went before its outcome came.
        self.unseen: UnseenFailures | None = None

    def wake(self) -> None:
        for future in self.waiters:
            if not future.done():
                future.set_result(None)
        if self.unseen is not None:
            self.note_unseen(self.unseen)

    def note_unseen(self, unseen: UnseenFailures) -> None:
        """Note a failure that no caller looked at, now or when the outcome comes."""
        if self.outcome is None:
            self.unseen = unseen
        # `close` raises the changes that it gave up.
        elif not isinstance(self.outcome.error, UnsentError | WithdrawnError | None):
            unseen.add(self.report())


class MarkHandle:
    """
    The outcome of one submitted change: `await` it as often, and from as many tasks, as you like.

    Awaiting it raises when the change failed, as a future does; `settled` gives the failure as
    data. Each waiter has its own future, so cancelling one touches no other. When the last of them
    is cancelled before the change was ever sent, the change is withdrawn. A handle that no
    task awaits is settled all the same; a failure that was not looked at is logged when it goes.
    """

    __slots__ = ("__weakref__", "_dispatcher", "_entry", "_is_seen")

    def __init__(self, entry: SubmittedEntry, dispatcher: Dispatcher) -> None:
        self._entry = entry
        self._dispatcher = dispatcher
        self._is_seen = False

    @property
    def change(self) -> MarkChange:
        """The change."""
        return self._entry.change

    @property
    def result(self) -> MarkResult:
        """
        The outcome.

        Raises:
            SessionError: There is none yet.
        """
        self._is_seen = self.done()
        return self._entry.report()

    def done(self) -> bool:
        """Whether the change has succeeded, failed or been withdrawn."""
        return self._entry.outcome is not None

    def cancelled(self) -> bool:
        """Whether the change was withdrawn before it was sent."""
        return self._entry.outcome is WITHDRAWN

    def exception(self) -> ChatmarkError | None:
        """
        Return the error of a change that failed or was withdrawn, None of one that succeeded.

        Raises:
            SessionError: There is no outcome yet.
        """
        return self.result.error

    def cancel(self) -> bool:
        """
        Withdraw a change that was never sent. Return True if it was withdrawn.

        Raises:
            SessionError: It is called outside the session's event loop, as from a thread.
        """
        return not self.done() and self._dispatcher.withdraw(self._entry)

    async def settled(self) -> MarkResult:
        """Wait for the outcome, and return it also when the change failed or was withdrawn."""
        if not self.done():
            await self._wait()
        return self.result

    def __await__(self) -> Generator[Any, None, MarkResult]:
        result = yield from self.settled().__await__()
        if result.error is not None:
            raise result.error
        return result

    async def _wait(self) -> None:
        future, waiters = self._dispatcher.waiter(), self._entry.waiters
        waiters.append(future)
        try:
            await future
        except asyncio.CancelledError:
            waiters.remove(future)
            if not waiters:
                self._dispatcher.withdraw(self._entry)
            raise

    def __del__(self) -> None:
        # A program that ends has no log any more.
        if not (self._is_seen or sys.is_finalizing()):
            self._entry.note_unseen(self._dispatcher.unseen)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a handle is not pickled or copied: it belongs to its session")

    def __repr__(self) -> str:
        change, state = self.change, self._entry.report() if self.done() else "pending"
        return f"<MarkHandle {change.conversation} of {change.from_account}: {state}>"


publish(__name__)
