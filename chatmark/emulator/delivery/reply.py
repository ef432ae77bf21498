"""What goes over the connection for one request, well-formed or not."""

import enum
from typing import Final

import attrs

JSON_TYPE: Final = "application/json"


class Ending(enum.Enum):
    """
    What happens to the connection after a reply.

    Attributes:
        KEEP: It stays open for the next request.
        CLOSE: It is closed in order (FIN).
        RESET: It is reset (RST).
        HANG: It stays open and nothing more is sent.
    """

    KEEP = enum.auto()
    CLOSE = enum.auto()
    RESET = enum.auto()
    HANG = enum.auto()


@attrs.frozen(kw_only=True)
class Reply:
    """
    The bytes of one reply and how they are sent.

    Args:
        status: HTTP status, or None to send nothing at all.
        body: The body.
        content_type: Content-Type.
        headers: Further headers.
        missing: How many bytes more than sent Content-Length announces.
        pause: Seconds between any two bytes of the body.
        filler: How many spaces to stream instead of a body; without Content-Length.
        ending: What happens to the connection afterwards.
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
        """Whether any HTTP server could have sent it."""
        return (
            self.status is not None
            and self.ending is Ending.KEEP
            and not (self.missing or self.pause or self.filler)
        )
