"""What a stranger tries first to break a session, where no other suite has it."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import attrs
import pytest
from rig import Rig
from virtual_rig import BOB, OwnBudget, VirtualRig, change, changes

from chatmark import (
    Conversation,
    DeadlineExceededError,
    InputError,
    MarkChange,
    MarkHandle,
    SessionBrokenError,
    SessionClosedError,
    SessionError,
    TransportError,
)
from chatmark.emulator import Delay, Emulator
from chatmark.failures import UnsentError
from chatmark.wire.messages import NoAnswer, Reply

pytestmark = pytest.mark.virtual_time

_OK: Final = b"HTTP/1.1 200 OK\r\n"


@attrs.frozen
class Oddity:
    """
    A server that is none for us.

    Args:
        name: What it is.
        says: What it sends to whoever connects.
        told: What the caller is told in the end.
        listens: Whether it waits for a request first.
    """

    name: str
    says: bytes
    told: str = "lost the connection to 127.0.0.1"
    listens: bool = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Say it, and hang up."""
        try:
            if self.listens:
                await reader.readuntil(b"\r\n\r\n")
            writer.write(self.says)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def _zipped(size: int) -> bytes:
    body = gzip.compress(b"\0" * size, mtime=0)
    head = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    return _OK + head + body


ODDITIES: Final = (
    Oddity("a server of ssh", b"SSH-2.0-OpenSSH_9.6\r\n", listens=False),
    Oddity("hangs up at once", b"", listens=False),
    Oddity("hangs up on a request", b""),
    Oddity(
        "answers before it is asked",
        _OK + b"Content-Length: 2\r\n\r\n{}",
        "HTTP 200|127.0.0.1",
        listens=False,
    ),
    Oddity("two lengths", _OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    Oddity("headers without end", _OK + b"X-A: 1\r\n" * 50_000),
    Oddity("only promises", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    Oddity("chunks of no size", _OK + b"Transfer-Encoding: chunked\r\n\r\nZZZ\r\n"),
    Oddity("no gzip", _OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"),
    Oddity("a bomb of gzip", _zipped(50_000_000), "has more than 2097152 bytes"),
)


class TestServers:
    @pytest.mark.parametrize("oddity", ODDITIES, ids=lambda oddity: oddity.name)
    async def test_that_are_none(self, rig: VirtualRig, oddity: Oddity) -> None:
        """
        A server that speaks no HTTP, or HTTP to break a client: a typed error at the deadline.
        """
        server = await asyncio.start_server(oddity.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        session = rig.session(base_url=url, deadline=3.0)
        with pytest.raises(DeadlineExceededError, match=oddity.told):
            await session.mark("alice", BOB, custom_mark="x")
        await session.close()
        server.close()
        await server.wait_closed()

        assert 3.0 <= rig.now <= 13.0

    async def test_https_to_a_port_of_http(self, rig: VirtualRig) -> None:
        """Https to a server of http says that it cannot connect, and sends nothing."""
        session = rig.session(base_url=rig.emulator.url.replace("http:", "https:"), deadline=1.0)
        with pytest.raises(DeadlineExceededError, match="cannot connect") as caught:
            await session.mark("alice", BOB, custom_mark="x")

        assert isinstance(caught.value.last, TransportError)
        assert [] == rig.emulator.calls


class TestPlaces:
    def test_a_thread_marks_through_the_loop(self) -> None:
        """
        A thread that marks by `run_coroutine_threadsafe`, as asyncio would have it, is served.
        """

        async def main() -> list[bool]:
            loop = asyncio.get_running_loop()
            async with Emulator() as emulator, Rig(emulator).session() as session:

                def mark(number: int) -> bool:
                    marking = session.mark("alice", BOB, custom_mark=f"{number}")
                    return asyncio.run_coroutine_threadsafe(marking, loop).result(30).ok

                return await asyncio.gather(*(asyncio.to_thread(mark, n) for n in range(20)))

        assert [True] * 20 == asyncio.run(main())

    async def test_a_thread_cancels_a_handle(self, rig: VirtualRig) -> None:
        """A handle says that it belongs to its loop, and the change is made."""
        rig.emulator.script.always(Delay(1.0))
        session = rig.session()
        await session.submit(change())
        handle = await session.submit(change("alice", "carol"))
        with ThreadPoolExecutor() as pool, pytest.raises(SessionError, match="event loop"):
            pool.submit(handle.cancel).result()

        assert (await handle.settled()).ok

    async def test_entered_twice(self, rig: VirtualRig) -> None:
        """A session is closed by the first block that ends, and its second life is refused."""
        session = rig.session()
        async with session:
            async with session:
                await session.mark("alice", BOB, custom_mark="x")
            with pytest.raises(SessionClosedError):
                await session.mark("alice", BOB, custom_mark="y")
        with pytest.raises(SessionClosedError):
            await session.__aenter__()

    async def test_a_source_that_closes_the_session(self, rig: VirtualRig) -> None:
        """A source that closes the session between its rows ends its job, and nothing hangs."""
        session = rig.session()

        async def rows() -> AsyncIterator[MarkChange]:
            yield change("alice")
            await session.close()
            yield change("carol")

        with pytest.raises(SessionClosedError):
            await session.apply(rows())

        assert (1, 1) == (session.stats.accepted, session.stats.succeeded)

    async def test_a_consumer_that_closes_the_session(self, rig: VirtualRig) -> None:
        """
        A consumer that closes the session in its loop gets the results of all that was accepted.
        """
        rig.emulator.script.always(Delay(0.1))
        session = rig.session(max_pending=50)
        seen = 0

        async def consume() -> None:
            nonlocal seen
            async for _ in session.stream(changes(3000, 3)):
                seen += 1
                if seen == 3:
                    await session.close()

        with pytest.raises(SessionClosedError):
            await consume()

        assert seen == session.stats.accepted == session.stats.succeeded < 200


class TestArguments:
    @pytest.mark.parametrize(
        "grace", [-1, float("nan"), float("-inf"), pytest.param(10**400, id="huge"), "5", True]
    )
    async def test_a_grace_that_is_none(self, rig: VirtualRig, grace: Any) -> None:
        """
        A grace that must be a number is refused before anything is closed.

        A timer at the time NaN would keep all others of the loop from going off.
        """
        session = rig.session()
        with pytest.raises(InputError, match="grace"):
            await session.close(grace)

        assert (await session.mark("alice", BOB, custom_mark="x")).ok

    @pytest.mark.parametrize("wanted", [["bob"], "bob", [None], [BOB, 5]], ids=repr)
    async def test_a_search_for_something_else(self, rig: VirtualRig, wanted: Any) -> None:
        """A search for what is no conversation is refused, and makes no call."""
        session = rig.session()
        with pytest.raises(InputError, match="conversations"):
            await session.search("alice", wanted)

        assert ([], {}) == (rig.emulator.calls, await session.search("alice", []))

    @pytest.mark.parametrize("user", ["a b&c=d#e?", "%00", "../../admin", '"'])
    async def test_ids_that_mean_something_elsewhere(self, rig: VirtualRig, user: str) -> None:
        """Ids of printable ASCII are ids, whatever they mean to a URL, a path or JSON."""
        session = rig.session()
        await session.mark(user, Conversation.one_to_one(user), custom_mark='"\\\x00\u202e標')
        found = [each async for each in session.marked(user)]

        assert [(user, '"\\\x00\u202e標')] == [
            (each.conversation.id, each.custom_mark) for each in found
        ]


class Deaf:
    """A transport that never waits, and never has an answer."""

    def __init__(self) -> None:
        self.calls = 0

    async def post(self, path: str, query: Mapping[str, str], body: bytes) -> Reply:
        """Fail at once."""
        self.calls += 1
        if self.calls > 1000:
            raise AssertionError("nobody else gets a turn")
        return NoAnswer(TransportError("deaf"), "deaf")

    async def aclose(self) -> None:
        """Do nothing."""


class TestOwnParts:
    async def test_a_transport_that_never_waits(self, rig: VirtualRig) -> None:
        """A transport that fails at once, under a backoff of nothing, leaves others their turns."""
        transport = Deaf()
        session = rig.session(transport=transport, base_url=None, backoff=lambda _: 0.0)
        handle = await session.submit(change())
        for _ in range(50):
            await asyncio.sleep(0)

        assert 10 < transport.calls <= 50
        with pytest.raises(UnsentError):
            await session.close(0)
        assert not (await handle.settled()).ok

    @pytest.mark.parametrize("turns", range(6))
    async def test_a_budget_that_counts(self, rig: VirtualRig, turns: int) -> None:
        """
        At whatever moment the tasks of a session end, each permit is used or given back, once.
        """
        budget = OwnBudget()
        session = rig.session(budget=budget)
        await session.mark("alice", BOB, custom_mark="x")
        handles = [await session.submit(each) for each in changes(12, 12)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks():
            if task.get_name().startswith("chatmark"):
                task.cancel()
        results = [await handle.settled() for handle in handles]

        assert {SessionBrokenError} == {type(result.error) for result in results}
        for each in budget.permits:
            assert 1 == len([word for word in each.heard if word != "sent"])

    def test_a_keyboard_interrupt_in_a_hook(self) -> None:
        """Ctrl-C that strikes inside a hook ends the program as anywhere else, and every handle."""
        handles: list[MarkHandle] = []
        strikes = [KeyboardInterrupt()]

        def strike(_: object) -> None:
            if strikes:
                raise strikes.pop()

        async def main() -> None:
            async with Emulator() as emulator, Rig(emulator).session(hooks=[strike]) as session:
                handles.extend([await session.submit(each) for each in changes(300, 3)])
                await session.flush()

        with pytest.raises(KeyboardInterrupt):
            asyncio.run(main())

        assert (300, True) == (len(handles), all(handle.done() for handle in handles))
