"""What a review found: permits that wait, hooks that make events, leaving under cancellation."""

import asyncio
import contextlib
import pickle
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from rig import windows
from virtual_rig import VirtualRig
from virtual_time import run

from chatmark import (
    Conversation,
    Credentials,
    MarkChange,
    MarkHandle,
    MarkResult,
    MarkSession,
    Region,
    SessionError,
    SignatureError,
    TransportError,
    UnsentError,
    make_usersig,
)
from chatmark.emulator import Delay, Hang, Refuse
from chatmark.wire.messages import NoAnswer, Reply

pytestmark = pytest.mark.virtual_time

# Virtual time has no jitter, and a second added and taken away may be a little less in floats.
SECOND = 1.0 - 1e-6
KEY = "example-secret-not-real"
BOB = Conversation.one_to_one("bob")


async def slow_provider() -> str:
    """Give a signature after three seconds."""
    await asyncio.sleep(3)
    return make_usersig(1400000001, "administrator", KEY, now=1_700_000_000, expire=10**9)


def credentials() -> Credentials:
    """Return credentials whose signature comes late."""
    return Credentials(sdkappid=1400000001, identifier="administrator", provider=slow_provider)


class TestPace:
    async def test_holds_for_marks_after_a_slow_signature(self, rig: VirtualRig) -> None:
        """Marks that waited for a UserSig do not leave together."""
        session = rig.session(credentials=credentials(), calls_per_second=10)
        bob = Conversation.one_to_one("bob")
        await session.apply([MarkChange(f"u{n}", bob, custom_mark="x") for n in range(60)])

        assert windows((call.started for call in rig.emulator.calls), SECOND) <= 10

    async def test_holds_for_reads_after_a_slow_signature(self, rig: VirtualRig) -> None:
        """Searches that waited for a UserSig do not leave together."""
        session = rig.session(credentials=credentials(), calls_per_second=10)
        bob = Conversation.one_to_one("bob")
        await asyncio.gather(*[session.search(f"u{n}", [bob]) for n in range(40)])

        assert windows((call.started for call in rig.emulator.calls), SECOND) <= 10


class TestHooks:
    async def test_may_withdraw_hundreds_of_changes(self, rig: VirtualRig) -> None:
        """
        A hook whose doing makes events is not called from within itself, and every waiter wakes.
        """
        handles: list[MarkHandle] = []
        session = rig.session(hooks=[lambda _: [handle.cancel() for handle in handles]])
        for n in range(900):
            change = MarkChange(f"u{n % 3}", Conversation.one_to_one(f"p{n}"), custom_mark="x")
            handles.append(await session.submit(change))
        results = await asyncio.gather(*[wait(handle) for handle in handles])

        assert 900 == len(results)
        assert 900 == session.stats.succeeded + session.stats.withdrawn


class TestLeaving:
    async def test_after_a_cancellation_begins_nothing(self, rig: VirtualRig) -> None:
        """A cancelled body waits for what is in flight, and sends nothing again."""
        rig.emulator.script.always(Hang())
        session = rig.session(timeout=2.0, close_grace=30.0)

        async def body() -> None:
            async with session:
                await session.mark("alice", Conversation.one_to_one("bob"), custom_mark="x")

        task = asyncio.create_task(body())
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.wait([task])

        assert 1 == session.stats.calls
        assert rig.now <= 2.5


class TestManyJobs:
    async def test_end_without_a_look_at_all_that_waits(self, rig: VirtualRig) -> None:
        """A job that is over looks for no rows of its own among those of others."""
        session = rig.session()
        await session.mark("alice", Conversation.one_to_one("bob"), custom_mark="x")
        looks: list[object] = []

        def look(sink: object, *_: object) -> list[Any]:
            looks.append(sink)
            return []

        session._engine.withdraw_many = look  # type: ignore[method-assign, assignment]
        await session.apply([MarkChange("eve", Conversation.group("g"), custom_mark="x")])

        assert [] == looks


class TestHandles:
    async def test_are_not_cancelled_from_a_thread(self, rig: VirtualRig) -> None:
        """A handle says that it belongs to its loop, and the change is made."""
        rig.emulator.script.always(Delay(1.0))
        session = rig.session()
        first = await session.submit(MarkChange("ann", BOB, custom_mark="x"))
        handle = await session.submit(MarkChange("ann", BOB, custom_mark="y"))
        with ThreadPoolExecutor() as pool, pytest.raises(SessionError, match="event loop"):
            pool.submit(handle.cancel).result()

        assert (await first.settled()).ok
        assert (await handle.settled()).ok
        assert not handle.cancel()

    async def test_are_not_pickled(self, rig: VirtualRig) -> None:
        """A handle cannot be copied, and says why."""
        handle = await rig.session().submit(MarkChange("ann", BOB, custom_mark="x"))
        with pytest.raises(TypeError, match="belongs to its session"):
            pickle.dumps(handle)


