"""`session.groups`: the parts of a call, its place among the marks, and what its errors say."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from virtual_rig import BOB, FAVORITE, VirtualRig, change

from chatmark import (
    ApplicationRefusedError,
    ChangesFailedError,
    Conversation,
    DeadlineExceededError,
    InputError,
    ItemRefusedError,
    MarkChange,
    OutcomeUnknownError,
    SessionClosedError,
    UnsentError,
)
from chatmark.emulator import (
    Delay,
    DropLines,
    Fault,
    Hang,
    Later,
    Refuse,
    ResetAfter,
    ResetBefore,
    Shuffle,
    Status,
)

pytestmark = pytest.mark.virtual_time

PEERS: Final = [Conversation.one_to_one(f"peer_{number}") for number in range(250)]
TEAM: Final = Conversation.group("@TGS#team")


def calls(rig: VirtualRig) -> list[tuple[str, int]]:
    """Return the calls that reached the server, and how many conversations each named."""
    return [
        (call.command.removesuffix("_contact_group"), len(call.conversations))
        for call in rig.emulator.calls
    ]


def seed(rig: VirtualRig, *peers: str) -> None:
    """Give alice the group "work"."""
    rig.emulator.state.seed_contact_group("alice", 1, "work", [(1, peer) for peer in peers])


def members(rig: VirtualRig, name: str = "work") -> set[str]:
    """Return whom a group of alice's holds."""
    return {id_ for _, id_ in rig.emulator.state.contact_groups()["alice", name]}


