"""
What `MarkSession.submit` returns: something to wait on for the fate of one change.
"""

import asyncio
from collections.abc import Generator
from typing import Any, NoReturn

from chatmark.dispatch import Dispatcher
from chatmark.entries import Entry
from chatmark.models import MarkChange, MarkResult


class MarkHandle(Entry):
    """
    The fate of one submitted change: `await` it as often, and from as many tasks, as you like.

    Each waiter has its own future, so cancelling one touches no other. When the last of them is
    cancelled before the change was ever sent, the change is withdrawn. A handle that nobody awaits
    is settled all the same.
    """

    __slots__ = ("_dispatcher", "_waiters")

    def __init__(self, change: MarkChange, dispatcher: Dispatcher) -> None:
        super().__init__(change)
        self._dispatcher = dispatcher
        self._waiters: list[asyncio.Future[None]] = []

    def done(self) -> bool:
        """
        Whether the change has succeeded, failed or been withdrawn.
        """
        return self.outcome is not None

    def cancel(self) -> bool:
        """
        Withdraw the change if it was never sent; return whether it was. Its waiters get a result.

        Raises:
            SessionError: It is called outside the session's event loop, as from a thread.
        """
        return self.outcome is None and self._dispatcher.withdraw(self)

    def __await__(self) -> Generator[Any, None, MarkResult]:
        if self.outcome is None:
            yield from self._wait().__await__()
        return self.result

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
        """
        Tell the waiters.
        """
        for future in self._waiters:
            if not future.done():
                future.set_result(None)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a handle is not pickled or copied: it belongs to its session")

    def __repr__(self) -> str:
        state = "pending" if self.outcome is None else self.result
        return f"<MarkHandle {self.change.conversation} of {self.change.from_account}: {state}>"
