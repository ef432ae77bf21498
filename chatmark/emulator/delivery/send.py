"""Send a reply over its connection, or break the connection as the reply says."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from chatmark.emulator.delivery.reply import Ending, Reply

_CHUNK: Final = b" " * 65536
# A linger time of zero turns a close into a reset.
_NO_LINGER: Final = struct.pack("ii", 1, 0)


async def deliver(
    request: web.BaseRequest,
    reply: Reply,
    sleep: Callable[[float], Awaitable[object]],
    before_drop: Callable[[], None],
) -> web.StreamResponse:
    """
    Send *reply* to *request*.

    Args:
        request: The request.
        reply: The bytes, and the way to send them.
        sleep: Waits for that many seconds.
        before_drop: Called before the connection is dropped, because the client may send its
            next request before the handler of this one has ended.
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
