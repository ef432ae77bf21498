"""What reading does in an outage: probes, deadlines, refusals that are learned once."""

import asyncio
from typing import Any

import pytest
from virtual_rig import BOB, OwnBudget, VirtualRig

from chatmark import (
    ApplicationRefusedError,
    ChatmarkError,
    DeadlineExceededError,
    InputError,
    MarkChange,
    MarkSession,
    SessionError,
)
from chatmark.codes import Command
from chatmark.emulator import Fault, Hang, Refuse, Status
from chatmark.pacing.budget import CallBudget

pytestmark = pytest.mark.virtual_time


async def search_all(session: MarkSession, users: int) -> list[Any]:
    """Search for one conversation of each user at once; return what came of each."""
    searches = [session.search(f"u{n}", [BOB]) for n in range(users)]
    return await asyncio.gather(*searches, return_exceptions=True)


class TestRefusal:
    async def test_is_learned_once(self, rig: VirtualRig) -> None:
        """A hundred readers of an application that is refused cost one request."""
        rig.emulator.script.next(*[Refuse(50003) for _ in range(200)])
        session = rig.session()
        results = await search_all(session, 100)

        assert {ApplicationRefusedError} == {type(result) for result in results}
        assert 1 == session.stats.calls

    async def test_is_asked_again_later(self, rig: VirtualRig) -> None:
        """After a second the server may have thought better of it."""
        rig.emulator.script.next(Refuse(50003))
        session = rig.session()
        with pytest.raises(ApplicationRefusedError):
            await session.search("ann", [BOB])
        await asyncio.sleep(1.0)

        assert [BOB] == list(await session.search("ann", [BOB]))


class TestPace:
    async def test_a_hold_that_begins_while_readers_wait_for_the_pace(
        self, rig: VirtualRig
    ) -> None:
        """Of forty readers that wait for the pace only one probes once the first was refused."""
        rig.emulator._app._round_trip = lambda: 0.03
        session = rig.session(budget=OwnBudget(CallBudget(10)))
        await session.search("ann", [BOB])
        rig.emulator.script.always(Refuse(60007))
        searches = asyncio.ensure_future(search_all(session, 40))
        await asyncio.sleep(5.0)
        refused = session.stats.calls - 1
        rig.emulator.script.clear()
        await searches

        assert refused <= 4

    async def test_marks_leave_the_calls_of_reading(self, rig: VirtualRig) -> None:
        """The vendor counts each command for itself, and so does the budget; its pauses, too."""
        session = rig.session(calls_per_second=1)
        for number in range(3):
            await session.submit(MarkChange(f"user_{number}", BOB, custom_mark="x"))
        await asyncio.sleep(0.5)
        began = rig.now
        await session.search("ann", [BOB])
        [each async for each in session.pages("ann")]
        rig.emulator.script.next(Refuse(60007), command="search_contact_group")
        await session.search("ann", [BOB])
        searched = rig.now
        [each async for each in session.pages("ann")]

        assert (0.5, 3) == (began, len([c for c in rig.emulator.calls if c.started <= 0.5]))
        assert searched - began > 1.0
        assert rig.now == searched

    async def test_searches_that_are_held_leave_pages_alone(self, rig: VirtualRig) -> None:
        """More readers than connections wait for one command; the other is read all the same."""
        session = rig.session(budget=OwnBudget(CallBudget(None)), max_in_flight=8)
        await session.search("ann", [BOB])
        rig.emulator.script.always(Refuse(60007), command="search_contact_group")
        searches = asyncio.ensure_future(search_all(session, 50))
        await asyncio.sleep(0.5)
        began = rig.now
        for _ in range(20):
            [each async for each in session.pages("ann")]
        took = rig.now - began
        rig.emulator.script.clear()
        await searches

        assert took < 0.1


