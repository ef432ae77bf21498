import asyncio
from collections.abc import Iterator

import pytest
from virtual_rig import BOB, VirtualRig, change, changes

from chatmark import MarkChange, MarkHandle, QueueFullError
from chatmark.emulator import Delay, Fault, Hang, Refuse, Status

pytestmark = pytest.mark.virtual_time


class TestSizes:
    @pytest.mark.parametrize("count", [1, 99, 100, 101, 250, 10_000])
    @pytest.mark.parametrize("users", [1, 10])
    @pytest.mark.virtual_time(max_marked=10_000)
    async def test_of_jobs(self, rig: VirtualRig, count: int, users: int) -> None:
        """1, 99, 100, 101, 250 and 10,000 items, of one user and of many: the fewest requests."""
        session = rig.session()
        report = await session.apply(changes(count, users))
        fewest = sum(-(-len(range(user, count, users)) // 100) for user in range(users))

        assert (count, fewest) == (report.succeeded, report.calls)

    @pytest.mark.parametrize("fault", [Refuse(51006), Status(413)], ids=repr)
    async def test_are_halved(self, rig: VirtualRig, fault: Fault) -> None:
        """A server that finds requests too large gets those of half the size, and no item twice."""
        rig.emulator.script.next(fault, fault, fault)
        session = rig.session()
        report = await session.apply(changes(500))
        sizes = [len(call.conversations) for call in rig.emulator.calls]
        taken = [call for call in rig.emulator.calls if call.code == 0]

        assert (500, [100, 50, 25, 12]) == (report.succeeded, sizes[:4])
        assert 500 == sum(len(call.conversations) for call in taken)

    async def test_of_a_users_marks(self, rig: VirtualRig) -> None:
        """51008 at item 1,001: that one is refused and no other, and it goes when there is room."""
        session = rig.session()
        wanted = [*changes(1000), change("user_0", "one more")]
        results = [result async for result in session.stream(wanted)]
        await session.mark("user_0", wanted[0].conversation, clear_mark=wanted[0].set_mark)
        again = await (await session.submit(wanted[-1])).settled()

        assert [0] * 1000 + [51008] == [result.code for result in results]
        assert (True, 1, 1) == (again.ok, again.attempts, results[-1].attempts)


class TestCalls:
    async def test_interleaved_users_take_the_fewest(self, rig: VirtualRig) -> None:
        """Rows of one user that are scattered over the source still fill requests."""
        report = await rig.session(max_pending=5000).apply(changes(12_000, 24))

        assert 120 == report.calls

    @pytest.mark.parametrize("fault", [Refuse(50002), Status(413)], ids=repr)
    async def test_a_refusal_of_everything(self, rig: VirtualRig, fault: Fault) -> None:
        """A request that is always refused for its content costs a tenth more calls than rows."""
        rig.emulator.script.always(fault)
        report = await rig.session().apply(changes(400, 4))
        bulk = len(rig.emulator.calls)
        session = rig.session()
        for each in changes(200, 2):
            await session.submit(each)
        await session.flush()

        assert (400, 200) == (report.failed, session.stats.failed)
        assert bulk <= 440
        assert len(rig.emulator.calls) - bulk <= 220


class TestPressure:
    async def test_producer_is_faster_than_the_server(self, rig: VirtualRig) -> None:
        """A producer that is faster than the server waits for room, and all takes effect."""
        rig.emulator.script.always(Delay(0.1))
        session = rig.session(max_pending=150)
        most = 0
        for each in changes(3000, 3):
            await session.submit(each)
            most = max(most, session.stats.pending)
        await session.flush()

        assert (150, 3000) == (most, session.stats.succeeded)
        assert rig.now > 1.0

    async def test_wait_is_limited(self, rig: VirtualRig) -> None:
        """A wait for room that times out ends in its time, and accepts nothing."""
        rig.emulator.script.always(Delay(5.0))
        session = rig.session(max_pending=1)
        await session.submit(change())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await session.submit(change("carol"))

        assert (1.0, 1) == (rig.now, session.stats.accepted)

    async def test_wait_is_refused(self, rig: VirtualRig) -> None:
        """
        A producer that would rather have an error gets it at once, and room when there is some.
        """
        rig.emulator.script.next(Delay(5.0))
        session = rig.session(max_pending=1)
        first = session.submit_nowait(change())
        for _ in range(100):
            with pytest.raises(QueueFullError):
                session.submit_nowait(change("carol"))
        refused_at = rig.now
        await first
        session.submit_nowait(change("carol"))

        assert (0.0, 2) == (refused_at, session.stats.accepted)

    async def test_memory_is_bounded(self, rig: VirtualRig) -> None:
        """
        Of an endless source a dead server makes a job, a stream and marks hold max_pending rows.
        """
        drawn = 0

        def endless() -> Iterator[MarkChange]:
            nonlocal drawn
            while True:
                drawn += 1
                yield change(f"user_{drawn % 7}", f"peer_{drawn}")

        rig.emulator.script.always(Hang())
        session = rig.session(max_pending=300)
        job = asyncio.create_task(session.apply(endless()))
        await asyncio.sleep(5.0)
        of_the_job, drawn = drawn, 0
        results = session.stream(endless())
        stream = asyncio.create_task(anext(results))
        await asyncio.sleep(5.0)
        job.cancel()
        stream.cancel()
        await asyncio.wait([job, stream])

        assert (301, 1) == (of_the_job, drawn)
        assert session.stats.accepted <= 301

    async def test_is_fair(self, rig: VirtualRig) -> None:
        """Two hundred producers get room in the order in which they came."""
        rig.emulator.script.always(Delay(0.1))
        session = rig.session(max_pending=3)
        order: list[int] = []

        async def produce(number: int) -> None:
            await session.submit(change(f"user_{number % 5}", f"peer_{number}"))
            order.append(number)

        await asyncio.gather(*(produce(number) for number in range(200)))
        await session.flush()

        assert list(range(200)) == order

    @pytest.mark.virtual_time(max_marked=10_000)
    async def test_big_producer_beside_a_small_one(self, rig: VirtualRig) -> None:
        """
        Beside a producer of thousands and a job, a single mark gets its turn within four requests.
        """
        rig.emulator.script.always(Delay(1.0))
        session = rig.session(max_pending=200, max_in_flight=2)
        handles: list[MarkHandle] = []

        async def produce() -> None:
            handles.extend([await session.submit(each) for each in changes(3000, 2)])

        big = [
            asyncio.create_task(produce()),
            asyncio.create_task(session.apply(changes(3000, 3))),
        ]
        await asyncio.sleep(5.5)
        started = rig.now
        await session.mark("carol", BOB, custom_mark="x")
        waited = rig.now - started
        await asyncio.gather(*big)
        await session.flush()

        assert waited <= 4.0
        assert (6001, 3000) == (session.stats.succeeded, len(handles))

    async def test_room_comes_back_after_faults(self, rig: VirtualRig) -> None:
        """Whatever fails gives its room back: after hundreds of failures all of it is there."""
        rig.emulator.script.randomly(0.3, [Status(404), Status(503), Status(413)])
        rig.emulator.script.items_randomly(0.2, [50001, 50004])
        session = rig.session(max_pending=50)
        await session.apply(changes(1000, 30))
        rig.emulator.script.clear()
        await asyncio.sleep(2.0)
        for each in changes(50, 50):
            session.submit_nowait(each)
        with pytest.raises(QueueFullError):
            session.submit_nowait(change())
        await session.flush()
