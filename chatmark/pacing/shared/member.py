"""
One process's part in a shared budget: when it may call, what it asks and reports. Sans-IO.

The process is in one of three states:

- joined: the server promises its calls.
- apart: the server is out of reach. The process keeps to a share of the budget.
- held: the server answers but promises nothing. Either other processes may still be apart, or the
  server is too slow for promises. The process keeps to its share, and reports its calls. If it has
  just started, it waits.

The process and the server tell each other durations only, so neither needs the other's clock: what
the server says counts from some moment between the question and the answer.
"""

import collections
import math
import statistics
from typing import Any, Final, cast

import attrs

from chatmark.pacing.window import CallWindow, Slot, parse_rate

# All times are in seconds. A promise may be used this much late.
_LATENESS: Final = 0.1
# A promise that takes longer to arrive comes too late to be used.
MOST_DELAY: Final = _LATENESS / 2
# Each process asks once in this time, so that the server knows that it is alive, and a server that
# was away is found.
_HEARTBEAT: Final = 0.5
# The end of a call is reported within this time; the server needs it within a second.
_REPORT: Final = 0.2
# Processes leave their shares this long before promises begin.
_CLOSING: Final = 0.1
# A process in the queue asks again within this time, so that it keeps its place.
_LATEST: Final = 0.1
# The time that is made up for after a rest. More would leave gaps of this length in later seconds.
_BURST: Final = 0.02
# The longest pause that a process asks for.
_LONGEST_PAUSE: Final = 60.0
# The number of processes, until the server has told it.
_UNKNOWN: Final = 10
# The server's speed is the median of this many answers.
_TRIPS: Final = 9
# The use of a process is measured over this time.
_LATELY: Final = 0.2

_MICROSECONDS: Final = 1_000_000
# The numbers of a reply before the promises.
_HEAD: Final = 5
# More processes than any application has, and more microseconds than the script says.
_MOST_PROCESSES: Final = 100_000
_MOST: Final = 100 * _MICROSECONDS


class UnreachableError(Exception):
    """The server cannot be asked. The text is the kind of the fault, for errors may hold URLs."""


class Terms:
    """
    The numbers that all processes agree on, except rank and horizon; times in seconds.

    Args:
        rank: 0 for calls that go first, 1 for the others.
        horizon: How far ahead calls are promised: further than the round trip to the server and
            the lateness of a busy loop.
        most_way: How long a call may take to reach Chat.

    Attributes:
        grace: How much later than promised a call may reach Chat.
        hold: How long nothing is promised when the count may be lost.
    """

    def __init__(
        self, calls_per_second: float | str, *, rank: int, horizon: float, most_way: float
    ) -> None:
        self.calls_per_second: float = parse_rate(calls_per_second)
        self.rank = rank
        self.horizon = horizon
        self.most_way = most_way
        window = CallWindow(self.calls_per_second)
        self.most, self.period = window.most, window.period
        self.grace = _LATENESS + most_way
        self.hold = self.period + 2 * _HEARTBEAT


@attrs.define(eq=False)
class Call:
    """
    A call of the process.

    Args:
        name: Its name in the count.
        at: When it may be sent, and then when it was.
        until: The last moment at which it may be sent.
        slot: Its place in the window of the own share, if the server did not promise it.
    """

    name: str
    at: float
    until: float = math.inf
    slot: Slot | None = None


