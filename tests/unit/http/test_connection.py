"""Answers that are not those to the request that gets them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import pytest

from chatmark import Conversation, ConversationMark, Credentials, ItemRefusedError, MarkSession

BOB: Final = Conversation.one_to_one("bob")
CREDENTIALS: Final = Credentials(sdkappid=1, identifier="a", usersig="x" * 20)
Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


def answer(code: int = 0) -> bytes:
    """Return an HTTP answer that has this code for the conversation with bob."""
    item = {"Type": 1, "To_Account": "bob"}
    body = json.dumps(
        {
            "ActionStatus": "OK",
            "ErrorCode": 0,
            "ErrorInfo": "",
            "ResultItem": [{"ContactItem": item, "ResultCode": code, "ResultInfo": ""}],
        }
    ).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def chunked(code: int = 0) -> bytes:
    """Return the same without a length."""
    body = answer(code).partition(b"\r\n\r\n")[2]
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return b"%b%x\r\n%b\r\n0\r\n\r\n" % (head, len(body), body)


@asynccontextmanager
async def server(replies: list[Reply]) -> AsyncIterator[Any]:
    """
    Run a server that answers request by request; give its URL and how many connections it had.
    """
    counts = {"connections": 0, "requests": 0}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        counts["connections"] += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split()[0])
                await reader.readexactly(length)
                number = min(counts["requests"], len(replies) - 1)
                counts["requests"] += 1
                await replies[number](writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    made = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = made.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}", counts
    finally:
        made.close()


def sends(*parts: bytes) -> Reply:
    """Return what sends parts, each in a segment of its own."""

    async def send(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            for _ in range(20):
                await asyncio.sleep(0)

    return send


REFUSED: Final = answer(50001)
COPIES: Final = {
    "late": sends(answer(), answer()),
    "in two parts": sends(answer(), answer()[:60], answer()[60:]),
    "in part": sends(answer(), answer()[:60]),
    "behind it": sends(answer() + answer()),
    "a part behind it": sends(answer() + answer()[:60]),
    "bytes behind it": sends(answer() + b"x"),
    "line ends behind it": sends(answer() + b"\r\n"),
    "behind the last chunk": sends(chunked() + answer()),
    "a part behind the last chunk": sends(chunked() + chunked()[:40]),
    "late after chunks": sends(chunked(), chunked()),
}


class TestCopies:
    @pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
    @pytest.mark.parametrize("lent", [False, True])
    async def test_is_no_answer(self, copy: Any, lent: bool) -> None:
        """What arrives behind an answer is never taken for the answer to the next request."""
        async with server([copy, sends(REFUSED)]) as (url, counts), aiohttp.ClientSession() as http:
            options: dict[str, Any] = {"http": http} if lent else {}
            async with MarkSession(CREDENTIALS, base_url=url, **options) as session:
                await session.mark("amy", BOB, set_mark=ConversationMark.FAVORITE)
                for _ in range(50):
                    await asyncio.sleep(0)
                with pytest.raises(ItemRefusedError):
                    await session.mark("amy", BOB, set_mark=ConversationMark.HIDDEN)

        assert (2, 2) == (counts["connections"], counts["requests"])

    @pytest.mark.parametrize("whole", [answer(), chunked()])
    async def test_good_connections_are_kept(self, whole: bytes) -> None:
        """A connection with nothing behind its answers serves one request after another."""
        replies = [sends(whole), sends(whole[:30], whole[30:])]
        async with (
            server(replies) as (url, counts),
            MarkSession(CREDENTIALS, base_url=url) as session,
        ):
            for _ in range(5):
                await session.mark("amy", BOB, set_mark=ConversationMark.FAVORITE)

        assert (1, 5) == (counts["connections"], counts["requests"])

    async def test_in_the_last_moment(self) -> None:
        """
        What has arrived, but was not read yet when the next request begins, is no answer to it.
        """
        writers: list[asyncio.StreamWriter] = []

        async def send(writer: asyncio.StreamWriter) -> None:
            writer.write(answer())
            writers.append(writer)

        async with (
            server([send, sends(REFUSED)]) as (url, counts),
            MarkSession(CREDENTIALS, base_url=url) as session,
        ):
            await session.mark("amy", BOB, set_mark=ConversationMark.FAVORITE)
            marking = asyncio.ensure_future(
                session.mark("amy", BOB, set_mark=ConversationMark.HIDDEN)
            )
            # The copy reaches the socket before the loop looks at it again.
            writers[0].write(answer())
            with pytest.raises(ItemRefusedError):
                await marking

        assert 2 == counts["connections"]
