"""
One process's part in a shared budget: when it may call, what it asks and reports. Sans-IO.

The process is in one of three states:

- joined: the server promises its calls.
- apart: the server is out of reach. The process keeps to a share of the budget.
- held: the server answers but promises nothing. Either other processes may still be apart, or the
  server is too slow for promises. The process keeps to its share, and reports its calls. If it has
  just started, it waits.
"""

import collections
import math
import statistics
from collections.abc import Mapping
from typing import Final

import attrs

from chatmark.pacing.window import CallWindow, Slot, parse_rate

# All times are in seconds. A promise may be used this much late.
_LATENESS: Final = 0.1
# Each process asks once in this time, so that the server knows that it is alive.
_HEARTBEAT: Final = 0.8
# The end of a call is reported within this time; the server needs it within a second.
_REPORT: Final = 0.2
# A server that promises nothing is asked again after this time.
_PROBE: Final = 0.5
# Processes leave their shares this long before promises begin.
_CLOSING: Final = 0.1
# A process in the queue asks again no sooner, so that it does not spin, and no later, so that it
# keeps its place.
_SOONEST: Final = 0.001
_LATEST: Final = 0.1
# The number of processes, until the server has told it.
_UNKNOWN: Final = 10
# The longest pause that a process asks for.
LONGEST_PAUSE: Final = 60.0
# A promise that takes longer to arrive comes too late to be used.
MOST_DELAY: Final = _LATENESS / 2
# The server's speed is the median of this many answers.
_TRIPS: Final = 9
# The use of a process is measured over this time.
_LATELY: Final = 0.2
# How far two clocks may drift apart, in seconds a second. Quartz is ten times better.
_DRIFT: Final = 0.0005


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
        self.hold = self.period + 2 * _PROBE


@attrs.frozen
class Question:
    """
    A question of a process; times in seconds.

    Args:
        wanted: How many calls it asks for, which have numbers from *first* on.
        pause: How long all processes are to hold back their calls.
        report: Calls, and until when they count; None for calls not made.
        ahead: How far the server's clock may be ahead of that of the report.
    """

    terms: Terms
    process: str
    wanted: int = 0
    first: int = 0
    pause: float = 0.0
    report: Mapping[str, float | None] = attrs.field(factory=dict[str, float | None])
    ahead: float = 0.0
    leaving: bool = False


@attrs.frozen
class Answer:
    """
    An answer of the server; times in seconds of its clock.

    Args:
        opens: From when calls are promised; it may be past.
        wait: Seconds after which to ask again for calls that were not promised.
        is_mended: Whether impossible numbers were found and brought within bounds.
    """

    now: float
    paused: float
    opens: float
    processes: int
    wait: float
    promised: tuple[float, ...] = ()
    is_mended: bool = False


@attrs.frozen
class Call:
    """A call: its name in the count, when it was allowed, its slot in the own share's window."""

    name: str
    at: float
    slot: Slot | None


class _ServerClock:
    """
    The server's clock, known within bounds. Local times are those of one monotonic clock.

    A process keeps a promise "at t by the server's clock" with its own clock. It knows that the
    server's time in an answer lies between question and answer. The narrowest such bounds are kept,
    so that one quick answer serves many slow ones.
    """

    def __init__(self) -> None:
        # The least and the greatest difference between the server's time and the local time.
        self._behind = -math.inf
        self.ahead = math.inf
        self._heard = -math.inf

    def observe(self, asked: float, told: float, heard: float) -> bool:
        """
        Learn that the server's time was *told* at a moment between the other two.

        Return False if a clock was set, or this is another server.
        """
        widening = _DRIFT * (heard - self._heard) if math.isfinite(self._heard) else math.inf
        behind = max(self._behind - widening, told - heard)
        ahead = min(self.ahead + widening, told - asked)
        agrees = behind <= ahead
        if not agrees:
            behind, ahead = told - heard, told - asked
        self._behind, self.ahead, self._heard = behind, ahead, heard
        return agrees

    @property
    def doubt(self) -> float:
        return self.ahead - self._behind

    def reached(self, time: float) -> float:
        """Return the local time by which the server's time has certainly come."""
        return time - self._behind