class TestOutage:
    @pytest.mark.parametrize(("fault", "seconds"), [(Status(503), 35.0), (Hang(), 62.0)], ids=repr)
    async def test_makes_no_storm(self, rig: VirtualRig, fault: Fault, seconds: float) -> None:
        """A hundred readers of a server that fails make one probe at a time, and end in time."""
        rig.emulator.script.always(fault)
        session = rig.session(timeout=2.0, deadline=30.0)
        results = await search_all(session, 100)

        assert {DeadlineExceededError} == {type(result) for result in results}
        assert session.stats.calls < 80
        assert rig.now < seconds

    async def test_goes_on_when_it_is_over(self, rig: VirtualRig) -> None:
        """Whoever waited for a probe is served when one succeeds."""
        rig.emulator.script.next(*[Status(503) for _ in range(30)])
        session = rig.session()
        results = await search_all(session, 100)

        assert not [each for each in results if isinstance(each, ChatmarkError)]

    @pytest.mark.parametrize("trip", [0.0, 0.3])
    async def test_a_pause_as_long_as_the_deadline(self, rig: VirtualRig, trip: float) -> None:
        """After the minute that the vendor asks for, readers have their attempt at the deadline."""
        rig.emulator._app._round_trip = lambda: trip
        session = rig.session(deadline=60.0)
        await session.search("ann", [BOB])
        rig.emulator.script.next(*[Refuse(70050) for _ in range(20)])
        began = rig.now
        results = await search_all(session, 50)

        assert not [each for each in results if isinstance(each, ChatmarkError)]
        assert 60.0 <= rig.now - began <= 61.5

    async def test_a_pause_longer_than_the_deadline(self, rig: VirtualRig) -> None:
        """Nobody waits for a pause that ends later than that."""
        rig.emulator._app._round_trip = lambda: 0.03
        session = rig.session(deadline=30.0)
        await session.search("ann", [BOB])
        rig.emulator.script.always(Refuse(70050))
        results = await search_all(session, 50)

        assert {DeadlineExceededError} == {type(result) for result in results}
        assert 30.0 <= rig.now <= 31.0

    async def test_cancelled_readers_leave_their_turn(self, rig: VirtualRig) -> None:
        """A probe that is cancelled in flight lets the next go."""
        rig.emulator.script.next(Hang())
        session = rig.session()
        first = asyncio.ensure_future(session.search("ann", [BOB]))
        second = asyncio.ensure_future(session.search("eve", [BOB]))
        await rig.until(lambda: session.stats.calls == 1)
        first.cancel()

        assert [BOB] == list(await second)


def test_one_budget_two_runs() -> None:
    """A budget made once serves one `asyncio.run` after another."""
    budget = CallBudget(1000)

    async def acquire() -> None:
        await asyncio.gather(*[budget.acquire() for _ in range(200)])

    asyncio.run(acquire())
    asyncio.run(acquire())


def test_one_budget_two_loops() -> None:
    """Two loops at once cannot share it, and are told so."""
    budget = CallBudget(1000)

    async def outer() -> None:
        await budget.acquire()
        with pytest.raises(SessionError, match="one event loop at a time"):
            await asyncio.to_thread(asyncio.run, inner())

    async def inner() -> None:
        await budget.acquire()

    asyncio.run(outer())


@pytest.mark.parametrize("number", ["5/0", True, -1, float("nan")])
def test_bad_pace(number: Any) -> None:
    """What must be a number above 0 is refused as input."""
    with pytest.raises(InputError, match="calls_per_second"):
        CallBudget(number)


async def test_pauses_that_overlap(rig: VirtualRig) -> None:
    """Pauses that overlap are counted once, those that do not in full."""
    session = rig.session()
    for wait, seconds in ((0.0, 5.0), (2.0, 1.0), (2.0, 3.0), (16.0, 2.0)):
        await asyncio.sleep(wait)
        session._client.pause(Command.MARK_CONTACT, seconds, "60007")

    assert (4, 7.0 + 2.0) == (session.stats.pauses, session.stats.paused)
