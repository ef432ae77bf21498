"""
A process's part in a shared budget: when it may call, what to ask and to tell; sans-IO.

It is in one of three states. *Joined*, it calls when the server has promised. *Apart*, the server
cannot be asked, and it goes on with a share of its own. *Held*, the server can be asked but
promises nothing yet, because others may still be apart: until then it keeps to its share, or waits
if it has just come. It is held, too, while the server answers too slowly for promises: then the
share is among those that the server says are alive.
"""

import collections
import enum
import math
import statistics
from collections.abc import Mapping
from typing import Final

import attrs

from chatmark.leases import Leases
from chatmark.pacing import CallWindow, Slot
from chatmark.serverclock import ServerClock

# Seconds all. How late a promise may be used.
_LATENESS: Final = 0.1
# Everybody asks once in that time, so that it is known to be alive.
_HEARTBEAT: Final = 0.8
# When a call ended is told after this at the latest; it is needed after a second.
_REPORT: Final = 0.2
# How often a server that is gone is looked for.
_PROBE: Final = 0.5
# Shares are left so long before promises begin.
_CLOSING: Final = 0.1
# Who stands in line asks again no sooner, so as not to spin, and no later, so as not to lose its
# place.
_SOONEST: Final = 0.001
_LATEST: Final = 0.1
# Who has never seen the server takes it that there are so many.
_UNKNOWN: Final = 10
# No process asks for a longer pause of all.
LONGEST_PAUSE: Final = 60.0
# A promise reaches the process within this time, or is of no use.
MOST_DELAY: Final = _LATENESS / 2
# The median of so many answers says how quick the server is.
_TRIPS: Final = 9


class UnreachableError(Exception):
    """
    The server cannot be asked. It says no more than the kind of the fault: others hold URLs.
    """


@attrs.frozen
class Terms:
    """
    What all processes agree on, but for the rank and the horizon; times in seconds.

    Args:
        calls_per_second: Of all together.
        rank: 0 for those who go first, 1 for the others.
        horizon: How far ahead calls are promised: further than the round trip to the server and
            the lateness of a busy loop.
        most_way: How long a call may be on its way to Chat.
        burst: What may be made up for after a rest; more would leave gaps of that length, second
            after second.
        most: The calls in any window.
        period: The length of the window.
    """

    calls_per_second: float
    rank: int
    horizon: float
    most_way: float
    burst: float = 0.02
    most: int = attrs.field(init=False)
    period: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        window = CallWindow(self.calls_per_second)
        object.__setattr__(self, "most", window.most)
        object.__setattr__(self, "period", window.period)

    @property
    def grace(self) -> float:
        """
        How much later than promised a call may be at Chat.
        """
        return _LATENESS + self.most_way

    @property
    def hold(self) -> float:
        """
        How long nothing is promised when the count may be lost.
        """
        return self.period + 2 * _PROBE

    @property
    def silence(self) -> float:
        """
        How long after the last promise a call may be in the window because of it.
        """
        return self.horizon + self.grace + self.period


@attrs.frozen
class Question:
    """
    What a process asks for, and tells; times in seconds.

    Args:
        terms: What was agreed on.
        process: Who asks.
        wanted: How many calls.
        first: The number of the first of them.
        pause: For how long nobody is to call.
        report: Calls, and until when they count by the server's clock; None for never made.
        leaving: Whether the process is about to end.
    """

    terms: Terms
    process: str
    wanted: int = 0
    first: int = 0
    pause: float = 0.0
    report: Mapping[str, float | None] = attrs.field(factory=dict[str, float | None])
    leaving: bool = False


@attrs.frozen
class Answer:
    """
    What the server says; times in seconds of its clock.

    Args:
        now: The time.
        paused: Until when nobody calls.
        opens: Since or from when calls are promised at all.
        processes: How many are alive.
        wait: In how many seconds to ask again for what was not promised.
        promised: When the calls may be sent.
        is_mended: Whether there were values that cannot be right and were brought within bounds.
    """

    now: float
    paused: float
    opens: float
    processes: int
    wait: float
    promised: tuple[float, ...] = ()
    is_mended: bool = False


