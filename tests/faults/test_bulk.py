import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest
from virtual_rig import BOB, WAYS, VirtualRig, change, changes, run_job

from chatmark import ItemRefusedError, MarkChange, OutcomeUnknownError
from chatmark.emulator import CutBody, Delay, DropLines, Refuse, ResetAfter, Status
from chatmark.failures import UnsentError

pytestmark = pytest.mark.virtual_time

EVERY_WAY: Final = pytest.mark.parametrize("way", WAYS)


def scattered(count: int, each: int) -> list[MarkChange]:
    """Return changes of users who have so many each, one user after another."""
    return [change(f"user_{n // each}", f"peer_{n}") for n in range(count)]


class TestSource:
    @pytest.mark.parametrize("kind", ["generator", "async generator"])
    @EVERY_WAY
    async def test_raises(self, rig: VirtualRig, way: str, kind: str) -> None:
        """A generator that raises: its error comes out when all that it gave before is settled."""
        rig.emulator.script.next(Status(503))

        def rows() -> Iterator[MarkChange]:
            yield from changes(250, 3)
            raise LookupError("mine")

        async def arows() -> AsyncIterator[MarkChange]:
            for row in changes(250, 3):
                yield row
            raise LookupError("mine")

        session = rig.session()
        with pytest.raises(LookupError, match="mine"):
            await run_job(session, rows() if kind == "generator" else arows(), way)

        assert (250, 0) == (session.stats.succeeded, session.stats.pending)

    @EVERY_WAY
    async def test_cancelled_while_it_waits(self, rig: VirtualRig, way: str) -> None:
        """An async generator that waits for its next row when its job is cancelled ends first."""
        ended: list[float] = []

        async def rows() -> AsyncIterator[MarkChange]:
            try:
                for row in changes(100):
                    yield row
                await asyncio.sleep(1000)
            finally:
                ended.append(rig.now)

        session = rig.session()
        job = asyncio.create_task(run_job(session, rows(), way))
        await asyncio.sleep(2.0)
        job.cancel()
        await asyncio.wait([job])

        assert (True, [2.0]) == (job.cancelled(), ended)
        assert 100 == session.stats.succeeded
        assert (await session.mark("alice", BOB, custom_mark="x")).ok

    @EVERY_WAY
    async def test_uses_the_session_itself(self, rig: VirtualRig, way: str) -> None:
        """
        A source that marks, flushes and runs another job between its rows ends, in a full session.
        """
        session = rig.session(max_pending=2)

        async def rows() -> AsyncIterator[MarkChange]:
            for row in changes(10, 3):
                await session.mark("alice", BOB, custom_mark=row.conversation.id)
                yield row
                await session.flush()
                await session.apply(changes(5, 5))

        results = await run_job(session, rows(), way)

        assert [True] * 10 == [result.ok for result in results]
        assert rig.now < 60.0

    @EVERY_WAY
    @pytest.mark.parametrize("source", [[], iter(()), {}], ids=lambda source: type(source).__name__)
    async def test_is_empty(self, rig: VirtualRig, way: str, source: Any) -> None:
        """A source without rows is done at once, without a call."""
        session = rig.session()

        assert [] == await run_job(session, source, way)
        assert (0.0, 0) == (rig.now, session.stats.calls)


class TestConsumer:
    @pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "as they settle"])
    async def test_stops_early(self, rig: VirtualRig, ordered: bool) -> None:
        """
        A consumer that stops early, with aclose once, twice and after the end: nothing is left.
        """
        rig.emulator.script.always(Delay(0.1))
        session = rig.session(max_pending=300, max_in_flight=1)
        results = session.stream(changes(5000, 3), ordered=ordered)
        seen = []
        async for result in results:
            seen.append(result)
            if len(seen) == 50:
                break
        await results.aclose()
        await results.aclose()
        await session.flush()
        left = [result async for result in results]
        stats = session.stats

        assert [] == left
        assert stats.accepted == stats.succeeded + stats.withdrawn < 700
        assert stats.withdrawn > 0

    async def test_uses_the_session_itself(self, rig: VirtualRig) -> None:
        """A consumer that marks and flushes between its results goes on, in a full session."""
        session = rig.session(max_pending=5)
        count = 0
        async for result in session.stream(changes(30, 3)):
            await session.mark("alice", BOB, custom_mark=result.change.conversation.id)
            await session.flush()
            count += 1

        assert (30, 60) == (count, session.stats.succeeded)


