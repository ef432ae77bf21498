"""Faults of whole answers: another status or envelope, a connection dropped, silent or slow."""

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from chatmark.emulator.delivery import JSON_TYPE, Ending, Reply
from chatmark.emulator.faults.fault import Fault, NotApplied, envelope_code
from chatmark.emulator.wire.answers import Answer, envelope, to_json

HTML: Final = b"<html><head><title>Bad Gateway</title></head><body>Bad Gateway</body></html>"
_HTML_TYPE: Final = "text/html"


@attrs.frozen
class Status(NotApplied):
    """
    Answer with an HTTP status, as a gateway in front of the server does.

    Args:
        status: The status.
        html: Whether the body is a page of HTML; it is empty otherwise.
        retry_after: Value of the Retry-After header, seconds or any text.
        headers: Further headers.
    """

    status: int
    html: bool = attrs.field(default=False, kw_only=True)
    retry_after: str | float | None = attrs.field(default=None, kw_only=True)
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], kw_only=True)

    def reply(self, answer: Answer | None) -> Reply:
        headers = tuple(self.headers.items())
        if self.retry_after is not None:
            headers = (*headers, ("Retry-After", str(self.retry_after)))
        body = HTML if self.html else b""
        return Reply(status=self.status, body=body, content_type=_HTML_TYPE, headers=headers)


@attrs.frozen
class Redirect(NotApplied):
    """Answer with a redirect to *location*."""

    location: str
    status: int = attrs.field(default=307, kw_only=True)

    def reply(self, answer: Answer | None) -> Reply:
        return Reply(status=self.status, headers=(("Location", self.location),))


@attrs.frozen
class Refuse(Fault):
    """Refuse the request with the envelope *code* before anything takes effect."""

    code: int
    info: str = ""
    applied: bool = attrs.field(default=False, init=False)

    def reply(self, answer: Answer | None) -> Reply:
        return Reply(body=to_json(envelope(self.code, self.info)), code=self.code)


@attrs.frozen
class Envelope(NotApplied):
    """
    Answer with these raw fields.

    Args:
        fields: Names and values. They replace those of the true answer if the request takes
            effect, and are the whole answer otherwise.
        omit: Names of fields to leave out.
    """

    fields: Mapping[str, object] = attrs.field(factory=dict[str, object])
    omit: Sequence[str] = attrs.field(default=(), kw_only=True)

    def reply(self, answer: Answer | None) -> Reply:
        merged = {**(answer or {}), **self.fields}
        for name in self.omit:
            merged.pop(name, None)
        return Reply(body=to_json(merged), code=envelope_code(merged))


@attrs.frozen
class Garbled(NotApplied):
    """Answer 200 with a body that is not an answer."""

    body: bytes = b'{"ResultItem":[{"OptType"'
    content_type: str = attrs.field(default=JSON_TYPE, kw_only=True)

    def reply(self, answer: Answer | None) -> Reply:
        return Reply(body=self.body, content_type=self.content_type)


@attrs.frozen
class Html(NotApplied):
    """Answer 200 with a page of HTML."""

    def reply(self, answer: Answer | None) -> Reply:
        return Reply(body=HTML, content_type=_HTML_TYPE)


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