@attrs.frozen
class Ticket:
    """
    One call: its name in the count, when it was allowed, and its slot if it is of the own share.
    """

    name: str
    at: float
    slot: Slot | None


class _State(enum.Enum):
    APART = "apart"
    HELD = "held"
    JOINED = "joined"


class Sharing:
    """
    One process's part; all times in seconds of its monotonic clock, unless they say otherwise.

    Args:
        terms: What was agreed on.
        process: A name that no other process has.
    """

    def __init__(self, terms: Terms, process: str) -> None:
        self.terms = terms
        self.processes = _UNKNOWN
        self.waiting = 0
        self._process = process
        self._clock = ServerClock()
        spacing = terms.period / terms.most
        self._leases = Leases(process, _LATENESS, spacing, terms.horizon)
        self._state = _State.APART
        self._window = self._own_window()
        # Who has just come waits to hear whether there is a server.
        self._own_from = math.inf
        self._join_at = math.inf
        self._paused_until = -math.inf
        # A pause that the server has not been told of.
        self._pause_until = -math.inf
        self._asked_at = -math.inf
        # Who stands in line was told to come again then.
        self._wait_until = -math.inf
        self._reported: dict[str, float | None] = {}
        self._trips = collections.deque[float](maxlen=_TRIPS)

    @property
    def delay(self) -> float:
        """
        By how many seconds promises are late, or known too inexactly.
        """
        return max(self._clock.doubt, statistics.median_low(self._trips))

    @property
    def is_there(self) -> bool:
        """
        Whether the server answered when it was last asked.
        """
        return self._state is not _State.APART

    @property
    def share(self) -> float:
        """
        The calls a second of this process while it is on its own.
        """
        return self.terms.calls_per_second / self.processes

    def ready_at(self, now: float) -> float:
        """
        Return when the next call may be sent, infinity if that is not known yet.
        """
        leases = self._leases
        leases.drop_stale(self._clock, now)
        if leases.stock:
            at = self._clock.reached(leases.stock[0].due)
        elif self._state is _State.JOINED:
            at = math.inf
        else:
            at = max(self._own_from, now + self._window.delay(now))
        return max(at, self._paused_until)

    def take(self, now: float) -> Ticket:
        """
        Count a call that is sent now.
        """
        if self._leases.stock:
            return Ticket(self._leases.take(now), now, None)
        name = f"{self._process}:{self._leases.number(1)}"
        self._leases.tell(name, now + self.terms.most_way + self.terms.period)
        return Ticket(name, now, self._window.record(now))

    def answered(self, ticket: Ticket, now: float) -> None:
        """
        Note that the call's answer is here, so that it was at Chat before now.
        """
        if ticket.slot is not None:
            self._window.answered(ticket.slot, now)
        there = min(now, ticket.at + self.terms.most_way)
        self._leases.tell(ticket.name, there + self.terms.period)

    def unused(self, ticket: Ticket) -> None:
        """
        Take a call back that was counted but not sent.
        """
        if ticket.slot is not None:
            self._window.unused(ticket.slot)
        self._leases.tell(ticket.name, None)

    def pause(self, now: float, seconds: float) -> None:
        """
        Let nobody make a call for that time.
        """
        self._paused_until = max(self._paused_until, now + seconds)
        self._pause_until = max(self._pause_until, now + min(seconds, LONGEST_PAUSE))

    def ask_at(self, now: float) -> float:
        """
        Return when the server is to be asked next.
        """
        if self._state is _State.APART:
            return self._asked_at + _PROBE
        if self._pause_until > now:
            return now
        if self._state is _State.HELD:
            at = self._asked_at + (_REPORT if self._leases.has_news else _PROBE)
            return min(at, self._join_at)
        at = self._asked_at + (_REPORT if self._leases.has_news else _HEARTBEAT)
        if self._leases.wanted(self.waiting, now):
            # With promises in stock there is no hurry for more.
            hurry = self._asked_at + self.terms.horizon / 4 if self._leases.stock else -math.inf
            at = min(at, max(self._wait_until, hurry))
        return at

    def question(self, now: float, *, leaving: bool = False) -> Question:
        """
        Return what to ask the server.
        """
        self._asked_at = now
        self._reported = {}
        if self._state is _State.APART:
            # Its clock has to be known before anything can be told.
            return Question(self.terms, self._process, leaving=leaving)
        if now >= self._join_at:
            self._state, self._join_at = _State.JOINED, math.inf
        self._leases.drop_stale(self._clock, now)
        wanted = 0
        if self._state is _State.JOINED and not leaving:
            wanted = self._leases.wanted(self.waiting, now)
        self._reported = self._leases.report(now)
        return Question(
            self.terms,
            self._process,
            wanted=wanted,
            first=self._leases.number(wanted),
            pause=max(0.0, self._pause_until - now),
            report={
                name: None if until is None else self._clock.latest(until)
                for name, until in self._reported.items()
            },
            leaving=leaving,
        )

    def learn(self, question: Question, answer: Answer, heard: float) -> bool:
        """
        Note the answer, and return whether the server is quick enough for promises.
        """
        if self._state is _State.APART:
            self._clock = ServerClock()
            self._trips.clear()
        agrees = self._clock.observe(self._asked_at, answer.now, heard)
        if self._state is _State.APART or not agrees:
            # It may be another server by now, with other appointments.
            self._leases.give_back(len(self._leases.stock))
        self._trips.append(heard - self._asked_at)
        self._leases.told(self._reported)
        if question.pause > 0 and self._pause_until <= self._asked_at + question.pause:
            self._pause_until = -math.inf
        self._paused_until = max(self._paused_until, self._clock.reached(answer.paused))
        self._leases.add(question.first, answer.promised)
        refused = len(answer.promised) < question.wanted
        self._wait_until = heard + min(max(answer.wait, _SOONEST), _LATEST) if refused else heard
        self._leases.ahead = self.terms.horizon + 2 * statistics.median_low(self._trips)
        is_quick = self.delay <= MOST_DELAY
        self._find_state(answer, heard, is_quick=is_quick)
        return is_quick

    def lost(self, now: float) -> None:
        """
        Note that the server cannot be asked.
        """
        self._asked_at = now
        if self._state is _State.JOINED:
            self._part(now)
        elif math.isinf(self._own_from):
            self._own_from = now
        self._state, self._join_at = _State.APART, math.inf

    def _find_state(self, answer: Answer, now: float, *, is_quick: bool) -> None:
        opens_at = self._clock.reached(answer.opens) - _CLOSING
        is_open = opens_at <= now
        if is_open and is_quick:
            self._state, self._join_at = _State.JOINED, math.inf
            self.processes = answer.processes
            return
        if self._state is _State.JOINED:
            self._part(now)
        # Before the count is open, not all that share it have told that they are there.
        if answer.processes > self.processes or (is_open and answer.processes < self.processes):
            # What this process has used of the other share ends first.
            self.processes = answer.processes
            self._window = self._own_window()
            self._own_from = max(self._own_from, now + self.terms.period)
        if not is_quick:
            # By then the others have heard of this process, and have left their larger shares.
            self._own_from = min(self._own_from, now + self.terms.hold)
        self._state, self._join_at = _State.HELD, opens_at if is_quick else math.inf

    def _part(self, now: float) -> None:
        self._window = self._own_window()
        self._own_from = now + self.terms.silence

    def _own_window(self) -> CallWindow:
        return CallWindow(self.share, self.terms.most_way)
