"""
One change for many conversations of one user, with the urgency of single marks.
"""

import asyncio
from collections.abc import Sequence

from chatmark.changes import AlikeChanges, MarkChange
from chatmark.core.pending import Entry
from chatmark.session.dispatcher import Dispatcher
from chatmark.session.sums import Sums


class Many:
    """
    Submits changes that a caller waits for together, and sums up their outcomes.

    Args:
        dispatcher: Where the changes go.
        changes: The changes.
    """

    is_urgent = True

    def __init__(self, dispatcher: Dispatcher, changes: AlikeChanges) -> None:
        self._dispatcher = dispatcher
        self._changes = changes
        self.caller = dispatcher.hooks.caller()
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending = len(changes)
        self.sums = Sums()

    def settled(self, row: Entry) -> None:
        self.sums.add(row)
        self._count(1)

    def confirmed(self, changes: Sequence[MarkChange]) -> None:
        self.sums.succeeded += len(changes)
        self._count(len(changes))

    def _count(self, settled: int) -> None:
        self._pending -= settled
        if not (self._pending or self._done.done()):
            self._done.set_result(None)

    async def wait(self) -> None:
        """Submit all as there is room, and wait for their outcomes."""
        start = 0
        try:
            while start < len(self._changes):
                room = self._dispatcher.admission.room()
                if room:
                    self._dispatcher.accept_many(self._changes[start : start + room], self)
                else:
                    await self._dispatcher.admit(Entry(self._changes[start], self))
                start += max(room, 1)
            if self._pending:
                await self._done
        except BaseException:
            self._dispatcher.withdraw_many(self, self._changes.change.from_account)
            raise
