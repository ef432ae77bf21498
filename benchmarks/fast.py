"""
A far end that costs next to nothing, so that a client's own cost shows.

It reads just enough of a request to answer with the right line for each conversation, checks
nothing, and serves every client alike. The answers are those of the emulator, byte for byte but for
the spaces that a client may have put into what is repeated.
"""

import asyncio
import re
from typing import Final

import attrs

_BLANK: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CONTACT: Final = re.compile(rb'"ContactItem": ?(\{[^}]*\})')
_LINE: Final = (b'{"OptType":1,"ContactItem":', b',"ResultCode":0,"ResultInfo":""}')
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_TAIL: Final = b'],"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":""}'


@attrs.define
class FastServer:
    """
    Answers mark_contact with success.

    Args:
        round_trip: Seconds until it answers.
        calls: How many requests it has answered.
    """

    round_trip: float = 0.0
    calls: int = 0

    async def start(self) -> str:
        """Listen, and return the base URL."""
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0)
        return f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"

    def answer(self, body: bytes) -> bytes:
        """Return the answer to a request, head and all."""
        self.calls += 1
        before, after = _LINE
        lines = (after + b"," + before).join(_CONTACT.findall(body))
        text = b"".join((b'{"ResultItem":[', before, lines, after, _TAIL))
        return _HEAD % len(text) + text


class _Connection(asyncio.Protocol):
    """One client's requests, one after another."""

    def __init__(self, server: FastServer) -> None:
        self._server = server
        self._buffer = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (head := self._buffer.find(_BLANK)) >= 0:
            end = head + len(_BLANK)
            length = _LENGTH.search(self._buffer, 0, end)
            stop = end + (int(length[1]) if length else 0)
            if len(self._buffer) < stop:
                return
            self._reply(self._server.answer(bytes(self._buffer[end:stop])))
            del self._buffer[:stop]

    def _reply(self, answer: bytes) -> None:
        if self._transport is None:
            return
        if self._server.round_trip:
            loop = asyncio.get_running_loop()
            loop.call_later(self._server.round_trip, self._transport.write, answer)
        else:
            self._transport.write(answer)
