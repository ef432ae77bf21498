"""
The calls that an application may make: a budget, which all its sessions share.

https://www.tencentcloud.com/document/product/1047/34381 allows 200 calls a second for each of these
calls.
"""

import asyncio
import math
from typing import Final, Protocol, runtime_checkable

from chatmark.failures import SessionError
from chatmark.lazy import publish
from chatmark.pacing.adaptive import LearnedRate
from chatmark.pacing.window import CallWindow, Slot

# The command that a budget counts by itself.
MARKING: Final = "mark_contact"


class Permit(Protocol):
    """
    The right to make one call.
    """

    def answered(self) -> None:
        """
        Note that the call has ended, with or without an answer.
        """

    def unused(self) -> None:
        """
        Give the right back: no call was made.
        """


class AttentivePermit:
    """
    A `Permit` that is told more of its call, where its budget learns from that.
    """

    __slots__ = ()

    def answered(self) -> None:
        """
        See `Permit.answered`.
        """

    def unused(self) -> None:
        """
        See `Permit.unused`.
        """

    def sent(self) -> None:
        """
        Note that the call is made now.
        """

    def admitted(self) -> None:
        """
        Note that the server did not find the call too many.
        """

    def refused(self) -> float | None:
        """
        Note that the server found the call too many, and pause if that will do.

        Returns:
            For how many seconds nobody makes a call; None when a pause and a lower rate will not
            do, and whoever has the permit is to hold back as for any other budget.
        """
        return None


@runtime_checkable
class Budget(Protocol):
    """
    The calls that an application may make; one object may serve many sessions.
    """

    async def acquire(self) -> Permit:
        """
        Wait for the right to make one call, first come, first served.
        """
        ...

    def pause(self, seconds: float) -> None:
        """
        Let nobody make a call for that time.
        """


@runtime_checkable
class BudgetOfCommands(Budget, Protocol):
    """
    A budget that counts each call of the API for itself, as the vendor does.
    """

    def of(self, command: str) -> Budget:
        """
        Return the budget of a call of the API: "get_contact_group", say.
        """
        ...


class _CallPermit(AttentivePermit):
    __slots__ = ("_before", "_budget", "_slot")

    def __init__(self, budget: "CallBudget", slot: Slot | None, before: int) -> None:
        self._budget = budget
        self._slot = slot
        self._before = before

    def answered(self) -> None:
        if self._slot is not None:
            self._budget.window_answered(self._slot)

    def unused(self) -> None:
        if self._slot is not None:
            self._budget.window_unused(self._slot)

    def sent(self) -> None:
        if self._slot is not None:
            self._budget.window_sent(self._slot)

    def admitted(self) -> None:
        if self._slot is not None:
            self._budget.call_admitted(self._slot)

    def refused(self) -> float | None:
        return None if self._slot is None else self._budget.call_refused(self._slot, self._before)


class CallBudget:
    """
    A budget for the sessions of one event loop at a time.

    The vendor allows 200 calls a second of each command. `acquire` and `pause` count those of
    mark_contact; `of` gives the same for another command. When the server finds a call too many the
    pace falls to what others seem to leave, and rises again, never above the budget.

    Args:
        calls_per_second: The most calls in any one-second window, None for no limit. A fraction
            above 1 is rounded down.

    Raises:
        InputError: It is no positive number.
    """

    def __init__(self, calls_per_second: float | None = 190.0) -> None:
        self.calls_per_second = calls_per_second
        self._window = None if calls_per_second is None else CallWindow(calls_per_second)
        self._learned = LearnedRate(math.inf if self._window is None else self._window.rate)
        self._paused_until = -math.inf
        self._turn = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._others: dict[str, CallBudget] = {}

    def of(self, command: str) -> "CallBudget":
        """
        Return the budget of a command: this one for mark_contact, else one that counts for itself.
        """
        if command == MARKING:
            return self
        if command not in self._others:
            self._others[command] = CallBudget(self.calls_per_second)
        return self._others[command]

    async def acquire(self) -> Permit:
        """
        Wait for the right to make one call, first come, first served.

        Raises:
            SessionError: Another event loop that still runs uses it.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._loop is not None and self._loop.is_running():
                raise SessionError("a CallBudget belongs to one event loop at a time")
            # The next `asyncio.run` of the process goes on with what the last one has left.
            self._loop, self._turn = loop, asyncio.Lock()
        async with self._turn:
            while (delay := self._delay(loop.time())) > 0:  # noqa: ASYNC110 - a pause may grow.
                await asyncio.sleep(delay)
            if self._window is None:
                return _CallPermit(self, None, 0)
            now = loop.time()
            before = self._learned.sent(now)
            if self._learned.rate != self._window.rate:
                self._window.slow_to(self._learned.rate)
            return _CallPermit(self, self._window.record(now), before)

    def pause(self, seconds: float) -> None:
        """
        Let nobody make a call for that time.
        """
        until = asyncio.get_running_loop().time() + seconds
        self._paused_until = max(self._paused_until, until)

    def window_answered(self, slot: Slot) -> None:
        """
        Strictly private: see `Permit.answered`.
        """
        if self._window is not None:
            self._window.answered(slot, asyncio.get_running_loop().time())

    def window_unused(self, slot: Slot) -> None:
        """
        Strictly private: see `Permit.unused`.
        """
        if self._window is not None:
            self._window.unused(slot)
            self._learned.unused(slot.sent_at)

    def window_sent(self, slot: Slot) -> None:
        """
        Strictly private: see `AttentivePermit.sent`.
        """
        if self._window is not None:
            self._window.sent(slot, asyncio.get_running_loop().time())

    def call_admitted(self, slot: Slot) -> None:
        """
        Strictly private: see `AttentivePermit.admitted`.
        """
        self._learned.admitted(slot.sent_at)

    def call_refused(self, slot: Slot, before: int) -> float | None:
        """
        Strictly private: see `AttentivePermit.refused`.
        """
        if self._window is None:
            return None
        now = asyncio.get_running_loop().time()
        self._window.refused(slot)
        pause = self._learned.refused(now, slot.sent_at, before)
        if pause:
            self.pause(pause)
            self._window.rest(now + pause)
        return pause

    def _delay(self, now: float) -> float:
        window = 0.0 if self._window is None else self._window.delay(now)
        ready_at = max(self._paused_until, self._learned.ready_at(now))
        return max(window, ready_at - now)

    def __repr__(self) -> str:
        return f"CallBudget(calls_per_second={self.calls_per_second})"


publish(__name__)
