import asyncio
import random
from typing import Final

import pytest
from virtual_rig import BOB, FAVORITE, HIDDEN, VirtualRig, change, changes

from chatmark.emulator import (
    Delay,
    Fault,
    Hang,
    Later,
    Refuse,
    ResetAfter,
    ResetBefore,
    Status,
)

pytestmark = pytest.mark.virtual_time

#: The request had no effect, or had one that nobody told of.
LOST: Final = (
    ResetBefore(),
    ResetAfter(),
    Status(503, applied=True),
    Hang(applied=True),
    Refuse(60008),
)
EVERY: Final = pytest.mark.parametrize("fault", LOST, ids=repr)


class TestOrder:
    @pytest.mark.parametrize("together", [False, True], ids=["queued", "in the same request"])
    @EVERY
    async def test_first_fails(self, rig: VirtualRig, fault: Fault, *, together: bool) -> None:
        """
        The first version fails while the second is queued or in the same request: the second wins.

        Queued, they go on as one where the first certainly ended; else the first goes again alone,
        and the second when the first can no longer be executed.
        """
        rig.emulator.script.next(Delay(1.0, fault))
        session = rig.session()
        first = await session.submit(change("alice", "bob", set_mark=FAVORITE | HIDDEN))
        if not together:
            await rig.in_flight(session)
        second = await session.submit(change("alice", "bob", clear_mark=HIDDEN, custom_mark="2"))
        await session.flush()
        calls = 2 if together or isinstance(fault, Refuse) else 3

        assert (2, 1 + together) == (first.result.attempts, second.result.attempts)
        assert [1] * calls == [len(call.conversations) for call in rig.emulator.calls]
        assert {("alice", 1, "bob"): (int(FAVORITE), "2")} == rig.emulator.state.snapshot()

    async def test_lanes_are_parallel(self, rig: VirtualRig) -> None:
        """
        Nineteen users do not wait for one whose requests fail or hang, and his own keep order.
        """
        session = rig.session()
        await session.mark("dave", BOB, custom_mark="first")
        rig.emulator.script.next(Hang(), Status(503), Delay(5.0), account="user_0")
        slow = [await session.submit(change("user_0", "bob", custom_mark=f"{n}")) for n in range(5)]
        handles = [await session.submit(each) for each in changes(1900, 19)]
        others = [handle for handle in handles if handle.change.from_account != "user_0"]
        await asyncio.gather(*others)
        settled_at = rig.now
        await session.flush()

        assert (0.0, True) == (settled_at, rig.now > 15.0)
        assert all(handle.result.ok for handle in (*slow, *handles))
        assert (0, "4") == rig.emulator.state.snapshot()["user_0", 1, "bob"]


class TestLostAcknowledgement:
    @pytest.mark.parametrize("fault", [fault for fault in LOST if fault.applied], ids=repr)
    @pytest.mark.virtual_time(max_marked=100)
    async def test_has_no_double_effect(self, rig: VirtualRig, fault: Fault) -> None:
        """
        The server applies and then drops: the repetition does not count twice against a limit.
        """
        rig.emulator.script.next(fault)
        session = rig.session()
        report = await session.apply(changes(100))
        before = rig.emulator.state.snapshot()
        one_more = await (await session.submit(change("user_0", "one more"))).settled()

        assert (100, 2) == (report.succeeded, report.calls)
        assert 100 == len(before)
        assert 51008 == one_more.code

    async def test_does_not_undo_a_newer_mark(self, rig: VirtualRig) -> None:
        """After a lost acknowledgement the older mark is never sent without the newer one."""
        seen: list[tuple[int, str]] = []
        rig.emulator.script.next(*(Delay(0.5, ResetAfter()) for _ in range(5)))
        session = rig.session()
        for number in range(8):
            await session.submit(change("alice", "bob", custom_mark=f"{number}"))
            await asyncio.sleep(0.3)
            seen.extend(rig.emulator.state.snapshot().values())
        await session.flush()
        marks = [int(mark) for _, mark in seen]

        assert sorted(marks) == marks
        assert {("alice", 1, "bob"): (0, "7")} == rig.emulator.state.snapshot()


class TestExecutedLater:
    """
    A request without an answer that the server executes all the same, up to three seconds later.
    """

    @pytest.mark.parametrize("seconds", [0.1, 2.9])
    @pytest.mark.parametrize(
        "then", [ResetBefore(), Status(502), Status(503), Status(504)], ids=repr
    )
    async def test_newer_wins(self, rig: VirtualRig, then: Fault, seconds: float) -> None:
        """A newer change waits, is sent, and is what the server has in the end."""
        rig.emulator.script.next(Later(seconds, then))
        session = rig.session()
        first = await session.submit(change("alice", "bob", set_mark=FAVORITE))
        await asyncio.sleep(0.01)
        second = await session.submit(change("alice", "bob", clear_mark=FAVORITE))
        other = await session.submit(change("alice", "carol", set_mark=FAVORITE))
        await other
        beside = rig.now
        await session.flush()
        await asyncio.sleep(3.0)

        assert [True, True] == [first.result.ok, second.result.ok]
        assert {("alice", 1, "carol"): (int(FAVORITE), "")} == rig.emulator.state.snapshot()
        assert beside < 1.0

    @pytest.mark.virtual_time(round_trip=0.02)
    async def test_many(self, rig: VirtualRig) -> None:
        """
        Of 1,500 changes of 120 conversations, 15 in 100 requests of which are cut, none is undone.
        """
        rng = random.Random(0)
        wanted: dict[tuple[str, int, str], int] = {}
        session = rig.session()
        for number in range(1_500):
            if number % 10 == 0 and rng.random() < 0.75:
                rig.emulator.script.next(Later(rng.uniform(0.4, 2.0), ResetBefore()))
            user, peer, on = (
                f"user_{rng.randrange(6)}",
                f"peer_{rng.randrange(20)}",
                rng.randrange(2),
            )
            wanted[user, 1, peer] = on
            await session.submit(
                change(user, peer, **{"set_mark" if on else "clear_mark": FAVORITE})
            )
            await asyncio.sleep(rng.uniform(0, 0.02))
        await session.flush()
        await asyncio.sleep(3.0)
        found = rig.emulator.state.snapshot()

        assert 1_500 == session.stats.succeeded
        assert wanted == {key: found.get(key, (0, ""))[0] for key in wanted}