class TestResults:
    @EVERY_WAY
    async def test_are_complete(self, rig: VirtualRig, way: str) -> None:
        """
        Under faults each row has one result; a stream that is to be ordered has them in order.
        """
        script = rig.emulator.script
        faults = [Status(503), ResetAfter(), CutBody(0.5), Refuse(60008), DropLines(1), Delay(1.0)]
        script.randomly(0.2, faults)
        script.items_randomly(0.05, [50004, 50005])
        for number in range(0, 3000, 50):
            script.item((1, f"peer_{number}"), 50001, times=None)
        wanted = changes(3000, 13)
        session = rig.session(max_pending=500)
        results = await run_job(session, wanted, way)
        found = [result.change for result in results]
        refused = [result for result in results if not result.ok]

        if way == "stream":
            assert wanted == found
        assert sorted(wanted, key=repr) == sorted(found, key=repr)
        # Three answers in a row may leave out the same line.
        known = [each for each in refused if not isinstance(each.error, OutcomeUnknownError)]
        assert {50001} == {result.code for result in known}
        assert 60 == len(known)

    async def test_that_failed_are_applied_again(self, rig: VirtualRig) -> None:
        """What a report lists as failed is a source: applied again, it is all that was missing."""
        rig.emulator.script.items_randomly(0.2, [50001], rng=random.Random(5))
        wanted = changes(500, 5)
        session = rig.session()
        first = await session.apply(wanted)
        rig.emulator.script.clear()
        second = await session.apply(result.change for result in first.failures)

        assert first.failed == len(first.failures) == second.succeeded > 50
        assert all(isinstance(result.error, ItemRefusedError) for result in first.failures)
        assert 500 == len(rig.emulator.state.snapshot())

    async def test_that_never_came_are_applied_again(self, rig: VirtualRig) -> None:
        """
        What `UnsentError.unsent` lists of a session that gave up is a source for the next one.
        """
        rig.emulator.script.always(Status(503))
        session = rig.session()
        handles = [await session.submit(each) for each in changes(300, 3)]
        with pytest.raises(UnsentError) as caught:
            await session.close(5.0)
        rig.emulator.script.clear()
        report = await rig.session().apply(caught.value.unsent)

        assert {handle.change for handle in handles} == set(caught.value.unsent)

        assert 300 == report.succeeded == len(rig.emulator.state.snapshot())


class TestReadAhead:
    async def test_waits_for_the_consumer(self, rig: VirtualRig) -> None:
        """A consumer that is slow stops the reading."""
        session = rig.session(max_pending=100)
        rows = iter(changes(5000, 3))
        async with contextlib.aclosing(session.stream(rows)) as results:
            await anext(results)
            await session.flush()
            left = len(list(rows))

        assert left >= 5000 - 102

    @pytest.mark.parametrize(("max_pending", "most"), [(1000, 10), (500, 25)])
    async def test_fills_requests(self, rig: VirtualRig, max_pending: int, most: int) -> None:
        """Rows of users in turns fill requests where the session holds them all."""
        session = rig.session(calls_per_second=190.0, max_pending=max_pending)
        report = await session.apply(changes(1000, accounts=10))

        assert 10 <= report.calls <= most

    async def test_is_bounded_by_what_can_be_sent(self, rig: VirtualRig) -> None:
        """A job reads on while requests fill, not until the session is full of full ones."""
        rig.emulator.script.always(Delay(1.0))
        session = rig.session(max_in_flight=4)
        pending: list[int] = []
        rows = scattered(9000, 300)
        report = await session.apply(
            rows, on_result=lambda _: pending.append(session.stats.pending)
        )

        assert (9000, 90) == (report.succeeded, report.calls)
        assert max(pending) < 12 * 300 + 500

    async def test_goes_on_after_a_refusal(self, rig: VirtualRig) -> None:
        """A job that waited for full requests to go learns that they all failed at once."""
        session = rig.session(max_in_flight=1)
        await session.mark("ann", BOB, custom_mark="x")
        rig.emulator.script.always(Delay(2.0, Refuse(50003)))
        report = await session.apply(scattered(2000, 200))

        assert 2000 == report.failed
        assert session.stats.calls < 5

    @pytest.mark.parametrize("small", [1, 400])
    async def test_of_jobs_in_turns(self, rig: VirtualRig, small: int) -> None:
        """A job whose source never waits keeps no other from its first row, nor from its end."""

        async def rows() -> AsyncIterator[MarkChange]:
            for each in scattered(20_000, 400):
                yield each

        rig.emulator.script.always(Delay(0.2))
        session = rig.session(max_in_flight=2)
        first = asyncio.create_task(session.apply(rows()))
        await asyncio.sleep(1.0)
        report = await session.apply(change("eve", f"peer_{n}") for n in range(small))

        assert small == report.succeeded
        assert not first.done()
        assert 20_000 == (await first).succeeded
