"""The budget of a worker: it borrows permits from the permit server, several at a time."""

import asyncio
import collections
import math
from typing import Final

import attrs

from chatmark import CallOutcome, Permit
from chatmark.commands import MARKING
from chatmark.ray.budget.server import PermitReport, PermitServerLostError, PermitSource

# As in `CallWindow`: a call reaches the server after so many seconds at most, however slow its
# answer is.
_LONGEST_WAY: Final = 0.02
# A report waits so many seconds for another call to carry it. The server needs it within a second.
_REPORT_AFTER: Final = 0.1
_ASK_AGAIN_AFTER: Final = 0.5


class _RemotePermit(Permit):
    __slots__ = ("_budget", "_number")

    def __init__(self, budget: "RemoteBudget", number: int) -> None:
        self._budget = budget
        self._number = number

    def done(self, outcome: CallOutcome) -> float | None:
        self._budget.end_call(self._number, is_unused=outcome is CallOutcome.UNUSED)
        return None


@attrs.define
class _Unreported:
    """
    The permits that the server knows nothing of yet.

    Args:
        sent_at: When each call in flight was sent.
        settled_at: When each ended call had reached the server.
        unused: Permits with which no call was made.
    """

    sent_at: dict[int, float] = attrs.field(factory=dict[int, float])
    settled_at: dict[int, float] = attrs.field(factory=dict[int, float])
    unused: list[int] = attrs.field(factory=list[int])

    def report(self, now: float) -> PermitReport:
        """Return the report, and begin the next one."""
        for number, sent_at in list(self.sent_at.items()):
            if sent_at + _LONGEST_WAY <= now:
                del self.sent_at[number]
                self.settled_at[number] = sent_at + _LONGEST_WAY
        settled = [(number, now - at) for number, at in self.settled_at.items()]
        report = PermitReport(settled, tuple(self.unused))
        self.settled_at.clear()
        self.unused.clear()
        return report


class RemoteBudget:
    """A `Budget` of permits from the permit server, for the sessions of one event loop."""

    def __init__(self, permits: PermitSource) -> None:
        self._permits = permits
        self._loop = asyncio.get_running_loop()
        self._waiters: collections.deque[asyncio.Future[int]] = collections.deque()
        self._unreported = _Unreported()
        self._borrowing: asyncio.Task[None] | None = None
        self._reporting: asyncio.TimerHandle | None = None
        self._paused_until = -math.inf
        self._others: dict[str, RemoteBudget] = {}

    def of(self, command: str) -> "RemoteBudget":
        """Return the budget of a command; each command has a budget of its own."""
        if command == MARKING:
            return self
        if command not in self._others:
            self._others[command] = RemoteBudget(self._permits.of(command))
        return self._others[command]

    async def acquire(self) -> Permit:
        """Wait for the right to make one call; first come, first served."""
        waiter: asyncio.Future[int] = self._loop.create_future()
        self._waiters.append(waiter)
        if self._borrowing is None or self._borrowing.done():
            self._borrowing = self._loop.create_task(self._borrow(), name="chatmark-budget")
        try:
            number = await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._return(waiter.result())
            raise
        self._unreported.sent_at[number] = self._loop.time()
        self._report_soon()
        return _RemotePermit(self, number)

    def pause(self, seconds: float) -> None:
        """Stop the calls of this command in the whole cluster for that time."""
        self._paused_until = max(self._paused_until, self._loop.time() + seconds)
        self._permits.pause(seconds)

    def end_call(self, number: int, *, is_unused: bool) -> None:
        """Note that a call ended, or was not made. Only permits call this."""
        sent_at = self._unreported.sent_at.pop(number, None)
        if sent_at is None:
            return
        if is_unused:
            self._return(number)
        else:
            settled_at = min(self._loop.time(), sent_at + _LONGEST_WAY)
            self._unreported.settled_at[number] = settled_at
            self._report_soon()

    async def aclose(self) -> None:
        """Stop borrowing, and send the last report."""
        for other in self._others.values():
            await other.aclose()
        if self._reporting is not None:
            self._reporting.cancel()
        if self._borrowing is not None:
            self._borrowing.cancel()
            await asyncio.wait([self._borrowing])
        self._report()

    async def _borrow(self) -> None:
        after_loss = False
        while self._has_waiters():
            report = self._unreported.report(self._loop.time())
            try:
                numbers = await self._permits.take(
                    len(self._waiters), report, after_loss=after_loss
                )
            except PermitServerLostError:
                # The server may have missed the report: the numbers are no longer valid.
                self._unreported, after_loss = _Unreported(), True
                await asyncio.sleep(_ASK_AGAIN_AFTER)
                continue
            after_loss = False
            for number in numbers:
                if self._loop.time() >= self._paused_until and self._has_waiters():
                    self._waiters.popleft().set_result(number)
                else:
                    self._return(number)

    def _has_waiters(self) -> bool:
        """Drop cancelled waiters, and return whether others remain."""
        while self._waiters and self._waiters[0].done():
            self._waiters.popleft()
        return bool(self._waiters)

    def _return(self, number: int) -> None:
        self._unreported.unused.append(number)
        self._report_soon()

    def _report_soon(self) -> None:
        if self._reporting is None:
            self._reporting = self._loop.call_later(_REPORT_AFTER, self._report_at_intervals)

    def _report_at_intervals(self) -> None:
        self._reporting = None
        self._report()
        if self._unreported.sent_at:
            self._report_soon()

    def _report(self) -> None:
        if report := self._unreported.report(self._loop.time()):
            self._permits.note(report)
