"""The bytes of a reply, well-formed or not, and the end of its connection."""

import enum
from typing import Final

import attrs

JSON_TYPE: Final = "application/json"


class Ending(enum.Enum):
    """
    The state of the connection after a reply.

    Attributes:
        KEEP: Open for the next request.
        CLOSE: Closed with FIN.
        RESET: Reset with RST.
        HANG: Open, and silent.
    """

    KEEP = enum.auto()
    CLOSE = enum.auto()
    RESET = enum.auto()
    HANG = enum.auto()


@attrs.frozen(kw_only=True)
class Reply:
    """
    The bytes of one reply, and the way in which they are sent.

    Args:
        status: HTTP status, or None to send nothing at all.
        body: The body.
        content_type: Content-Type.
        headers: Further headers.
        missing: The bytes that Content-Length announces and the server does not send.
        pause: Seconds between any two bytes of the body.
        filler: The number of spaces to stream instead of a body, without Content-Length.
        ending: The state of the connection afterwards.
        code: ErrorCode of the envelope in the body, None if there is no readable one.
    """

    status: int | None = 200
    body: bytes = b""
    content_type: str = JSON_TYPE
    headers: tuple[tuple[str, str], ...] = ()
    missing: int = 0
    pause: float = 0.0
    filler: int = 0
    ending: Ending = Ending.KEEP
    code: int | None = None

    @property
    def is_plain(self) -> bool:
        """Whether any HTTP server could send this reply."""
        return (
            self.status is not None
            and self.ending is Ending.KEEP
            and not (self.missing or self.pause or self.filler)
        )
