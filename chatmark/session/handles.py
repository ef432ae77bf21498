"""The handle that `MarkSession.submit` returns: await it for the outcome of one change."""

import asyncio
import sys
from collections.abc import Generator
from typing import Any, NoReturn

from chatmark.changes import MarkChange
from chatmark.core.pending import WITHDRAWN, Entry
from chatmark.failures import UnsentError
from chatmark.lazy import publish
from chatmark.results import MarkResult
from chatmark.session.dispatcher import Dispatcher


class MarkHandle(Entry):
    """
    The outcome of one submitted change: `await` it as often, and from as many tasks, as you like.

    Awaiting it raises when the change failed, as a future does; `settled` gives the failure as
    data. Each waiter has its own future, so cancelling one touches no other. When the last of them
    is cancelled before the change was ever sent, the change is withdrawn. A handle that no
    task awaits is settled all the same; a failure that was not looked at is logged when it goes.
    """

    __slots__ = ("_dispatcher", "_is_seen", "_waiters")

    def __init__(self, change: MarkChange, dispatcher: Dispatcher) -> None:
        super().__init__(change)
        self._dispatcher = dispatcher
        self._is_seen = False
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def result(self) -> MarkResult:
        """
        The outcome.

        Raises:
            SessionError: There is none yet.
        """
        self._is_seen = self.outcome is not None
        return self.report()

    def done(self) -> bool:
        """Whether the change has succeeded, failed or been withdrawn."""
        return self.outcome is not None

    def cancel(self) -> bool:
        """
        Withdraw a change that was never sent. Return True if it was withdrawn.

        Raises:
            SessionError: It is called outside the session's event loop, as from a thread.
        """
        return self.outcome is None and self._dispatcher.withdraw(self)

    async def settled(self) -> MarkResult:
        """Wait for the outcome, and return it also when the change failed or was withdrawn."""
        if self.outcome is None:
            await self._wait()
        return self.result

    def __await__(self) -> Generator[Any, None, MarkResult]:
        result = yield from self.settled().__await__()
        if result.error is not None:
            raise result.error
        return result

    async def _wait(self) -> None:
        future = self._dispatcher.waiter()
        self._waiters.append(future)
        try:
            await future
        except asyncio.CancelledError:
            self._waiters.remove(future)
            if not self._waiters:
                self._dispatcher.withdraw(self)
            raise

    def wake(self) -> None:
        """Tell the waiters."""
        for future in self._waiters:
            if not future.done():
                future.set_result(None)

    def __del__(self) -> None:
        outcome = self.outcome
        if outcome is None or outcome.error is None or outcome is WITHDRAWN or self._is_seen:
            return
        # `close` raises what it gave up; a program that ends has no log any more.
        if not (isinstance(outcome.error, UnsentError) or sys.is_finalizing()):
            self._dispatcher.unseen.add(self.report())

    def __reduce__(self) -> NoReturn:
        raise TypeError("a handle is not pickled or copied: it belongs to its session")

    def __repr__(self) -> str:
        state = "pending" if self.outcome is None else self.report()
        return f"<MarkHandle {self.change.conversation} of {self.change.from_account}: {state}>"


publish(__name__)
