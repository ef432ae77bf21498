"""
What a review found: permits that wait, hooks that make events, leaving under cancellation.
"""

import asyncio
from typing import Any

from rig import windows
from virtual_rig import VirtualRig, in_virtual_time

from chatmark import (
    Conversation,
    Credentials,
    MarkChange,
    MarkHandle,
    MarkResult,
    make_usersig,
)
from chatmark.emulator import Hang

# Virtual time has no jitter, and a second added and taken away may be a little less in floats.
SECOND = 1.0 - 1e-6
KEY = "example-secret-not-real"


async def slow_provider() -> str:
    """
    Give a signature after three seconds.
    """
    await asyncio.sleep(3)
    return make_usersig(1400000001, "administrator", KEY, now=1_700_000_000, expire=10**9)


def credentials() -> Credentials:
    """
    Return credentials whose signature comes late.
    """
    return Credentials(sdkappid=1400000001, identifier="administrator", provider=slow_provider)


class TestPace:
    @in_virtual_time()
    async def test_holds_for_marks_after_a_slow_signature(self, rig: VirtualRig) -> None:
        """
        Marks that waited for a UserSig do not leave together.
        """
        session = rig.session(credentials=credentials(), calls_per_second=10)
        bob = Conversation.one_to_one("bob")
        await session.apply([MarkChange(f"u{n}", bob, custom_mark="x") for n in range(60)])

        assert windows((call.started for call in rig.emulator.calls), SECOND) <= 10

    @in_virtual_time()
    async def test_holds_for_reads_after_a_slow_signature(self, rig: VirtualRig) -> None:
        """
        Searches that waited for a UserSig do not leave together.
        """
        session = rig.session(credentials=credentials(), calls_per_second=10)
        bob = Conversation.one_to_one("bob")
        await asyncio.gather(*[session.search(f"u{n}", [bob]) for n in range(40)])

        assert windows((call.started for call in rig.emulator.calls), SECOND) <= 10


class TestHooks:
    @in_virtual_time()
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
    @in_virtual_time()
    async def test_after_a_cancellation_begins_nothing(self, rig: VirtualRig) -> None:
        """
        A cancelled body waits for what is in flight, and sends nothing again.
        """
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
    @in_virtual_time()
    async def test_end_without_a_look_at_all_that_waits(self, rig: VirtualRig) -> None:
        """
        A job that is over looks for no rows of its own among those of others.
        """
        session = rig.session()
        await session.mark("alice", Conversation.one_to_one("bob"), custom_mark="x")
        looks = 0
        waiting = session._lanes.waiting

        def look() -> Any:
            nonlocal looks
            looks += 1
            return waiting()

        session._lanes.waiting = look  # type: ignore[method-assign]
        await session.apply([MarkChange("eve", Conversation.group("g"), custom_mark="x")])

        assert 0 == looks


async def wait(handle: MarkHandle) -> MarkResult:
    """
    Wait for a handle.
    """
    return await handle