class TestRequests:
    async def test_of_a_hundred(self, rig: VirtualRig) -> None:
        """A request names 100 conversations at most, and each once."""
        groups = rig.session().groups
        created = await groups.create("alice", "work", [*PEERS, *PEERS])
        removed = await groups.remove("alice", "work", PEERS[:150])

        assert [("create", 100), *[("update", n) for n in (100, 50, 100, 50)]] == calls(rig)
        assert (PEERS, 150) == ([e.conversation for e in created.results], len(removed.results))
        assert (1, True, True) == (created.id, created.ok, removed.ok)
        assert {each.id for each in PEERS[150:]} == members(rig)

    @pytest.mark.virtual_time(page_size=10)
    async def test_list(self, rig: VirtualRig) -> None:
        """Groups come in the order of their numbers, whole, and without conversations too."""
        groups = rig.session().groups
        for name, some in (("b", PEERS[:30]), ("a", [*PEERS[29:31], TEAM]), ("empty", [])):
            await groups.create("alice", name, some)
        first, *others = await groups.list("alice")

        assert ("b", 1, set(PEERS[:30])) == (first.name, first.id, set(first.conversations))
        assert [("a", 3), ("empty", 0)] == [(e.name, len(e.conversations)) for e in others]
        assert [] == await groups.list("nobody")

    async def test_names_are_read_with_the_marks(self, rig: VirtualRig) -> None:
        """A conversation comes with the names of its groups, in the order of their numbers."""
        session = rig.session()
        await session.groups.create("alice", "work", [BOB])
        await session.groups.create("alice", "Freunde", [BOB])
        read = [
            (await session.search("alice", [BOB]))[BOB],
            *[each async for each in session.marked("alice")],
            *[each async for page in session.pages("alice") for each in page.conversations],
        ]

        assert [((1, 2), ("work", "Freunde"))] * 3 == [(e.group_ids, e.group_names) for e in read]

    @pytest.mark.virtual_time(max_items=7)
    async def test_smaller_for_the_server(self, rig: VirtualRig) -> None:
        """A server that takes fewer conversations gets smaller requests."""
        groups = rig.session().groups

        assert (await groups.create("alice", "work", PEERS[:120])).ok
        assert 120 == len(members(rig))
        # Five refusals each until creating and adding fit, then requests of 6 and 7.
        assert len(calls(rig)) < 40
        rig.emulator._book.violations.clear()

    @pytest.mark.virtual_time(users=["alice", *(each.id for each in PEERS[:200])])
    async def test_failures_are_data(self, rig: VirtualRig) -> None:
        """The conversations that the server refuses are in the report, and the others are added."""
        report = await rig.session().groups.create("alice", "work", PEERS)

        assert {each.id for each in PEERS[:200]} == members(rig)
        assert {50001} == {each.code for each in report.failures}
        assert PEERS[200:] == [each.conversation for each in report.failures]
        with pytest.raises(ChangesFailedError, match="50 of 250 conversations failed") as caught:
            report.raise_for_failures()
        assert str(caught.value.exceptions[0]).startswith(
            "alice, group 'work', c2c_peer_200: 50001:"
        )

    @pytest.mark.parametrize("fault", [Shuffle(), DropLines(30), DropLines(30, applied=False)])
    async def test_lines_are_matched_by_name(self, rig: VirtualRig, fault: Fault) -> None:
        """Lines come in any order; a conversation without one is asked for again."""
        groups = rig.session().groups
        rig.emulator.script.next(fault)
        await groups.create("alice", "work", PEERS[:90])
        rig.emulator.script.next(fault)
        report = await groups.remove("alice", "work", PEERS[:60])

        assert (True, 60) == (report.ok, len(report.results))
        assert {each.id for each in PEERS[60:90]} == members(rig)

    async def test_no_line_ever(self, rig: VirtualRig) -> None:
        """A conversation that no answer has a word on is not called added."""
        seed(rig)
        rig.emulator.script.always(DropLines(conversations=[(1, "peer_3")]))
        report = await rig.session().groups.add("alice", "work", PEERS[:5])
        (failed,) = report.failures

        assert isinstance(failed.error, OutcomeUnknownError)
        assert (PEERS[3], None, True) == (
            failed.conversation,
            failed.code,
            failed.error.possibly_applied,
        )
        assert 3 == len(calls(rig))

    @pytest.mark.parametrize(("code", "attempts"), [(50004, 2), (51007, 2), (51008, 1)])
    async def test_codes_of_lines(self, rig: VirtualRig, code: int, attempts: int) -> None:
        """Only the conversations whose code may pass are asked for again."""
        seed(rig)
        rig.emulator.script.item((1, "peer_3"), code, times=1)
        report = await rig.session().groups.add("alice", "work", PEERS[:5])

        assert [("update", 5), ("update", 1)][:attempts] == calls(rig)
        assert [code][attempts - 1 :] == [each.code for each in report.failures]

    async def test_code_of_a_line_for_ever(self, rig: VirtualRig) -> None:
        """A code that may pass and does not ends at the deadline, for that conversation alone."""
        seed(rig)
        rig.emulator.script.item((1, "peer_3"), 50004, times=None)
        report = await rig.session().groups.add("alice", "work", PEERS[:5])
        (failed,) = report.failures

        assert (PEERS[3], 50004) == (failed.conversation, failed.code)
        assert isinstance(failed.error, DeadlineExceededError)
        assert 60.0 <= rig.now <= 61.0


