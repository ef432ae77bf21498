"""
A pooled connection that hands out nothing but the answer to its own request.

aiohttp keeps what arrives on an idle connection and takes it for the answer to the next request: a
copy of an earlier answer, sent late or twice, would confirm a change that the server never saw. So
a connection is closed when bytes arrive while it is idle, when bytes stood behind its last answer,
and when there is something to read before a request is written.
"""

import asyncio
import functools
import re
import select
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

_HEAD_END: Final = b"\r\n\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\nContent-Length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)


class GuardedConnection(ResponseHandler):
    """
    aiohttp's protocol of one connection, which closes itself when it cannot be trusted any more.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._is_used = False
        self._head: bytes | None = b""
        self._received = 0
        # Bytes of the whole answer, 0 where its headers do not say.
        self._expected = 0
        self._end = b""

    def set_response_params(self, **params: Any) -> None:
        """Begin a request; aiohttp calls this before it writes the first byte."""
        if self._is_used and self._has_input():
            # aiohttp writes nothing to a connection that closes, and reports it as lost.
            self._close_now()
        self._is_used = True
        # That of the answer before.
        self._payload = None
        self._head, self._received, self._expected, self._end = b"", 0, 0, b""
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Take bytes of an answer; a byte beyond it ends the connection."""
        if data:
            if self._is_answered:
                self._close_now()
                return
            self._count(data)
            if 0 < self._expected < self._received:
                data = data[: self._expected - self._received]
        super().data_received(data)
        if self._is_answered and not self._ended_exactly:
            self._close_now()

    @property
    def _is_answered(self) -> bool:
        return self._payload is not None and self._payload.is_eof()

    @property
    def _ended_exactly(self) -> bool:
        if self._expected:
            return self._received == self._expected
        return self._end == _LAST_CHUNK

    def _count(self, data: bytes) -> None:
        self._received += len(data)
        self._end = (self._end + data)[-len(_LAST_CHUNK) :]
        if self._head is None:
            return
        self._head += data
        end = self._head.find(_HEAD_END)
        if end >= 0:
            length = _LENGTH.search(self._head, 0, end + 2)
            if length is not None:
                self._expected = end + len(_HEAD_END) + int(length[1])
            self._head = None

    def _has_input(self) -> bool:
        sock = None if self.transport is None else self.transport.get_extra_info("socket")
        if sock is None or not hasattr(select, "poll"):
            return False
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))

    def _close_now(self) -> None:
        self.force_close()
        if self.transport is not None:
            self.transport.close()


def guard(connector: aiohttp.BaseConnector | None) -> None:
    """
    Let a connector make guarded connections from now on.

    aiohttp has no public way to choose the protocol of its connections; a connector without the
    attribute keeps its own.
    """
    make = getattr(connector, "_factory", None)
    if isinstance(make, functools.partial) and make.func is ResponseHandler:
        connector._factory = functools.partial(  # type: ignore[union-attr]  # noqa: SLF001
            GuardedConnection, *make.args, **make.keywords
        )
