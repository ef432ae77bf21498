"""The sums of many changes, and one change for many conversations of a user."""

import asyncio
import collections
from collections.abc import Sequence
from typing import Final

from chatmark.changes import AlikeChanges, MarkChange
from chatmark.core.pending import SUCCESS, WITHDRAWN, Entry
from chatmark.results import MarkReport, MarkResult
from chatmark.session.dispatcher import Dispatcher

_MOST_FAILURES: Final = 1000


class Sums:
    """
    Counts outcomes.

    Attributes:
        succeeded: Changes that took effect.
        withdrawn: Changes that were never sent.
    """

    def __init__(self) -> None:
        self.succeeded = self.withdrawn = 0
        self._failures: list[MarkResult] = []
        self._failures_by_code: collections.Counter[int | None] = collections.Counter()

    def add(self, entry: Entry) -> None:
        outcome = entry.outcome
        if outcome is SUCCESS:
            self.succeeded += 1
        elif outcome is WITHDRAWN:
            self.withdrawn += 1
        elif outcome is not None:
            self._failures_by_code[outcome.code] += 1
            if len(self._failures) < _MOST_FAILURES:
                self._failures.append(entry.report())

    def report(self, *, calls: int, retries: int, elapsed: float) -> MarkReport:
        """Return the sums, with calls, retries and wall time in seconds."""
        return MarkReport(
            succeeded=self.succeeded,
            failed=self._failures_by_code.total(),
            withdrawn=self.withdrawn,
            calls=calls,
            retries=retries,
            failures=tuple(self._failures),
            failures_by_code=dict(self._failures_by_code),
            elapsed=elapsed,
        )


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
