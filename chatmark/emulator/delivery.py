"""The bytes of a reply, well-formed or not: send them, or break the connection as it says."""

import asyncio
import enum
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
from aiohttp import web

JSON_TYPE: Final = "application/json"
_CHUNK: Final = b" " * 65536
# A linger time of zero turns a close into a reset.
_NO_LINGER: Final = struct.pack("ii", 1, 0)


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


async def deliver(
    request: web.BaseRequest,
    reply: Reply,
    sleep: Callable[[float], Awaitable[object]],
    before_drop: Callable[[], None],
) -> web.StreamResponse:
    """
    Send *reply* to *request*.

    The client of a dropped connection may send its next request before the handler of this one has
    ended, so *before_drop* is called first.
    """
    headers = {"Content-Type": reply.content_type, **dict(reply.headers)}
    if reply.is_plain and reply.status is not None:
        return web.Response(status=reply.status, body=reply.body, headers=headers)
    response = web.StreamResponse(headers=headers)
    try:
        if reply.status is not None:
            response.set_status(reply.status)
            await _stream(request, response, reply, sleep)
    except ConnectionError:
        await _until_gone()
    if reply.ending is Ending.KEEP:
        return response
    if reply.ending is not Ending.HANG:
        before_drop()
        _drop(request.transport, reset=reply.ending is Ending.RESET)
    await _until_gone()
    return response


async def _stream(
    request: web.BaseRequest,
    response: web.StreamResponse,
    reply: Reply,
    sleep: Callable[[float], Awaitable[object]],
) -> None:
    if not reply.filler:
        response.content_length = len(reply.body) + reply.missing
    await response.prepare(request)
    if reply.filler:
        for start in range(0, reply.filler, len(_CHUNK)):
            await response.write(_CHUNK[: reply.filler - start])
    elif reply.pause:
        for byte in reply.body:
            # No wait after the last byte: the client may send its next request at once.
            await sleep(reply.pause)
            await response.write(bytes([byte]))
    elif reply.body:
        await response.write(reply.body)
    if not reply.missing:
        await response.write_eof()


def _drop(transport: asyncio.Transport | None, *, reset: bool) -> None:
    if transport is None:
        return
    if not reset:
        transport.close()
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


async def _until_gone() -> None:
    """Wait until aiohttp cancels the handler, because the connection is gone."""
    await asyncio.get_running_loop().create_future()