class Sharing:
    """
    One process's part; all times in seconds of its monotonic clock, unless they say otherwise.

    Args:
        process: A name that no other process has.

    Attributes:
        waiting: How many calls wait.
        is_there: Whether the server answered when it was last asked: the process is not apart.
    """

    def __init__(self, terms: Terms, process: str) -> None:
        self.terms = terms
        self.processes = _UNKNOWN
        self.waiting = 0
        self._process = process
        self._clock = _ServerClock()
        self.is_there = self._is_joined = False
        self._window = self._own_window()
        # A process that has just started waits for the server's answer.
        self._own_from = math.inf
        self._join_at = math.inf
        self._paused_until = -math.inf
        # A pause that the server has not been told of.
        self._pause_until = -math.inf
        self._asked_at = -math.inf
        # When the server expects the process, which is in its queue, to ask again.
        self._wait_until = -math.inf
        # The promises, oldest first: the name of a call, and its moment by the server's clock, from
        # which on it may be sent for a short while.
        self._stock: collections.deque[tuple[str, float]] = collections.deque()
        self._numbers = 0
        self._used: collections.deque[float] = collections.deque()
        # Calls to report, and until when they count; None for calls not made.
        self._news: dict[str, float | None] = {}
        self._trips = collections.deque[float](maxlen=_TRIPS)

    @property
    def delay(self) -> float:
        """The seconds by which promises arrive late, or the server's clock is not known."""
        return max(self._clock.doubt, statistics.median_low(self._trips))

    def ready_at(self, now: float) -> float:
        """Return when the next call may be sent; infinity if that is not known yet."""
        self._drop_stale(now)
        if self._stock:
            at = self._clock.reached(self._stock[0][1])
        elif self._is_joined:
            at = math.inf
        else:
            at = max(self._own_from, now + self._window.delay(now))
        return max(at, self._paused_until)

    def take(self, now: float) -> Call:
        """Count a call that is sent now."""
        if self._stock:
            self._used.append(now)
            return Call(self._stock.popleft()[0], now, None)
        name = f"{self._process}:{self._numbers}"
        self._numbers += 1
        self._news[name] = now + self.terms.most_way + self.terms.period
        return Call(name, now, self._window.record(now))

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
        self._pause_until = max(self._pause_until, now + min(seconds, LONGEST_PAUSE))

    def ask_at(self, now: float) -> float:
        if not self.is_there:
            return self._asked_at + _PROBE
        if self._pause_until > now:
            return now
        if not self._is_joined:
            return min(self._asked_at + (_REPORT if self._news else _PROBE), self._join_at)
        at = self._asked_at + (_REPORT if self._news else _HEARTBEAT)
        if self._wanted(now):
            # A process with promises in stock can wait for more.
            hurry = self._asked_at + self.terms.horizon / 4 if self._stock else -math.inf
            at = min(at, max(self._wait_until, hurry))
        return at

    def question(self, now: float, *, leaving: bool = False) -> Question:
        self._asked_at = now
        if not self.is_there:
            # Reports need the server's clock, which is not known yet.
            return Question(self.terms, self._process, leaving=leaving)
        if now >= self._join_at:
            self._is_joined, self._join_at = True, math.inf
        self._drop_stale(now)
        wanted = self._wanted(now) if self._is_joined and not leaving else 0
        # A call that counts no more needs no report.
        self._news = {n: until for n, until in self._news.items() if until is None or until > now}
        first = self._numbers
        self._numbers += wanted
        return Question(
            self.terms,
            self._process,
            wanted=wanted,
            first=first,
            pause=max(0.0, self._pause_until - now),
            report=dict(self._news),
            ahead=self._clock.ahead,
            leaving=leaving,
        )

    def learn(self, question: Question, answer: Answer, heard: float) -> bool:
        """Note the answer, and return whether the server is quick enough for promises."""
        if not self.is_there:
            self._clock = _ServerClock()
            self._trips.clear()
        agrees = self._clock.observe(self._asked_at, answer.now, heard)
        if not (self.is_there and agrees):
            # Another server has promised nothing.
            self._give_back(len(self._stock))
        self._trips.append(heard - self._asked_at)
        for name, until in question.report.items():
            if self._news.get(name, math.nan) == until:
                del self._news[name]
        if question.pause > 0 and self._pause_until <= self._asked_at + question.pause:
            self._pause_until = -math.inf
        self._paused_until = max(self._paused_until, self._clock.reached(answer.paused))
        for number, due in enumerate(answer.promised, question.first):
            self._stock.append((f"{self._process}:{number}", due))
        refused = len(answer.promised) < question.wanted
        self._wait_until = heard + min(max(answer.wait, _SOONEST), _LATEST) if refused else heard
        is_quick = self.delay <= MOST_DELAY
        self._find_state(answer, heard, is_quick=is_quick)
        return is_quick

    def lost(self, now: float) -> None:
        self._asked_at = now
        if self._is_joined:
            self._part(now)
        elif math.isinf(self._own_from):
            self._own_from = now
        self.is_there, self._join_at = False, math.inf

    def _find_state(self, answer: Answer, now: float, *, is_quick: bool) -> None:
        self.is_there = True
        opens_at = self._clock.reached(answer.opens) - _CLOSING
        is_open = opens_at <= now
        if is_open and is_quick:
            self._is_joined, self._join_at = True, math.inf
            self.processes = answer.processes
            return
        if self._is_joined:
            self._part(now)
        # Until promises begin, some processes may not have asked this server yet.
        if answer.processes > self.processes or (is_open and answer.processes < self.processes):
            # Calls of the former share leave the window first.
            self.processes = answer.processes
            self._window = self._own_window()
            self._own_from = max(self._own_from, now + self.terms.period)
        if not is_quick:
            # By then the other processes know of this one, and have left their larger shares.
            self._own_from = min(self._own_from, now + self.terms.hold)
        self._join_at = opens_at if is_quick else math.inf

    def _part(self, now: float) -> None:
        self._is_joined = False
        self._window = self._own_window()
        # So long after the last answer a promised call may still be in the window.
        self._own_from = now + self.terms.horizon + self.terms.grace + self.terms.period

    def _own_window(self) -> CallWindow:
        return CallWindow(self.terms.calls_per_second / self.processes, self.terms.most_way)

    def _wanted(self, now: float) -> int:
        """
        Return how many promises to ask for.

        That is one for each call that waits, and as many as the process uses until they arrive.
        """
        while self._used and self._used[0] <= now - _LATELY:
            self._used.popleft()
        # From a question to the last moment that is promised, about.
        ahead = self.terms.horizon + 2 * statistics.median_low(self._trips)
        most = math.ceil(ahead * self.terms.most / self.terms.period) + 1
        target = min(most, self.waiting + round(len(self._used) * ahead / _LATELY))
        if target == 0:
            self._give_back(len(self._stock))
        return max(0, target - len(self._stock))

    def _drop_stale(self, now: float) -> None:
        """Give back the promises that are too old: their calls would count for too short a time."""
        oldest = now + self._clock.ahead - _LATENESS
        self._give_back(sum(due < oldest for _, due in self._stock))

    def _give_back(self, count: int) -> None:
        """Report the oldest promises as not used."""
        for _ in range(count):
            self._news[self._stock.popleft()[0]] = None
