"""The rate of a client's calls, their records, and violations: acts of no correct client."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Final

import attrs

from chatmark.emulator.faults import Fault
from chatmark.emulator.settings import Settings
from chatmark.emulator.wire import Key, require

_RANDOMS_REMEMBERED: Final = 100
_MAX_VIOLATIONS: Final = 1000
_SHOWN_CALLS: Final = 50
SHOWN_BYTES: Final = 16_384
_COMMAND_CHARACTERS: Final = 100


@attrs.define
class Call:
    """
    One request and its outcome.

    Args:
        sequence: Number of the request, from 1.
        command: Last part of the path, such as ``mark_contact``; the path if it is unknown.
        started: When the request's head had arrived, in seconds of the monotonic clock.
        random: The query's ``random``, if the query was valid.
        account: From_Account, if the body was valid.
        conversations: The conversations in the order of the body, if it was valid.
        code: ErrorCode of the envelope that was sent; None while there is none.
        fault: The scripted fault of the request, if any.
        finished: When the answer was ready or the connection was dropped; None until then.
        notes: Violations, unknown query parameters and the like, in words.
        request: The body, cut; kept for the last calls with a valid query only.
        answer: The body of the answer, likewise.
    """

    sequence: int
    command: str
    started: float
    random: int | None = None
    account: str | None = None
    conversations: tuple[Key, ...] = ()
    code: int | None = None
    fault: Fault | None = None
    finished: float | None = None
    notes: list[str] = attrs.field(factory=list[str])
    request: bytes = attrs.field(default=b"", repr=False)
    answer: bytes = attrs.field(default=b"", repr=False)


class RateLimit:
    """
    Refuse calls of a command beyond the limit in any one second.

    https://www.tencentcloud.com/document/product/1047/53438 allows 200 calls a second of each
    command; refused calls do not count against it.
    """

    def __init__(self, calls_per_second: int | None, monotonic: Callable[[], float]) -> None:
        self.calls_per_second = calls_per_second
        self.admitted: defaultdict[str, deque[float]] = defaultdict(deque)
        self._monotonic = monotonic

    def admit(self, command: str) -> None:
        if self.calls_per_second is None:
            return
        now, times = self._monotonic(), self.admitted[command]
        while times and now - times[0] >= 1.0:
            times.popleft()
        require(len(times) < self.calls_per_second, 60007)
        times.append(now)


class CallBook:
    """The calls of one emulator."""

    def __init__(self, its: Settings) -> None:
        self.calls: deque[Call] = deque(maxlen=its.keep_calls)
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        # The calls with bodies, for the page.
        self.shown: deque[Call] = deque()
        self.rate = RateLimit(its.calls_per_second, its.monotonic)
        self._its = its
        self._sequence = 0
        self._changing: dict[str, Call] = {}
        # A random number may repeat by chance among some 10,000 calls. A repeat among the last 100
        # means that the client does not draw new numbers.
        self._randoms: deque[int] = deque(maxlen=_RANDOMS_REMEMBERED)

    def begin(self, command: str, *, known: bool = True) -> Call:
        """Open the record of a request; requests of unknown paths count as one command."""
        command = command[:_COMMAND_CHARACTERS]
        self._sequence += 1
        call = Call(self._sequence, command, self._its.monotonic())
        self.calls.append(call)
        self.counts[command if known else "(unknown)"] += 1
        return call

    def admit(self, call: Call, random: int, body: bytes = b"") -> None:
        """Note that the query of *call* is valid, and refuse it if it comes too early."""
        call.random = random
        call.request = body[:SHOWN_BYTES]
        self.shown.append(call)
        if len(self.shown) > _SHOWN_CALLS:
            forgotten = self.shown.popleft()
            forgotten.request = forgotten.answer = b""
        if random in self._randoms:
            self.violation(call, f"random {random} used twice")
        self._randoms.append(random)
        self.rate.admit(call.command)

    def claim(self, call: Call, account: str, keys: tuple[Key, ...], *, changes: bool) -> None:
        """Note that the body of *call* was valid, and that the call is in flight."""
        call.account = account
        call.conversations = keys
        if changes:
            other = self._changing.get(account)
            if other is not None:
                self.violation(call, f"{account} has call {other.sequence} in flight already")
            self._changing[account] = call
        elif len(set(keys)) < len(keys):
            self.violation(call, f"a conversation twice in a request of {account}")

    def violation(self, call: Call, text: str) -> None:
        """Note a call that a correct client does not make."""
        call.notes.append(f"violation: {text}")
        if len(self.violations) < _MAX_VIOLATIONS:
            self.violations.append(f"call {call.sequence} ({call.command}): {text}")

    def end(self, call: Call) -> None:
        """Close the record of a request; closing it again does nothing."""
        if call.finished is not None:
            return
        call.finished = self._its.monotonic()
        if call.account is not None and self._changing.get(call.account) is call:
            del self._changing[call.account]
        if self._its.on_call is not None:
            self._its.on_call(call)

    def clear(self) -> None:
        """Forget everything except the calls in flight."""
        its = (self.calls, self.shown, self.counts, self.violations, self._randoms)
        for each in (*its, self.rate.admitted):
            each.clear()
        self._sequence = 0
