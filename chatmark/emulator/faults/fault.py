"""
What a fault is: a value that says how a request is answered instead of as it should be.

Every fault's ``applied`` tells whether the request takes effect all the same, so that a lost
answer and a lost request can be told apart. The faults are in `chatmark.emulator.faults.bodies`,
`chatmark.emulator.faults.connections` and `chatmark.emulator.faults.lines`.
"""

from collections.abc import Sequence
from random import Random
from typing import Final

import attrs

from chatmark.emulator.delivery.reply import Reply
from chatmark.emulator.wire.answers import Answer, Line, envelope, written
from chatmark.emulator.wire.fields import Key


def envelope_code(answer: Answer) -> int | None:
    """Return the ErrorCode of *answer* if it is a number as it should be."""
    code = answer.get("ErrorCode")
    return code if type(code) is int else None


@attrs.frozen
class Fault:
    """
    The answer as it should be; the base of all faults.

    Args:
        applied: Whether the request takes effect.
    """

    applied: bool = attrs.field(default=True, kw_only=True)

    def skipped(self, conversations: Sequence[Key]) -> frozenset[Key]:
        """Return those of *conversations* whose items are not applied."""
        return frozenset()

    def lines(self, lines: list[Line], conversations: Sequence[Key], rng: Random) -> list[Line]:
        """Return the lines of the answer as the fault leaves them."""
        return lines

    def reply(self, answer: Answer | None) -> Reply:
        """Return what is sent; *answer* is None if the request did not take effect."""
        answer = envelope() if answer is None else answer
        return Reply(body=written(answer), code=envelope_code(answer))


NO_FAULT: Final = Fault()


@attrs.frozen
class NotApplied(Fault):
    """Base of the faults with which the request takes no effect, unless told otherwise."""

    applied: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen
class Delay(Fault):
    """
    Answer later, as usual or with another fault.

    Args:
        seconds: How long after the request, in seconds.
        then: The fault that follows; None for the usual answer.
        late: Whether the request takes effect only after the delay, and does so even if the
            client has gone by then. It takes effect at once otherwise.
    """

    seconds: float
    then: Fault | None = None
    late: bool = attrs.field(default=False, kw_only=True)
    applied: bool = attrs.field(default=True, init=False)


@attrs.frozen
class Later(Fault):
    """
    Answer at once, or drop the connection, and let the request take effect later.

    So does a server that goes on with a request whose client has gone.

    Args:
        seconds: How long after the request it takes effect, in seconds.
        then: What the client gets, such as `ResetBefore()` or `Status(502)`.
    """

    seconds: float
    then: Fault
    applied: bool = attrs.field(default=True, init=False)
