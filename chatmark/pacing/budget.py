"""
The calls that an application may make: a budget, which all its sessions share.

https://www.tencentcloud.com/document/product/1047/34381 allows 200 calls a second for each of these
calls.
"""

import asyncio
import enum
import math
from abc import abstractmethod
from typing import Protocol, runtime_checkable

import attrs

from chatmark.codes import MARKING
from chatmark.failures import SessionError
from chatmark.lazy import publish
from chatmark.pacing.adaptive import LearnedLimit
from chatmark.pacing.window import CallWindow, Slot, parse_rate


class CallOutcome(enum.Enum):
    """How a call ended, as its budget needs to know it."""

    UNUSED = "no call was made"
    UNKNOWN = "there was no answer, or none that tells of the rate"
    ADMITTED = "the server did not find the call too many"
    REFUSED = "the server found the call too many"


class Permit(Protocol):
    """The right to make one call."""

    def sent(self) -> None:
        """Note that the call is made now; a budget may do nothing about it."""
        return

    @abstractmethod
    def done(self, outcome: CallOutcome) -> float | None:
        """
        Note how the call ended. Called once.

        Returns:
            After a refusal: for how many seconds the budget lets no call be made, 0 if it only
            slowed down. None if it does nothing about refusals, so that the session holds back.
        """
        ...


@runtime_checkable
class Budget(Protocol):
    """The calls that an application may make; one object may serve many sessions."""

    async def acquire(self) -> Permit:
        """Wait for the right to make one call, first come, first served."""
        ...

    def pause(self, seconds: float) -> None:
        """Let no call be made for that time."""


@runtime_checkable
class BudgetOfCommands(Budget, Protocol):
    """A budget that counts each call of the API for itself, as the vendor does."""

    def of(self, command: str) -> Budget:
        """Return the budget of a call of the API: "get_contact_group", say."""
        ...


@attrs.frozen(eq=False)
class _CallPermit(Permit):
    _window: CallWindow
    _learned: LearnedLimit
    _slot: Slot

    def sent(self) -> None:
        self._window.sent(self._slot, asyncio.get_running_loop().time())

    def done(self, outcome: CallOutcome) -> float | None:
        window, slot, now = self._window, self._slot, asyncio.get_running_loop().time()
        if outcome is CallOutcome.UNUSED:
            window.unused(slot)
            return None
        window.answered(slot, now, is_refusal=outcome is CallOutcome.REFUSED)
        if outcome is CallOutcome.ADMITTED:
            self._learned.admitted(slot)
        if outcome is not CallOutcome.REFUSED:
            return None
        pause = self._learned.refused(slot, now)
        window.rest(now + (pause or 0.0))
        return pause


class _FreePermit(Permit):
    def done(self, outcome: CallOutcome) -> float | None:
        return None


class CallBudget:
    """
    A budget for the sessions of one event loop at a time.

    The vendor allows 200 calls a second of each command. `acquire` and `pause` count those of
    mark_contact; `of` gives the same for another command. When the server finds a call too many the
    pace falls to what others seem to leave, and rises again, never above the budget.

    Args:
        calls_per_second: The most calls in any one-second window, None for no limit. "190/8" is the
            share of one of eight processes. A fraction above 1 is rounded down.

    Raises:
        InputError: It is not a number above 0.
    """

    def __init__(self, calls_per_second: float | str | None = 190.0) -> None:
        rate: float | None = parse_rate(calls_per_second)
        self.calls_per_second = rate
        self._window = None if rate is None else CallWindow(rate)
        self._learned = LearnedLimit(0 if self._window is None else self._window.most)
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
            while (now := loop.time()) < (ready_at := self._ready_at(now)):  # noqa: ASYNC110
                # A pause may grow.
                await asyncio.sleep(ready_at - now)
            if self._window is None:
                return _FreePermit()
            return _CallPermit(self._window, self._learned, self._window.record(now))

    def pause(self, seconds: float) -> None:
        """Let no call be made for that time."""
        until = asyncio.get_running_loop().time() + seconds
        self._paused_until = max(self._paused_until, until)

    def _ready_at(self, now: float) -> float:
        if self._window is None:
            return self._paused_until
        self._window.limit = self._learned.at(now)
        return max(now + self._window.delay(now), self._paused_until)

    def __repr__(self) -> str:
        return f"CallBudget(calls_per_second={self.calls_per_second})"


publish(__name__)
