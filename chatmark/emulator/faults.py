"""Faults: values that change the answer of a request, or break its connection."""

import json
from collections.abc import Collection, Mapping, Sequence
from random import Random
from typing import Final, Literal, cast

import attrs

from chatmark.emulator.wire import Answer, Key, Line, Named, contact, envelope, key_of

__all__: list[str] = ["CloseAfterAnswer", "CutBody", "Delay", "Drip", "Empty", "Envelope", "Fault"]
__all__ += ["Garbled", "Giant", "Hang", "Html", "Later", "Redirect", "Refuse", "ResetAfter"]
__all__ += ["DropLines", "DuplicateLines", "ExtraLines", "NamelessLines", "ResetBefore", "Shuffle"]
__all__ += ["Status"]

_JSON_TYPE: Final = "application/json"
_HTML_TYPE: Final = "text/html"
_HTML: Final = b"<html><head><title>Bad Gateway</title></head><body>Bad Gateway</body></html>"


@attrs.frozen(kw_only=True)
class Reply:
    """The bytes of one reply, and how they are sent; without a status there are none."""

    status: int | None = 200
    body: bytes = b""
    content_type: str = _JSON_TYPE
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    # The bytes that Content-Length announces and the server does not send.
    missing: int = 0
    # Seconds before each byte of the body.
    pause: float = 0.0
    # The number of spaces to stream instead of a body, without Content-Length.
    filler: int = 0
    # The connection afterwards is kept, closed with FIN, reset with RST, or open and silent.
    ending: Literal["keep", "close", "reset", "hang"] = "keep"
    # ErrorCode of the envelope in the body, if it is a number.
    code: int | None = None

    @classmethod
    def of(cls, answer: Answer) -> "Reply":
        code = answer.get("ErrorCode")
        body = json.dumps(answer, separators=(",", ":")).encode()
        return cls(body=body, code=code if type(code) is int else None)