class TestRefusals:
    @pytest.mark.parametrize(
        ("code", "call", "arguments"),
        [
            (51009, "rename", ("gone", "new")),
            (51009, "add", ("gone", [BOB])),
            (51009, "remove", ("gone", [BOB])),
            (51009, "delete", ("gone",)),
            (51010, "create", ("one more",)),
            (51011, "create", ("\u00e9" * 17,)),
            (51011, "rename", ("work", "x" * 33)),
        ],
    )
    @pytest.mark.virtual_time(max_contact_groups=1)
    async def test_of_a_call(
        self, rig: VirtualRig, code: int, call: str, arguments: tuple[Any, ...]
    ) -> None:
        """A refusal of the group is raised at once, and names user and group."""
        seed(rig, "bob")
        with pytest.raises(ItemRefusedError, match=rf"^alice, group '.+': {code}: ") as caught:
            await getattr(rig.session().groups, call)("alice", *arguments)

        assert (code, False) == (caught.value.code, caught.value.possibly_applied)
        assert (1, {"bob"}) == (len(calls(rig)), members(rig))

    @pytest.mark.virtual_time(standard_marks=False)
    async def test_of_the_edition(self, rig: VirtualRig) -> None:
        """An edition without groups is named."""
        with pytest.raises(ApplicationRefusedError, match="51013: the plan does not include"):
            await rig.session().groups.create("alice", "work")

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("", "name: is empty"),
            ("x" * 65, "name: has 65 bytes of UTF-8, 64 are allowed"),
            ("\u00e9" * 33, "name: has 66 bytes"),
            ("\ud800", "name: is not UTF-8"),
            (7, "name: must be text, not int"),
        ],
    )
    async def test_of_a_name(self, rig: VirtualRig, name: Any, reason: str) -> None:
        """A name that no page allows is refused before anything is sent."""
        groups = rig.session().groups
        for call in (
            groups.create("alice", name),
            groups.add("alice", name, [BOB]),
            groups.delete("alice", name),
        ):
            with pytest.raises(InputError, match=reason):
                await call
        with pytest.raises(InputError, match=reason.replace("name", "new", 1)):
            await groups.rename("alice", "work", name)
        with pytest.raises(InputError, match="from_account: "):
            await groups.list("")
        with pytest.raises(InputError, match="must hold Conversation objects"):
            await groups.add("alice", "work", ["bob"])  # type: ignore[list-item]

        assert [] == calls(rig)


class TestLostAnswer:
    async def test_create_looks_before_it_repeats(self, rig: VirtualRig) -> None:
        """After a lost answer the group is created again only if it is not there, 3 s later."""
        groups = rig.session().groups
        rig.emulator.script.next(ResetAfter())
        await groups.create("alice", "work", PEERS[:2])
        rig.emulator.script.next(ResetBefore())
        await groups.create("alice", "other", PEERS[:1])

        there = [("create", 2), ("get", 0), ("update", 2)]
        assert [*there, ("create", 1), ("get", 0), ("create", 1)] == calls(rig)
        assert (6.0, 3.0) == (rig.now, rig.started()[1])

    async def test_create_runs_late(self, rig: VirtualRig) -> None:
        """A create that the server executes behind the client's back is not made twice."""
        groups = rig.session().groups
        rig.emulator.script.next(Later(2.9, Status(503)))
        report = await groups.create("alice", "work", [BOB])

        assert ([("create", 1), ("get", 0), ("update", 1)], 1) == (calls(rig), report.id)

    @pytest.mark.parametrize("then", [ResetBefore(), Status(503)], ids=repr)
    async def test_nothing_newer_for_three_seconds(self, rig: VirtualRig, then: Fault) -> None:
        """A delete that the server executes late does not delete the group that is made anew."""
        session = rig.session()
        seed(rig)
        rig.emulator.script.next(Later(2.9, then))
        await session.groups.delete("alice", "work")
        deleted_at = rig.now
        await asyncio.gather(
            session.groups.create("alice", "work", [BOB]),
            session.mark("alice", BOB, set_mark=FAVORITE),
        )
        await asyncio.sleep(3.0)

        assert {"bob"} == members(rig)
        assert deleted_at < 1.0
        assert [True, True] == [started >= 3.0 for started in rig.started()[-2:]]

    @pytest.mark.parametrize("fault", [ResetAfter(), Status(503, applied=True)], ids=repr)
    async def test_refusal_of_the_repetition(self, rig: VirtualRig, fault: Fault) -> None:
        """A refusal after a lost answer says that the call may have taken effect."""
        seed(rig)
        rig.emulator.script.next(fault, Refuse(50001))
        with pytest.raises(ItemRefusedError, match=r"50001.* not known whether") as caught:
            await rig.session().groups.add("alice", "work", [BOB])

        assert caught.value.possibly_applied

    async def test_rename_of_a_group_that_is_gone(self, rig: VirtualRig) -> None:
        """A rename whose answer was lost, of a group that is gone, failed for certain."""
        rig.emulator.script.next(ResetBefore())
        with pytest.raises(ItemRefusedError, match="51009") as caught:
            await rig.session().groups.rename("alice", "work", "new")

        assert not caught.value.possibly_applied

    async def test_of_a_part(self, rig: VirtualRig) -> None:
        """A call of which some requests succeeded says that it took effect in part."""
        seed(rig)
        rig.emulator.script.next(None, Refuse(70009))
        with pytest.raises(ApplicationRefusedError, match="in whole or in part") as caught:
            await rig.session().groups.add("alice", "work", PEERS)

        assert (True, 100) == (caught.value.possibly_applied, len(members(rig)))


