import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from virtual_rig import BOB, FAVORITE, HIDDEN, VirtualRig, change, changes, usersig

from chatmark import (
    ApplicationRefusedError,
    ChangesFailedError,
    Conversation,
    Credentials,
    InputError,
    ItemRefusedError,
    MarkChange,
    MarkResult,
    MarkSession,
    Region,
)
from chatmark.emulator import Refuse, Status

pytestmark = pytest.mark.virtual_time

TEAM = Conversation.group("team")
CREDENTIALS = Credentials(sdkappid=1400000001, identifier="administrator", secret_key="example")


class TestMark:
    async def test_takes_effect(self, rig: VirtualRig) -> None:
        """A mark that was awaited is on the server."""
        result = await rig.session().mark("alice", TEAM, set_mark=FAVORITE, custom_mark="ü")

        assert (True, 0, 1) == (result.ok, result.code, result.attempts)
        assert {("alice", 2, "team"): (1, "ü")} == rig.emulator.state.snapshot()

    async def test_raises_a_refusal_with_its_meaning(self, rig: VirtualRig) -> None:
        """A refused mark raises the server's code, its meaning and what to do."""
        rig.emulator.state.users = {"alice"}
        with pytest.raises(ItemRefusedError, match="50001: the user account is not imported") as e:
            await rig.session().mark("alice", BOB, set_mark=FAVORITE)

        assert (50001, "Import the account, then send again.") == (e.value.code, e.value.advice)

    async def test_bad_input_is_refused_before_anything_is_sent(self, rig: VirtualRig) -> None:
        """A change that cannot be raises InputError and makes no call."""
        with pytest.raises(InputError, match="nothing to change"):
            await rig.session().mark("alice", BOB)

        assert [] == rig.emulator.calls

    async def test_waiting_marks_of_one_conversation_are_one_item(self, rig: VirtualRig) -> None:
        """
        Marks of one conversation that wait together are merged, and each waiter gets its result.
        """
        session = rig.session()
        results = await asyncio.gather(
            session.mark("alice", BOB, set_mark=FAVORITE),
            session.mark("alice", BOB, clear_mark=FAVORITE, set_mark=HIDDEN),
            session.mark("alice", BOB, custom_mark="vip"),
        )

        assert [True] * 3 == [result.ok for result in results]
        assert {("alice", 1, "bob"): (8, "vip")} == rig.emulator.state.snapshot()
        assert 1 == len(rig.emulator.calls)

    async def test_thousands_at_once(self, rig: VirtualRig) -> None:
        """Twenty thousand concurrent marks over a hundred users take the fewest calls."""
        session = rig.session()
        marks = [
            session.mark(each.from_account, each.conversation, set_mark=FAVORITE)
            for each in changes(20_000, 100)
        ]
        results = await asyncio.gather(*marks)

        assert 20_000 == sum(result.ok for result in results)
        assert 200 <= session.stats.calls <= 230
        assert 20_000 == len(rig.emulator.state.snapshot())

    async def test_few_tasks_for_many_changes(self, rig: VirtualRig) -> None:
        """Pending changes are records, not tasks."""
        session = rig.session()
        handles = [await session.submit(each) for each in changes(5000, 50)]
        await asyncio.sleep(0)
        tasks = len(asyncio.all_tasks())
        await session.flush()

        assert all(handle.done() for handle in handles)
        assert tasks < 100

    async def test_cancelling_a_producer_that_waits_for_room(self, rig: VirtualRig) -> None:
        """Room that came together with the cancellation goes to the next producer."""
        session = rig.session(max_pending=1)
        first = await session.submit(change())
        waiting = [asyncio.create_task(session.submit(each)) for each in changes(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await first
        waiting[1].cancel()
        handle = await waiting[2]

        assert (await handle.settled()).ok
        assert 2 == session.stats.accepted


class TestApply:
    async def test_a_trickling_source_is_sent_as_it_comes(self, rig: VirtualRig) -> None:
        """Rows of a slow source are not held back until there are a hundred."""
        arrived = asyncio.Event()

        async def source() -> AsyncIterator[MarkChange]:
            yield change()
            await arrived.wait()
            yield change(peer="late")

        report = await rig.session().apply(source(), on_result=lambda _: arrived.set())

        assert (2, 2) == (report.succeeded, report.calls)

    async def test_refuses_what_is_no_change(self, rig: VirtualRig) -> None:
        """A source that gives something else raises InputError, after the changes before it."""
        session = rig.session()
        told: list[MarkResult] = []
        mixed: list[Any] = [*changes(3), "no change", *changes(3)]

        async def pages() -> AsyncIterator[Any]:
            yield mixed

        for source in (mixed, pages()):
            with pytest.raises(InputError, match="must hold MarkChange objects only"):
                await session.apply(source, on_result=told.append)
        wrong: Any
        for wrong in (5, None, change()):
            with pytest.raises(InputError, match="changes: must be an iterable or async"):
                await session.apply(wrong)

        assert [True] * 6 == [result.ok for result in told]

    async def test_the_report_raises_its_failures_as_a_group(self, rig: VirtualRig) -> None:
        """raise_for_failures raises what failed as one group."""
        rig.emulator.script.item((1, "peer_1"), 51008)
        report = await rig.session().apply(changes(3))
        with pytest.raises(ChangesFailedError, match="1 of 3 changes failed") as caught:
            report.raise_for_failures()

        assert [51008] == [getattr(error, "code", None) for error in caught.value.exceptions]

    @pytest.mark.parametrize("count", [1, 100])
    async def test_single_marks_do_not_wait_for_the_job(self, rig: VirtualRig, count: int) -> None:
        """A service's marks go between the rows of a bulk job in the same session."""
        session = rig.session(max_in_flight=1)
        settled: list[MarkResult] = []
        job = asyncio.create_task(session.apply(changes(5_000, 50), on_result=settled.append))
        await rig.in_flight(session)
        peers = [Conversation.one_to_one(f"peer_{n}") for n in range(count)]
        await session.mark_many("alice", peers, set_mark=FAVORITE)
        before = len(settled)
        await job

        assert before < 1000


class TestRequests:
    @pytest.mark.parametrize("code", [60004, 60005, 70001, 70002, 70346])
    async def test_a_refused_signature_says_its_times(self, rig: VirtualRig, code: int) -> None:
        """The error for a refused UserSig names when it was made and expires, and the clock."""
        rig.emulator.script.always(Refuse(code))
        ready = usersig(1_700_000_000, expire=60)
        credentials = Credentials(sdkappid=1400000001, identifier="administrator", usersig=ready)
        session = rig.session(credentials=credentials, wall_clock=lambda: 1_700_003_600.0)
        with pytest.raises(ApplicationRefusedError) as caught:
            await session.mark("alice", BOB, set_mark=FAVORITE)

        assert (
            "a UserSig made at 2023-11-14 22:13:20 UTC that expires at 2023-11-14 22:14:20 UTC; "
            "the clock of this machine says 2023-11-14 23:13:20 UTC"
        ) in str(caught.value)
        assert ready not in str(caught.value)

    async def test_leave_a_borrowed_http_session_open(self, rig: VirtualRig) -> None:
        """An aiohttp session that was lent is not closed."""
        async with aiohttp.ClientSession() as http:
            async with rig.session(http=http) as session:
                await session.mark("alice", BOB, set_mark=FAVORITE)

            assert not http.closed


async def _hook(_: object) -> None:
    """Look like a hook, but never be awaited."""


class TestArguments:
    @pytest.mark.parametrize(
        ("options", "field"),
        [
            ({"region": None}, "region"),
            ({"base_url": "https://example.com"}, "region"),
            *(
                ({"region": None, "base_url": url}, "base_url")
                for url in ("http://example.com", "ftp://example.com")
            ),
            *(
                ({field: value}, field)
                for field in ("timeout", "deadline", "linger", "close_grace", "calls_per_second")
                for value in (-math.inf, math.nan, 10**400, -1, True, "x")
            ),
            *(({field: math.inf}, field) for field in ("timeout", "linger", "calls_per_second")),
            *(({field: 0}, field) for field in ("timeout", "calls_per_second")),
            *(
                ({field: value}, field)
                for field in ("max_in_flight", "max_pending")
                for value in (0, 2.5, 2.0, math.inf, True, "1")
            ),
            *(({field: 5}, field) for field in ("budget", "transport", "rng", "backoff")),
            ({"wall_clock": 0}, "wall_clock"),
            *(
                ({"hooks": value}, "hooks")
                for value in (None, print, [5], [print, "print"], [_hook])
            ),
        ],
    )
    def test_are_checked(self, options: dict[str, Any], field: str) -> None:
        """An argument that will not do is named."""
        with pytest.raises(InputError) as caught:
            MarkSession(CREDENTIALS, **{"region": Region.SEOUL} | options)

        assert field == caught.value.field

    async def test_a_closed_http_session(self) -> None:
        """A lent session that is closed, or is none, is an error at once."""
        http = aiohttp.ClientSession()
        await http.close()
        wrong: Any
        for wrong in (http, object()):
            with pytest.raises(InputError, match=r"aiohttp\.ClientSession"):
                MarkSession(CREDENTIALS, base_url="http://127.0.0.1:9", http=wrong)

    async def test_may_be_endless(self, rig: VirtualRig) -> None:
        """A change may have no deadline, and closing no end."""
        rig.emulator.script.next(Refuse(60007), Status(503))
        async with rig.session(deadline=math.inf, close_grace=math.inf) as session:
            handle = await session.submit(change())
            await session.close()

        assert (await handle.settled()).ok
