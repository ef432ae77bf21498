"""Record the calls of a client, and its violations: acts of which a correct client has none."""

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

import attrs

from chatmark.emulator.faults.fault import Fault
from chatmark.emulator.wire.fields import Key

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


class CallBook:
    """The calls of one emulator."""

    def __init__(
        self,
        *,
        keep_calls: int | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        on_call: Callable[[Call], object] | None = None,
    ) -> None:
        self.calls: deque[Call] = deque(maxlen=keep_calls)
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        # The calls with bodies, for the page.
        self.shown: deque[Call] = deque()
        self._monotonic = monotonic
        self._on_call = on_call
        self._sequence = 0
        self._changing: dict[str, Call] = {}
        # A random number may repeat by chance among some 10,000 calls. A repeat among the last 100
        # means that the client does not draw new numbers.
        self._randoms: deque[int] = deque(maxlen=_RANDOMS_REMEMBERED)

    def begin(self, command: str, *, known: bool = True) -> Call:
        """Open the record of a request; requests of unknown paths count as one command."""
        command = command[:_COMMAND_CHARACTERS]
        self._sequence += 1
        call = Call(self._sequence, command, self._monotonic())
        self.calls.append(call)
        self.counts[command if known else "(unknown)"] += 1
        return call

    def admit(self, call: Call, random: int, body: bytes = b"") -> None:
        """Note that the query of *call* was valid."""
        call.random = random
        call.request = body[:SHOWN_BYTES]
        self.shown.append(call)
        if len(self.shown) > _SHOWN_CALLS:
            forgotten = self.shown.popleft()
            forgotten.request = forgotten.answer = b""
        if random in self._randoms:
            self.violation(call, f"random {random} used twice")
        self._randoms.append(random)

    def claim(
        self, call: Call, account: str, conversations: tuple[Key, ...], *, changes: bool
    ) -> None:
        """Note that the body of *call* was valid, and that the call is in flight."""
        call.account = account
        call.conversations = conversations
        if changes:
            other = self._changing.get(account)
            if other is not None:
                self.violation(call, f"{account} has call {other.sequence} in flight already")
            self._changing[account] = call
        elif len(set(conversations)) < len(conversations):
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
        call.finished = self._monotonic()
        if call.account is not None and self._changing.get(call.account) is call:
            del self._changing[call.account]
        if self._on_call is not None:
            self._on_call(call)

    def clear(self) -> None:
        """Forget everything except the calls in flight."""
        self.calls.clear()
        self.shown.clear()
        self.counts.clear()
        self.violations.clear()
        self._randoms.clear()
        self._sequence = 0