class TestOrder:
    async def test_among_marks(self, rig: VirtualRig) -> None:
        """
        A call waits for the marks before it, and those after it wait for it; other users do not.
        """
        session = rig.session()
        groups = session.groups
        rig.emulator.script.next(Delay(1.0), Refuse(50004), account="alice")
        await session.submit(change())
        await rig.in_flight(session)
        await session.submit(change("alice", "eve"))
        create = asyncio.create_task(groups.create("alice", "work", [BOB]))
        await asyncio.sleep(0)
        await session.submit(change("alice", "eve", custom_mark="newer"))
        delete = asyncio.create_task(groups.delete("alice", "work"))
        await asyncio.sleep(0)
        report = await session.mark_many("alice", PEERS[:3], custom_mark="newest")
        await session.mark("carol", BOB, custom_mark="x")

        assert (True, True, True) == (create.done(), delete.done(), report.ok)
        assert [
            *[("mark_contact", 1)] * 3,
            ("create", 1),
            ("mark_contact", 1),
            ("del", 0),
            ("mark_contact", 3),
        ] == [
            each
            for each, call in zip(calls(rig), rig.emulator.calls, strict=True)
            if call.account == "alice"
        ]

    async def test_waits_for_what_may_still_run(self, rig: VirtualRig) -> None:
        """A call waits for three seconds after a mark whose connection broke, though repeated."""
        session = rig.session()
        rig.emulator.script.next(Later(2.0, ResetBefore()))
        await session.mark("alice", BOB, set_mark=FAVORITE)
        marked_at = rig.now
        await session.groups.create("alice", "work", [BOB])

        assert (True, True) == (marked_at < 1.0, rig.started()[-1] >= 3.0)

    async def test_bulk_and_linger_do_not_hold_it_up(self, rig: VirtualRig) -> None:
        """A call does not wait until rows of a job fill a request, nor for a linger."""
        session = rig.session(linger=30.0)
        more = asyncio.Event()

        async def rows() -> AsyncIterator[list[MarkChange]]:
            yield [change("alice", f"p{n}") for n in range(3)]
            await more.wait()

        job = asyncio.create_task(session.apply(rows()))
        await asyncio.sleep(0.01)
        await session.groups.create("alice", "work", [BOB])
        created_at = rig.now
        more.set()

        assert ([("mark_contact", 3), ("create", 1)], True) == (calls(rig), created_at < 1.0)
        assert (await job).ok

    async def test_many_at_once(self, rig: VirtualRig) -> None:
        """Calls and marks of one user, made together, go one after another in their order."""
        session = rig.session()
        rig.emulator.script.always(Delay(0.01))
        work: list[Any] = []
        for number in range(20):
            work.append(session.groups.create("alice", f"g{number % 4}", PEERS[:number]))
            work.append(session.mark("alice", BOB, custom_mark=f"{number}"))
            work.append(session.groups.delete("alice", f"g{number % 4}"))
        await asyncio.gather(*work)

        assert {} == rig.emulator.state.contact_groups()
        assert (0, "19") == rig.emulator.state.snapshot()["alice", 1, "bob"]

    @pytest.mark.virtual_time(calls_per_second=200)
    async def test_pace(self, rig: VirtualRig) -> None:
        """Calls of many users keep to the pace of the session, and each command has its own."""
        session = rig.session(calls_per_second=100)
        await asyncio.gather(
            *(session.groups.create(f"user_{n}", "work") for n in range(150)),
            *(session.mark(f"user_{n}", BOB, custom_mark="x") for n in range(150)),
        )

        assert 0.4 <= rig.now <= 1.8

    async def test_withdrawn_and_expired_behind_it(self, rig: VirtualRig) -> None:
        """A mark that waits behind a call is withdrawn with its caller, and not sent."""
        session = rig.session()
        rig.emulator.script.next(Delay(5.0))
        create = asyncio.create_task(session.groups.create("alice", "work", [BOB]))
        await asyncio.sleep(0.1)
        handle = await session.submit(change())
        waiter = asyncio.ensure_future(handle.settled())
        await asyncio.sleep(0.1)
        waiter.cancel()
        await create

        assert (True, [("create", 1)]) == (handle.cancelled(), calls(rig))


