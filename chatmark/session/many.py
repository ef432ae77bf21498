"""
One change for many conversations of one user, with the urgency of single marks.
"""

import asyncio

from chatmark.changes import MarkChange
from chatmark.core.pending import Entry
from chatmark.session.dispatcher import Dispatcher
from chatmark.session.sums import Sums


class _ManyEntry(Entry):
    """
    One of the changes.
    """

    __slots__ = ("_many",)

    def __init__(self, change: MarkChange, many: "Many") -> None:
        super().__init__(change)
        self._many = many

    def wake(self) -> None:
        self._many.settled(self)


class Many:
    """
    Submits many changes that a caller waits for together, and sums up their outcomes.

    Args:
        dispatcher: Where the changes go.
        changes: The changes, each of another conversation of one user.
    """

    def __init__(self, dispatcher: Dispatcher, changes: list[MarkChange]) -> None:
        self._dispatcher = dispatcher
        self._entries: list[Entry] = [_ManyEntry(change, self) for change in changes]
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending = len(changes)
        self.sums = Sums()

    def settled(self, entry: Entry) -> None:
        """Count an outcome."""
        self._pending -= 1
        self.sums.add(entry)
        if not (self._pending or self._done.done()):
            self._done.set_result(None)

    async def wait(self) -> None:
        """
        Submit all as there is room, and wait for their outcomes.

        Cancelling it withdraws what was never sent.

        Raises:
            SessionError: The session takes no more changes.
        """
        start = 0
        try:
            while start < len(self._entries):
                room = self._dispatcher.admission.room()
                if room:
                    self._dispatcher.accept(self._entries[start : start + room])
                else:
                    await self._dispatcher.admit(self._entries[start])
                start += max(room, 1)
            if self._entries:
                await self._done
        except BaseException:
            for entry in self._entries[:start]:
                self._dispatcher.withdraw(entry)
            raise
