"""
How many calls a second: the application's budget, which all its sessions share.

https://www.tencentcloud.com/document/product/1047/34381 allows 200 calls a second for each of these
calls.
"""

import asyncio
import bisect
import math
import operator
import sys
from typing import Final, Protocol, runtime_checkable

import attrs

from chatmark.errors import InputError, SessionError
from chatmark.learning import LearnedRate

# The command that a budget counts by itself.
MARKING: Final = "mark_contact"
# A call reaches the server between its sending and its answer, so its second starts when the answer
# is here, less the least time that any answer took; but so long at least after its sending, and so
# long at most, in seconds: of slow answers the rest is believed to be the server's own time.
_LEAST_WAY: Final = 0.02
_MOST_WAY: Final = 0.05
# A call that goes so much later than its permit was given counts from then.
_LATE: Final = 0.001
# No clock is exacter, and no sum of floats.
_RESOLUTION: Final = 1e-6
# The share of a second's calls that may go at once after a rest.
_BURST: Final = 0.1


@attrs.define(eq=False)
class Slot:
    """
    A call in a window: when it was sent, and until when it counts.
    """

    sent_at: float
    free_at: float


_free_at: Final = operator.attrgetter("free_at")


class Pace:
    """
    Spreads calls evenly over a window; sans-IO, all times in seconds.

    Args:
        calls_per_second: The number; below 1 it is one call in so many seconds, above 1 a fraction
            is rounded down.

    Attributes:
        most: The calls in any window of that length.
        period: Its length: a second, or more for less than one call a second.
        spacing: Between two calls.
        due: When the next call is due.

    Raises:
        InputError: It is no positive number.
    """

    def __init__(self, calls_per_second: float) -> None:
        if isinstance(calls_per_second, bool) or not isinstance(calls_per_second, int | float):
            raise InputError("calls_per_second", "is no number", calls_per_second)
        # Neither an int nor a second divided by it may be larger than any float.
        if not sys.float_info.min <= calls_per_second <= sys.float_info.max:
            raise InputError("calls_per_second", "is no number above 0", calls_per_second)
        self.most = max(1, math.floor(calls_per_second))
        self.period = max(1.0, 1.0 / calls_per_second)
        self.spacing = self._least_spacing = self.period / self.most
        self._burst = self.spacing * math.floor(self.most * _BURST)
        self.due = -math.inf

    def advance(self, now: float, count: int = 1) -> None:
        """
        Count calls that are made now.
        """
        # Lateness of a timer is made up for, so that it does not add up to a slower pace.
        self.due = max(self.due, now - self._burst) + count * self.spacing

    def slow_to(self, calls_per_second: float) -> None:
        """
        Spread the calls to come over more time, or as before if the number is no lower.
        """
        self.spacing = max(self._least_spacing, 1.0 / calls_per_second)

    def rest(self, until: float) -> None:
        """
        Make up for less of a rest until then: where others share the second, they have filled it.
        """
        self.due = max(self.due, until - self._burst / 2)

    def take_back(self) -> None:
        """
        Count a call less.
        """
        self.due -= self.spacing


class CallWindow:
    """
    Holds calls to a number in any one-second window, spread evenly; sans-IO, all times in seconds.

    An average would not do: two bursts around the turn of a second are refused as one. The
    spreading keeps a bulk run from spending a second's calls in its first tenth and a single call
    waiting for the rest of it.

    Args:
        calls_per_second: The number; below 1 it is one call in so many seconds, above 1 a fraction
            is rounded down.
        most_way: How long a call may be on its way to the server: of slow answers this much is
            believed to be that.

    Attributes:
        most: The calls in any window of that length.
        period: Its length: a second, or more for less than one call a second.
        rate: The calls a second over which they are spread now.

    Raises:
        InputError: It is no positive number.
    """

    def __init__(self, calls_per_second: float, most_way: float = _MOST_WAY) -> None:
        self._pace = Pace(calls_per_second)
        self._most_way = most_way
        self.most = self._pace.most
        self.period = self._pace.period
        self.rate = self.most / self.period
        # In the order in which they become free.
        self._slots: list[Slot] = []
        self._least_round_trip = math.inf
        # Who showed it, and what it was before.
        self._quickest: Slot | None = None
        self._least_before = math.inf

    def delay(self, now: float) -> float:
        """
        Return after how many seconds the next call may be sent, 0 for now.
        """
        slots = self._slots
        del slots[: bisect.bisect_right(slots, now, key=_free_at)]
        due = self._pace.due
        if len(slots) >= self.most:
            due = max(due, slots[-self.most].free_at)
        return max(0.0, due - now)

    def slow_to(self, calls_per_second: float) -> None:
        """
        Spread the calls to come over more time, or as before if the number is no lower.
        """
        self.rate = calls_per_second
        self._pace.slow_to(calls_per_second)

    def rest(self, until: float) -> None:
        """
        Make up for less of a rest until then, where others share the second.
        """
        self._pace.rest(until)

    def record(self, now: float) -> Slot:
        """
        Count a call that is sent now.
        """
        self._pace.advance(now)
        slot = Slot(now, now + self.period + self._most_way)
        bisect.insort(self._slots, slot, key=_free_at)
        return slot

    def sent(self, slot: Slot, now: float) -> None:
        """
        Note that the call goes only now: the loop was busy with something else.
        """
        if now > slot.sent_at + _LATE and slot in self._slots:
            self._slots.remove(slot)
            slot.sent_at, slot.free_at = now, now + self.period + self._most_way
            bisect.insort(self._slots, slot, key=_free_at)

    def answered(self, slot: Slot, now: float) -> None:
        """
        Note that the call's answer is here, so that it was at the server before now.
        """
        round_trip = now - slot.sent_at
        if round_trip < self._least_round_trip:
            self._quickest, self._least_before = slot, self._least_round_trip
            self._least_round_trip = round_trip
        late = max(round_trip - self._least_round_trip, min(round_trip, _LEAST_WAY))
        if late < self._most_way and slot in self._slots:
            self._slots.remove(slot)
            slot.free_at = slot.sent_at + self.period + late + _RESOLUTION
            bisect.insort(self._slots, slot, key=_free_at)

    def refused(self, slot: Slot) -> None:
        """
        Note that the call, answered just now, was refused: sooner than others are answered.
        """
        if slot is self._quickest:
            self._least_round_trip = self._least_before

    def unused(self, slot: Slot) -> None:
        """
        Take a call back that was counted but not sent.
        """
        if slot in self._slots:
            self._slots.remove(slot)
            self._pace.take_back()


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
