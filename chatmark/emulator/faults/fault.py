"""
The base of faults: values that change the answer of a request.

``applied`` tells whether the request takes effect all the same, so that a test can tell a lost
answer from a lost request. The faults are in `chatmark.emulator.faults.answers` and
`chatmark.emulator.faults.lines`.
"""

from collections.abc import Sequence
from random import Random
from typing import Final

import attrs

from chatmark.emulator.delivery import Reply
from chatmark.emulator.wire.answers import Answer, Line, envelope, to_json
from chatmark.emulator.wire.fields import Key


def envelope_code(answer: Answer) -> int | None:
    """Return the ErrorCode of *answer* if it is a number."""
    code = answer.get("ErrorCode")
    return code if type(code) is int else None


@attrs.frozen
class Fault:
    """
    The base of all faults: the usual answer.

    Args:
        applied: Whether the request takes effect.
    """

    applied: bool = attrs.field(default=True, kw_only=True)

    def skipped(self, conversations: Sequence[Key]) -> frozenset[Key]:
        """Return the *conversations* whose items do not take effect."""
        return frozenset()

    def lines(self, lines: list[Line], conversations: Sequence[Key], rng: Random) -> list[Line]:
        """Return the lines of the answer after the fault."""
        return lines

    def reply(self, answer: Answer | None) -> Reply:
        """Return the reply; *answer* is None if the request did not take effect."""
        answer = envelope() if answer is None else answer
        return Reply(body=to_json(answer), code=envelope_code(answer))


NO_FAULT: Final = Fault()


@attrs.frozen
class NotApplied(Fault):
    """The base of faults without effect of the request, unless ``applied`` is True."""

    applied: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen
class Delay(Fault):
    """
    Answer later, as usual or with another fault.

    Args:
        seconds: The delay, in seconds.
        then: The fault that follows; None for the usual answer.
        late: Whether the request takes effect after the delay, even if the client has disconnected.
            It takes effect at once otherwise.
    """

    seconds: float
    then: Fault | None = None
    late: bool = attrs.field(default=False, kw_only=True)
    applied: bool = attrs.field(default=True, init=False)


@attrs.frozen
class Later(Fault):
    """
    Answer at once, or drop the connection, and let the request take effect later.

    A server may finish a request after its client has disconnected.

    Args:
        seconds: The delay of the effect, in seconds.
        then: The fault that the client meets, such as `ResetBefore()` or `Status(502)`.
    """

    seconds: float
    then: Fault
    applied: bool = attrs.field(default=True, init=False)