class Member:
    """
    One process's part; all times in seconds of its monotonic clock.

    Args:
        process: A name that no other process has.

    Attributes:
        waiting: How many calls wait.
        processes: How many processes share the budget, as far as is known.
        is_there: Whether the server answered when it was last asked: the process is not apart.
        is_mended: Whether the server found impossible numbers and brought them within bounds.
    """

    def __init__(self, terms: Terms, process: str) -> None:
        self.terms = terms
        self.processes = _UNKNOWN
        self.waiting = 0
        self.is_there = self.is_mended = False
        self._process = process
        self._is_joined = False
        self._join_at = math.inf
        self._window = self._own_window()
        # A process that has just started waits for the server's answer.
        self._own_from = math.inf
        self._paused_until = -math.inf
        # A pause for all processes, and that of which the server was told.
        self._pause_until = self._told_until = -math.inf
        self._asked_at = -math.inf
        # When the server expects the process, which is in its queue, to ask again.
        self._wait_until = -math.inf
        # Calls have numbers. The last question asked for so many, from the first number on.
        self._numbers = self._first = self._wanted = 0
        # The promises, oldest first.
        self._stock: collections.deque[Call] = collections.deque()
        self._used: collections.deque[float] = collections.deque()
        # Calls to report, and until when they count, None for calls not made; and those of which
        # the server was told, until it answers.
        self._news: dict[str, float | None] = {}
        self._told: dict[str, float | None] = {}
        self._trips = collections.deque[float](maxlen=_TRIPS)

    @property
    def delay(self) -> float:
        """The seconds that answers take."""
        return statistics.median_low(self._trips)

    def ready_at(self, now: float) -> float:
        """Return when the next call may be sent; infinity if that is not known yet."""
        self._drop_stale(now)
        if self._stock:
            at = self._stock[0].at
        elif self._is_joined:
            at = math.inf
        else:
            at = max(self._own_from, now + self._window.delay(now))
        return max(at, self._paused_until)

    def take(self, now: float) -> Call:
        """Count a call that is sent now."""
        if self._stock:
            self._used.append(now)
            call = self._stock.popleft()
            call.at = now
            return call
        call = Call(f"{self._process}:{self._numbers}", now, slot=self._window.record(now))
        self._numbers += 1
        self._news[call.name] = now + self.terms.most_way + self.terms.period
        return call

    def answered(self, call: Call, now: float) -> None:
        """Note that the call's answer is here: the call reached Chat before now."""
        if call.slot is not None:
            self._window.answered(call.slot, now)
        self._news[call.name] = min(now, call.at + self.terms.most_way) + self.terms.period

    def unused(self, call: Call) -> None:
        """Take a call back that was counted but not sent."""
        if call.slot is not None:
            self._window.unused(call.slot)
        self._news[call.name] = None

    def pause(self, now: float, seconds: float) -> None:
        self._paused_until = max(self._paused_until, now + seconds)
        self._pause_until = max(self._pause_until, now + min(seconds, _LONGEST_PAUSE))

    def ask_at(self, now: float) -> float:
        """Return when to ask the server."""
        if not self.is_there:
            return self._asked_at + _HEARTBEAT
        if self._pause_until > self._told_until:
            return now
        at = self._asked_at + (_REPORT if self._news or self._told else _HEARTBEAT)
        if not self._is_joined:
            return min(at, self._join_at)
        if self._missing(now):
            at = min(at, max(self._wait_until, self._asked_at + self.terms.horizon / 4))
        return at

    def question(self, now: float, *, leaving: bool = False) -> tuple[str, ...]:
        """Return the arguments of the script, in its order."""
        terms = self.terms
        self._asked_at = now
        if now >= self._join_at:
            self._is_joined, self._join_at = True, math.inf
        self._drop_stale(now)
        self._wanted = self._missing(now) if self._is_joined and not leaving else 0
        self._first = self._numbers
        self._numbers += self._wanted
        # A call that counts no more needs no report.
        self._told = {
            name: until
            for name, until in (self._told | self._news).items()
            if until is None or until > now
        }
        self._news = {}
        self._told_until = self._pause_until
        return (
            self._process,
            # The server's own clock.
            "0",
            str(terms.most),
            *map(_whole, (terms.period, _BURST, terms.horizon, terms.grace, terms.hold)),
            *map(str, (terms.rank, self._wanted, self._first)),
            _whole(max(0.0, self._pause_until - now)),
            str(int(leaving)),
            *(
                each
                for name, until in self._told.items()
                for each in (name, "0" if until is None else _whole(until - now))
            ),
        )

    def learn(self, reply: Any, now: float) -> bool:
        """
        Note the script's reply, and return whether the server is quick enough for promises.

        Raises:
            UnreachableError: The script cannot have replied this.
        """
        numbers = cast("list[int]", reply) if isinstance(reply, list) else []
        if not self._is_reply(numbers):
            raise UnreachableError("an answer that is not the script's")
        paused, opens, _, wait, _, *promised = (each / _MICROSECONDS for each in numbers)
        _, _, processes, _, mended = numbers[:_HEAD]
        self.is_there, self.is_mended = True, mended > 0
        self._trips.append(now - self._asked_at)
        self._told = {}
        self._paused_until = max(self._paused_until, now + paused)
        for number, due in enumerate(promised, self._first):
            # Certainly due, and not yet too late, whenever the server counted.
            until = self._asked_at + due + _LATENESS
            self._stock.append(Call(f"{self._process}:{number}", now + due, until))
        self._wait_until = now + min(wait, _LATEST)
        is_quick = self.delay <= MOST_DELAY
        self._find_state(max(1, processes), opens - _CLOSING, now, is_quick=is_quick)
        return is_quick

    def lost(self, now: float) -> None:
        """Note that the server cannot be asked, or refuses."""
        self._asked_at = now
        if self._is_joined:
            self._part(now)
        elif math.isinf(self._own_from):
            self._own_from = now
        self.is_there, self._join_at = False, math.inf

    def _is_reply(self, numbers: list[int]) -> bool:
        return (
            _HEAD <= len(numbers) <= _HEAD + self._wanted
            and all(type(each) is int and 0 <= each <= _MOST for each in numbers)
            and numbers[2] <= _MOST_PROCESSES
        )

    def _find_state(self, processes: int, opens: float, now: float, *, is_quick: bool) -> None:
        is_open = opens <= 0
        if is_open and is_quick:
            self._is_joined, self._join_at = True, math.inf
            self.processes = processes
            return
        if self._is_joined:
            self._part(now)
        # Until promises begin, some processes may not have asked this server yet.
        if processes > self.processes or (is_open and processes < self.processes):
            # Calls of the former share leave the window first.
            self.processes = processes
            self._window = self._own_window()
            self._own_from = max(self._own_from, now + self.terms.period)
        if not is_quick:
            # By then the other processes know of this one, and have left their larger shares.
            self._own_from = min(self._own_from, now + self.terms.hold)
        self._join_at = now + opens if is_quick else math.inf

    def _part(self, now: float) -> None:
        self._is_joined = False
        self._window = self._own_window()
        # So long after the last answer a promised call may still be in the window.
        self._own_from = now + self.terms.horizon + self.terms.grace + self.terms.period

    def _own_window(self) -> CallWindow:
        return CallWindow(self.terms.calls_per_second / self.processes, self.terms.most_way)

    def _missing(self, now: float) -> int:
        """
        Return how many promises to ask for.

        That is one for each call that waits, and as many as the process uses until they arrive.
        """
        while self._used and self._used[0] <= now - _LATELY:
            self._used.popleft()
        # From a question to the last moment that is promised, about.
        ahead = self.terms.horizon + 2 * self.delay
        most = math.ceil(ahead * self.terms.most / self.terms.period) + 1
        target = min(most, self.waiting + round(len(self._used) * ahead / _LATELY))
        if target == 0:
            self._give_back(len(self._stock))
        return max(0, target - len(self._stock))

    def _drop_stale(self, now: float) -> None:
        """Give back the promises that are too old: their calls would count for too short a time."""
        self._give_back(sum(each.until < now for each in self._stock))

    def _give_back(self, count: int) -> None:
        """Report the oldest promises as not used."""
        for _ in range(count):
            self._news[self._stock.popleft().name] = None


def _whole(seconds: float) -> str:
    # Rounded up, so that no call counts for too short a time.
    return str(math.ceil(seconds * _MICROSECONDS))