class TestCancelled:
    async def test_before_its_turn(self, rig: VirtualRig) -> None:
        """A call that is cancelled before its turn is not made; marks behind it go on."""
        session = rig.session()
        rig.emulator.script.next(Delay(1.0))
        await session.submit(change())
        await rig.in_flight(session)
        create = asyncio.create_task(session.groups.create("alice", "work", [BOB]))
        await asyncio.sleep(0.1)
        handle = await session.submit(change(custom_mark="behind"))
        create.cancel()
        await handle

        assert ([("mark_contact", 1)] * 2, 1.0) == (calls(rig), rig.now)

    async def test_in_flight(self, rig: VirtualRig) -> None:
        """Of a call that is cancelled in flight the server may execute the rest for 3 s more."""
        session = rig.session()
        rig.emulator.script.next(Delay(1.0))
        create = asyncio.create_task(session.groups.create("alice", "work", [BOB]))
        await asyncio.sleep(0.5)
        create.cancel()
        await session.mark("alice", BOB, custom_mark="behind")

        assert 3.5 == rig.now


class TestClose:
    async def test_waits(self, rig: VirtualRig) -> None:
        """Closing a session waits for a call, and for the marks behind it."""
        rig.emulator.script.next(Delay(1.0), None, Delay(1.0))
        async with rig.session() as session:
            create = asyncio.create_task(session.groups.create("alice", "work", [BOB]))
            await asyncio.sleep(0.1)
            handle = await session.submit(change())
        async with rig.session() as session:
            delete = asyncio.create_task(session.groups.delete("alice", "work"))
            await asyncio.sleep(0.1)
        await delete

        assert (True, True) == (create.result().ok, handle.result.ok)
        with pytest.raises(SessionClosedError):
            await session.groups.list("alice")

    @pytest.mark.parametrize("is_waiting", [False, True])
    async def test_gives_up(self, rig: VirtualRig, is_waiting: bool) -> None:
        """After the grace period a call ends, and says whether it may have taken effect."""
        session = rig.session()
        rig.emulator.script.always(Hang())
        if is_waiting:
            await session.submit(change())
        create = asyncio.create_task(session.groups.create("alice", "work", [BOB]))
        await asyncio.sleep(0.1)
        with contextlib.suppress(UnsentError):
            await session.close(1.0)
        with pytest.raises(SessionClosedError, match=r"^alice, group 'work': ") as caught:
            await create

        assert is_waiting != caught.value.possibly_applied
        assert rig.now < 20.0
        rig.emulator.script.clear()
