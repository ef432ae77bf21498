import asyncio
from random import Random
from typing import Final

import pytest
from virtual_rig import BOB, VirtualRig, change

from chatmark import MarkSession
from chatmark.emulator import Delay, Fault, Refuse, Status

pytestmark = pytest.mark.virtual_time

_TROUBLED: Final = [f"troubled_{n}" for n in range(100)]


async def _latencies(session: MarkSession, seconds: float) -> list[float]:
    """
    Return what single marks of a good user take, one each 50 ms; those not done count as endless.
    """
    loop = asyncio.get_running_loop()
    taken: list[float] = []

    async def mark(number: int) -> None:
        began = loop.time()
        taken.append(float("inf"))
        place = len(taken) - 1
        await session.mark("good", BOB, custom_mark=str(number))
        taken[place] = loop.time() - began

    tasks: list[asyncio.Task[None]] = []
    until = loop.time() + seconds
    while loop.time() < until:
        tasks.append(asyncio.create_task(mark(len(tasks))))
        await asyncio.sleep(0.05)
    found = sorted(taken)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return found


async def _trouble(session: MarkSession, account: str) -> None:
    """Let a user always have a mark under way."""
    number = 0
    while True:
        number += 1
        handle = await session.submit(change(account, custom_mark=str(number)))
        await handle.settled()


class TestNeighbours:
    @pytest.mark.parametrize(("fault", "trip"), [(Delay(3.0), 0.1), (Refuse(60008), 0.01)])
    async def test_a_good_user_beside_a_hundred_troubled_ones(
        self, rig: VirtualRig, fault: Fault, trip: float
    ) -> None:
        """The marks of a user who is served do not wait for those of users who are not."""
        rig.emulator._app._round_trip = lambda: trip
        for account in _TROUBLED:
            rig.emulator.script.always(fault, account=account)
        session = rig.session(calls_per_second=190)
        await session.mark("good", BOB, custom_mark="x")
        neighbours = [asyncio.create_task(_trouble(session, each)) for each in _TROUBLED]
        found = await _latencies(session, 20.0)
        for task in neighbours:
            task.cancel()
        await asyncio.gather(*neighbours, return_exceptions=True)

        assert found[int(len(found) * 0.99)] < 0.5

    @pytest.mark.parametrize(("trip", "share"), [(0.02, 0.95), (0.3, 0.85)])
    async def test_a_long_way_leaves_the_pace(
        self, rig: VirtualRig, trip: float, share: float
    ) -> None:
        """What is in flight follows the pace and the round trip."""
        rig.emulator._app._round_trip = lambda: trip
        session = rig.session(calls_per_second=190)
        began = rig.now
        await session.apply(change(f"user_{n}", "peer") for n in range(900))

        assert 900 / (rig.now - began) > share * 190

    @pytest.mark.parametrize(
        ("fault", "failing", "share"), [(Refuse(60008), 0.3, 0.65), (Status(502), 0.5, 0.4)]
    )
    async def test_failing_requests_leave_the_pace(
        self, rig: VirtualRig, fault: Fault, failing: float, share: float
    ) -> None:
        """While some requests fail, the others go on; the waits of the last few are not counted."""
        rig.emulator._app._round_trip = lambda: 0.02
        session = rig.session(calls_per_second=190)
        await session.mark("good", BOB, custom_mark="x")
        rig.emulator.script.randomly(failing, [fault], rng=Random(1))
        changes = [change(f"user_{n}", "peer") for n in range(600)]
        began = rig.now
        times: list[float] = []
        report = await session.apply(changes, on_result=lambda _: times.append(rig.now))
        most = len(changes) * 9 // 10

        assert report.succeeded == len(changes)
        assert most / (times[most - 1] - began) > share * 190
