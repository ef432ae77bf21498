"""
The budget of a worker: permits borrowed from the permit server, some at a time.
"""

import asyncio
import collections
import math
from typing import Final

import attrs

from chatmark.pacing.budget import MARKING, CallOutcome, Permit
from chatmark.ray.permit_server import PermitReport, PermitServerLostError, PermitSource

# As in `CallWindow`: of slow answers this much is believed to be the way to the server, in seconds.
_MOST_WAY: Final = 0.02
# A report that no other call carries is sent after so many seconds. The server needs it a
# second after the call.
_ACCOUNT_AFTER: Final = 0.1
_ASK_AGAIN_AFTER: Final = 0.5


class _RemotePermit(Permit):
    __slots__ = ("_budget", "_number")

    def __init__(self, budget: "RemoteBudget", number: int) -> None:
        self._budget = budget
        self._number = number

    def done(self, outcome: CallOutcome) -> float | None:
        if outcome is CallOutcome.UNUSED:
            self._budget.call_unused(self._number)
        else:
            self._budget.call_answered(self._number)
        return None


@attrs.define
class _Books:
    # When each call under way was sent, and when those that are over were at the server.
    sent_at: dict[int, float] = attrs.field(factory=dict[int, float])
    settled_at: dict[int, float] = attrs.field(factory=dict[int, float])
    unused: list[int] = attrs.field(factory=list[int])

    def account(self, now: float) -> PermitReport:
        for number, sent_at in list(self.sent_at.items()):
            if sent_at + _MOST_WAY <= now:
                del self.sent_at[number]
                self.settled_at[number] = sent_at + _MOST_WAY
        settled = [(number, now - at) for number, at in self.settled_at.items()]
        account = PermitReport(settled, tuple(self.unused))
        self.settled_at.clear()
        self.unused.clear()
        return account


class RemoteBudget:
    """
    A `Budget` with permits of the permit server, for the sessions of one event loop.
    """

    def __init__(self, permits: PermitSource) -> None:
        self._permits = permits
        self._loop = asyncio.get_running_loop()
        self._waiters: collections.deque[asyncio.Future[int]] = collections.deque()
        self._books = _Books()
        self._asking: asyncio.Task[None] | None = None
        self._accounting: asyncio.TimerHandle | None = None
        self._paused_until = -math.inf
        self._others: dict[str, RemoteBudget] = {}

    def of(self, command: str) -> "RemoteBudget":
        """
        Return the budget of a command: this one for mark_contact, else one that counts for itself.
        """
        if command == MARKING:
            return self
        if command not in self._others:
            self._others[command] = RemoteBudget(self._permits.of(command))
        return self._others[command]

    async def acquire(self) -> Permit:
        """
        Wait for the right to make one call; first come, first served.
        """
        waiter: asyncio.Future[int] = self._loop.create_future()
        self._waiters.append(waiter)
        if self._asking is None or self._asking.done():
            self._asking = self._loop.create_task(self._ask(), name="chatmark-budget")
        try:
            number = await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._return(waiter.result())
            raise
        self._books.sent_at[number] = self._loop.time()
        self._account_soon()
        return _RemotePermit(self, number)

    def pause(self, seconds: float) -> None:
        """
        Stop all such calls of the cluster for that time.
        """
        self._paused_until = max(self._paused_until, self._loop.time() + seconds)
        self._permits.pause(seconds)

    def call_answered(self, number: int) -> None:
        """
        Note that a call ended; called by permits only.
        """
        sent_at = self._books.sent_at.pop(number, None)
        if sent_at is not None:
            self._books.settled_at[number] = min(self._loop.time(), sent_at + _MOST_WAY)
            self._account_soon()

    def call_unused(self, number: int) -> None:
        """
        Take a permit back; called by permits only.
        """
        if self._books.sent_at.pop(number, None) is not None:
            self._return(number)

    async def aclose(self) -> None:
        """
        Borrow nothing more, and send the last report.
        """
        for other in self._others.values():
            await other.aclose()
        if self._accounting is not None:
            self._accounting.cancel()
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])
        if account := self._books.account(self._loop.time()):
            self._permits.note(account)

    async def _ask(self) -> None:
        anew = False
        while self._drop_cancelled():
            account = self._books.account(self._loop.time())
            try:
                numbers = await self._permits.take(len(self._waiters), account, anew=anew)
            except PermitServerLostError:
                # The server may have missed the report: the numbers are no longer valid.
                self._books, anew = _Books(), True
                await asyncio.sleep(_ASK_AGAIN_AFTER)
                continue
            anew = False
            for number in numbers:
                if self._loop.time() >= self._paused_until and self._drop_cancelled():
                    self._waiters.popleft().set_result(number)
                else:
                    self._return(number)

    def _drop_cancelled(self) -> bool:
        """
        Return whether a caller still waits.
        """
        while self._waiters and self._waiters[0].done():
            self._waiters.popleft()
        return bool(self._waiters)

    def _return(self, number: int) -> None:
        self._books.unused.append(number)
        self._account_soon()

    def _account_soon(self) -> None:
        if self._accounting is None:
            self._accounting = self._loop.call_later(_ACCOUNT_AFTER, self._account)

    def _account(self) -> None:
        self._accounting = None
        if account := self._books.account(self._loop.time()):
            self._permits.note(account)
        if self._books.sent_at:
            self._account_soon()