@attrs.frozen
class Fault:
    """
    The base of all faults: the usual answer.

    Args:
        applied: Whether the request takes effect, so that a test can tell a lost answer from a lost
            request.
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
        return Reply.of(envelope() if answer is None else answer)


@attrs.frozen
class NotApplied(Fault):
    """The base of faults without effect of the request, unless ``applied`` is True."""

    applied: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen
class Delay(Fault):
    """
    Answer *seconds* later, as usual or with the fault *then*.

    A *late* request takes effect after the delay, even if the client has disconnected, any other
    at once.
    """

    seconds: float
    then: Fault | None = None
    late: bool = attrs.field(default=False, kw_only=True)
    applied: bool = attrs.field(default=True, init=False)


@attrs.frozen
class Later(Fault):
    """
    Answer at once with *then*, such as `ResetBefore()`, and apply the request *seconds* later.

    A server may finish a request after its client has disconnected.
    """

    seconds: float
    then: Fault
    applied: bool = attrs.field(default=True, init=False)


@attrs.frozen
class Status(NotApplied):
    """
    Answer with an HTTP *status*, as a gateway in front of the server does.

    The body is a page of *html* or empty. *retry_after*, seconds or any text, is the Retry-After
    header; there may be further *headers*.
    """

    status: int
    html: bool = attrs.field(default=False, kw_only=True)
    retry_after: str | float | None = attrs.field(default=None, kw_only=True)
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], kw_only=True)

    def reply(self, answer: Answer | None) -> Reply:
        headers = dict(self.headers)
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        body = _HTML if self.html else b""
        return Reply(status=self.status, body=body, content_type=_HTML_TYPE, headers=headers)


@attrs.frozen
class Redirect(NotApplied):
    """Answer with a redirect to *location*."""

    location: str
    status: int = attrs.field(default=307, kw_only=True)

    def reply(self, answer: Answer | None) -> Reply:
        return Reply(status=self.status, headers={"Location": self.location})


@attrs.frozen
class Refuse(Fault):
    """Refuse the request with the envelope *code* before anything takes effect."""

    code: int
    info: str = ""
    applied: bool = attrs.field(default=False, init=False)

    def reply(self, answer: Answer | None) -> Reply:
        return Reply.of(envelope(self.code, self.info))


@attrs.frozen
class Envelope(NotApplied):
    """
    Answer with these raw *fields*, and without those named in *omit*.

    They replace those of the true answer if the request takes effect, and are the whole answer
    otherwise.
    """

    fields: Mapping[str, object] = attrs.field(factory=dict[str, object])
    omit: Sequence[str] = attrs.field(default=(), kw_only=True)

    def reply(self, answer: Answer | None) -> Reply:
        fields = {**(answer or {}), **self.fields}
        return Reply.of({name: fields[name] for name in fields if name not in self.omit})


@attrs.frozen
class Garbled(NotApplied):
    """Answer 200 with a body that is not an answer."""

    body: bytes = b'{"ResultItem":[{"OptType"'
    content_type: str = attrs.field(default=_JSON_TYPE, kw_only=True)

    def reply(self, answer: Answer | None) -> Reply:
        return Reply(body=self.body, content_type=self.content_type)


@attrs.frozen
class Html(NotApplied):
    """Answer 200 with a page of HTML."""

    def reply(self, answer: Answer | None) -> Reply:
        return Reply(body=_HTML, content_type=_HTML_TYPE)


@attrs.frozen
class Empty(NotApplied):
    """Answer 200 with no body."""

    def reply(self, answer: Answer | None) -> Reply:
        return Reply()


@attrs.frozen
class Giant(NotApplied):
    """Stream a body of that many bytes, without a Content-Length."""

    size: int

    def reply(self, answer: Answer | None) -> Reply:
        return Reply(filler=self.size)


@attrs.frozen
class ResetBefore(Fault):
    """Drop the connection before the request takes effect, by RST if *rst*, else by FIN."""

    rst: bool = attrs.field(default=True, kw_only=True)
    applied: bool = attrs.field(default=False, init=False)

    def reply(self, answer: Answer | None) -> Reply:
        return Reply(status=None, ending="reset" if self.rst else "close")


@attrs.frozen
class ResetAfter(ResetBefore):
    """Drop the connection after the request took effect, without an answer."""

    applied: bool = attrs.field(default=True, init=False)


@attrs.frozen
class CloseAfterAnswer(Fault):
    """Answer as usual, and close the kept-alive connection after the answer without notice."""

    def reply(self, answer: Answer | None) -> Reply:
        return attrs.evolve(Fault.reply(self, answer), ending="close")


@attrs.frozen
class CutBody(Fault):
    """Announce the whole answer, send the part *at* from 0.0 to 1.0 (all but a byte), and close."""

    at: float = attrs.field(
        default=0.5, validator=[attrs.validators.ge(0.0), attrs.validators.le(1.0)]
    )

    def reply(self, answer: Answer | None) -> Reply:
        whole = Fault.reply(self, answer).body
        sent = min(int(len(whole) * self.at), len(whole) - 1)
        return Reply(body=whole[:sent], missing=len(whole) - sent, ending="close")


@attrs.frozen
class Hang(NotApplied):
    """Never answer; the connection stays open until the client closes it or the server stops."""

    def reply(self, answer: Answer | None) -> Reply:
        return Reply(status=None, ending="hang")


@attrs.frozen
class Drip(Fault):
    """Send the answer byte by byte."""

    seconds_per_byte: float

    def reply(self, answer: Answer | None) -> Reply:
        return attrs.evolve(Fault.reply(self, answer), pause=self.seconds_per_byte)


def shuffled(lines: list[Line], rng: Random) -> list[Line]:
    """Return *lines* in another order, if there is one."""
    if all(line == lines[0] for line in lines):
        return lines
    order = lines.copy()
    while order == lines:
        rng.shuffle(order)
    return order


def _named(line: Line) -> Line:
    """Return the part of a line that names the conversation."""
    return cast("Line", line.get("ContactItem", line))


def _key(line: Line) -> Key:
    named = _named(line)
    return cast("Key", (named["Type"], named.get("To_Account", named.get("ToGroupId"))))


@attrs.frozen
class Shuffle(Fault):
    """Answer with the lines in another order."""

    def lines(self, lines: list[Line], conversations: Sequence[Key], rng: Random) -> list[Line]:
        return shuffled(lines, rng)


@attrs.frozen
class DropLines(Fault):
    """
    Answer without the first *count* lines, or without those of *conversations*.

    Their items take effect if *applied*; all others do in any case.
    """

    count: int = 1
    conversations: Collection[Key | Named] = attrs.field(default=(), kw_only=True)
    dropped_applied: bool = attrs.field(default=True, kw_only=True, alias="applied")
    applied: bool = attrs.field(default=True, init=False)

    def _dropped(self, conversations: Sequence[Key]) -> frozenset[Key]:
        return frozenset(map(key_of, self.conversations or conversations[: self.count]))

    def skipped(self, conversations: Sequence[Key]) -> frozenset[Key]:
        return frozenset() if self.dropped_applied else self._dropped(conversations)

    def lines(self, lines: list[Line], conversations: Sequence[Key], rng: Random) -> list[Line]:
        dropped = self._dropped(conversations or [_key(line) for line in lines])
        return [line for line in lines if _key(line) not in dropped]


@attrs.frozen
class ExtraLines(Fault):
    """Answer with further lines, of conversations that the request does not name."""

    count: int = 1

    def lines(self, lines: list[Line], conversations: Sequence[Key], rng: Random) -> list[Line]:
        extra: list[Line] = []
        for number in range(self.count if lines else 0):
            stranger = contact((1, f"stranger_{number}"))
            line = {k: v for k, v in lines[0].items() if k not in ("To_Account", "ToGroupId")}
            extra.append(line | ({"ContactItem": stranger} if "ContactItem" in line else stranger))
        return lines + extra


@attrs.frozen
class DuplicateLines(Fault):
    """Answer with the first *count* lines a second time, at the end."""

    count: int = 1

    def lines(self, lines: list[Line], conversations: Sequence[Key], rng: Random) -> list[Line]:
        return lines + lines[: self.count]


@attrs.frozen
class NamelessLines(Fault):
    """Answer with the first *count* lines without their To_Account or ToGroupId."""

    count: int = 1

    def lines(self, lines: list[Line], conversations: Sequence[Key], rng: Random) -> list[Line]:
        for line in lines[: self.count]:
            for name in ("To_Account", "ToGroupId"):
                _named(line).pop(name, None)
        return lines
