"""The faults of whole answers: another status, another envelope, no answer at all."""

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from chatmark.emulator.delivery.reply import JSON_TYPE, Reply
from chatmark.emulator.faults.fault import Fault, envelope_code
from chatmark.emulator.wire.answers import Answer, envelope, written

HTML: Final = b"<html><head><title>Bad Gateway</title></head><body>Bad Gateway</body></html>"
_HTML_TYPE: Final = "text/html"


@attrs.frozen
class Status(Fault):
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
    applied: bool = attrs.field(default=False, kw_only=True)

    def reply(self, answer: Answer | None) -> Reply:
        """
        Return the status with its headers.
        """
        del answer
        headers = tuple(self.headers.items())
        if self.retry_after is not None:
            headers = (*headers, ("Retry-After", str(self.retry_after)))
        body = HTML if self.html else b""
        return Reply(status=self.status, body=body, content_type=_HTML_TYPE, headers=headers)


@attrs.frozen
class Redirect(Fault):
    """
    Answer with a redirect to *location*.
    """

    location: str
    status: int = attrs.field(default=307, kw_only=True)
    applied: bool = attrs.field(default=False, kw_only=True)

    def reply(self, answer: Answer | None) -> Reply:
        """
        Return the redirect.
        """
        del answer
        return Reply(status=self.status, headers=(("Location", self.location),))


@attrs.frozen
class Refuse(Fault):
    """
    Refuse the request with the envelope *code* before anything takes effect.
    """

    code: int
    info: str = ""
    applied: bool = attrs.field(default=False, init=False)

    def reply(self, answer: Answer | None) -> Reply:
        """
        Return the envelope with the code.
        """
        del answer
        return Reply(body=written(envelope(self.code, self.info)), code=self.code)


@attrs.frozen
class Envelope(Fault):
    """
    Answer with these raw fields, whatever they are.

    Args:
        fields: Names and values. They replace those of the true answer if the request takes
            effect, and are the whole answer otherwise.
        omit: Names of fields to leave out.
    """

    fields: Mapping[str, object] = attrs.field(factory=dict[str, object])
    omit: Sequence[str] = attrs.field(default=(), kw_only=True)
    applied: bool = attrs.field(default=False, kw_only=True)

    def reply(self, answer: Answer | None) -> Reply:
        """
        Return the fields, over those of the true answer.
        """
        merged = {**(answer or {}), **self.fields}
        for name in self.omit:
            merged.pop(name, None)
        return Reply(body=written(merged), code=envelope_code(merged))


@attrs.frozen
class Garbled(Fault):
    """
    Answer 200 with a body that is no answer.
    """

    body: bytes = b'{"ResultItem":[{"OptType"'
    content_type: str = attrs.field(default=JSON_TYPE, kw_only=True)
    applied: bool = attrs.field(default=False, kw_only=True)

    def reply(self, answer: Answer | None) -> Reply:
        """
        Return the body as it is.
        """
        del answer
        return Reply(body=self.body, content_type=self.content_type)


@attrs.frozen
class Html(Fault):
    """
    Answer 200 with a page of HTML.
    """

    applied: bool = attrs.field(default=False, kw_only=True)

    def reply(self, answer: Answer | None) -> Reply:
        """
        Return the page.
        """
        del answer
        return Reply(body=HTML, content_type=_HTML_TYPE)


@attrs.frozen
class Empty(Fault):
    """
    Answer 200 with no body.
    """

    applied: bool = attrs.field(default=False, kw_only=True)

    def reply(self, answer: Answer | None) -> Reply:
        """
        Return an empty body.
        """
        del answer
        return Reply()


@attrs.frozen
class Giant(Fault):
    """
    Stream a body of that many bytes, without saying so beforehand.
    """

    size: int
    applied: bool = attrs.field(default=False, kw_only=True)

    def reply(self, answer: Answer | None) -> Reply:
        """
        Return the length of the stream.
        """
        del answer
        return Reply(filler=self.size)
