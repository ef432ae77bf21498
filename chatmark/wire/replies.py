"""The values between the decisions and the network: an answer, or why there is none."""

import attrs

from chatmark.errors import ChatmarkError
from chatmark.lazy import publish


@attrs.frozen
class HttpAnswer:
    """
    An answer as it came.

    Args:
        status: The HTTP status.
        body: The body, whole.
        retry_after: The header of that name.
        date: The header of that name.
    """

    status: int
    body: bytes
    retry_after: str | None = None
    date: str | None = None


@attrs.frozen
class NoAnswer:
    """
    Why no answer came.

    Args:
        error: The error for callers, without a URL.
        reason: One word for the counters: "connection", "dropped", "timeout", "size", "tls",
            "signature".
        dropped: The connection was lost, so that another is worth an attempt at once.
        final: Another attempt cannot fare better.
        sent: The request may have reached the server. False means that it certainly did not.
    """

    error: ChatmarkError
    reason: str
    dropped: bool = False
    final: bool = False
    sent: bool = True


Reply = HttpAnswer | NoAnswer


publish(__name__)
