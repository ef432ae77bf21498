"""Faults of the connection: dropped, silent or slow."""

import attrs

from chatmark.emulator.delivery.reply import Ending, Reply
from chatmark.emulator.faults.fault import Fault, NotApplied
from chatmark.emulator.wire.answers import Answer


@attrs.frozen
class ResetBefore(Fault):
    """
    Drop the connection before the request takes effect.

    Args:
        rst: Whether by RST; by FIN otherwise.
    """

    rst: bool = attrs.field(default=True, kw_only=True)
    applied: bool = attrs.field(default=False, init=False)

    def reply(self, answer: Answer | None) -> Reply:
        return Reply(status=None, ending=Ending.RESET if self.rst else Ending.CLOSE)


@attrs.frozen
class ResetAfter(ResetBefore):
    """Drop the connection after the request took effect, without an answer."""

    applied: bool = attrs.field(default=True, init=False)


@attrs.frozen
class CloseAfterAnswer(Fault):
    """Answer as usual, and close the kept-alive connection after the answer without notice."""

    def reply(self, answer: Answer | None) -> Reply:
        return attrs.evolve(Fault.reply(self, answer), ending=Ending.CLOSE)


@attrs.frozen
class CutBody(Fault):
    """
    Announce the whole answer, send a part of it, and close.

    Args:
        at: The part of the body to send, from 0.0 to 1.0 (all but one byte).
    """

    at: float = attrs.field(
        default=0.5, validator=[attrs.validators.ge(0.0), attrs.validators.le(1.0)]
    )

    def reply(self, answer: Answer | None) -> Reply:
        whole = Fault.reply(self, answer).body
        sent = min(int(len(whole) * self.at), len(whole) - 1)
        return Reply(body=whole[:sent], missing=len(whole) - sent, ending=Ending.CLOSE)


@attrs.frozen
class Hang(NotApplied):
    """Never answer; the connection stays open until the client closes it or the server stops."""

    def reply(self, answer: Answer | None) -> Reply:
        return Reply(status=None, ending=Ending.HANG)


@attrs.frozen
class Drip(Fault):
    """Send the answer byte by byte."""

    seconds_per_byte: float

    def reply(self, answer: Answer | None) -> Reply:
        return attrs.evolve(Fault.reply(self, answer), pause=self.seconds_per_byte)