class TestProvider:
    async def test_that_is_no_coroutine_function(self, rig: VirtualRig) -> None:
        """A mistake in the program fails at once, not after a minute of retries."""
        provider: Any = lambda: "eJ..."  # noqa: E731
        session = rig.session(
            credentials=Credentials(sdkappid=1, identifier="administrator", provider=provider)
        )
        with pytest.raises(SignatureError, match="TypeError"):
            await session.mark("ann", BOB, custom_mark="x")

        assert 0.0 == rig.now


class _Deaf:
    """A transport that does not let itself be cancelled."""

    async def post(self, path: str, query: Mapping[str, str], body: bytes) -> Reply:
        """Take a day."""
        del path, query, body
        end = asyncio.get_running_loop().time() + 86_400
        while (left := end - asyncio.get_running_loop().time()) > 0:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(left)
        return NoAnswer(TransportError("late"), "late")

    async def aclose(self) -> None:
        """Have nothing to release."""


def test_a_deaf_transport_does_not_keep_close_from_ending() -> None:
    """`close` returns soon after its grace period although a request does not end."""

    async def body() -> float:
        loop = asyncio.get_running_loop()
        session = MarkSession(credentials(), region=Region.SEOUL, transport=_Deaf())
        handle = await session.submit(MarkChange("ann", BOB, custom_mark="x"))
        await asyncio.sleep(10)
        began = loop.time()
        with pytest.raises(UnsentError):
            await session.close(5.0)

        assert isinstance((await handle.settled()).error, UnsentError)

        return loop.time() - began

    assert run(body()) <= 7.0


async def wait(handle: MarkHandle) -> MarkResult:
    """Wait for a handle."""
    return await handle.settled()


class TestReadAhead:
    @pytest.mark.virtual_time(calls_per_second=None)
    async def test_is_bounded_by_what_can_be_sent(self, rig: VirtualRig) -> None:
        """A job reads on while requests fill, not until the session is full of full ones."""
        rig.emulator.script.always(Delay(1.0))
        session = rig.session(max_in_flight=4)
        most = 0
        rows = [
            MarkChange(f"u{n // 300}", Conversation.group(f"g{n}"), custom_mark="x")
            for n in range(9000)
        ]

        def look(_: MarkResult) -> None:
            nonlocal most
            most = max(most, session.stats.pending)

        report = await session.apply(rows, on_result=look)

        assert (9000, 90) == (report.succeeded, report.calls)
        assert most < 12 * 300 + 500

    async def test_goes_on_after_a_refusal(self, rig: VirtualRig) -> None:
        """A job that waited for full requests to go learns that they all failed at once."""
        session = rig.session(max_in_flight=1)
        await session.mark("ann", BOB, custom_mark="x")
        rig.emulator.script.always(Delay(2.0, Refuse(50003)))
        rows = [
            MarkChange(f"u{n // 200}", Conversation.group(f"g{n}"), custom_mark="x")
            for n in range(2000)
        ]
        report = await session.apply(rows)

        assert 2000 == report.failed
        assert session.stats.calls < 5

    async def test_two_jobs_share(self, rig: VirtualRig) -> None:
        """A job that fills the session does not keep another from its end."""
        rig.emulator.script.always(Delay(0.2))
        session = rig.session(max_in_flight=2)
        big = [
            MarkChange(f"u{n // 400}", Conversation.group(f"g{n}"), custom_mark="x")
            for n in range(20_000)
        ]
        first = asyncio.create_task(session.apply(big))
        await asyncio.sleep(1.0)
        small = await session.apply([MarkChange("eve", BOB, custom_mark="x")])

        assert small.succeeded == 1
        assert not first.done()
        assert (await first).succeeded == 20_000

    async def test_jobs_take_turns(self, rig: VirtualRig) -> None:
        """A job whose source never waits does not keep another from its first row until its end."""

        async def rows(name: str, count: int) -> AsyncIterator[MarkChange]:
            for n in range(count):
                yield MarkChange(f"{name}{n // 200}", Conversation.group(f"g{n}"), custom_mark="x")

        rig.emulator.script.always(Delay(0.2))
        session = rig.session(max_in_flight=2)
        first = asyncio.create_task(session.apply(rows("a", 20_000)))
        await asyncio.sleep(1.0)
        small = await session.apply(rows("b", 400))

        assert small.succeeded == 400
        assert not first.done()
        first.cancel()
