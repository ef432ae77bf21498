import asyncio
import contextlib
import gc
import math
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from rig import Rig, model_state, windows
from strategies import random_changes

from chatmark import (
    ApplicationRefusedError,
    ChangesFailedError,
    Conversation,
    ConversationMark,
    Credentials,
    DeadlineExceededError,
    InputError,
    ItemRefusedError,
    MarkChange,
    MarkResult,
    MarkSession,
    QueueFullError,
    Region,
    SessionClosedError,
    SessionError,
    UnsentError,
    WithdrawnError,
    make_usersig,
)
from chatmark.emulator import (
    CutBody,
    Delay,
    DropLines,
    DuplicateLines,
    ExtraLines,
    Giant,
    Hang,
    Html,
    NamelessLines,
    Redirect,
    Refuse,
    ResetAfter,
    ResetBefore,
    Status,
)

FAVORITE = ConversationMark.FAVORITE
HIDDEN = ConversationMark.HIDDEN
BOB = Conversation.one_to_one("bob")
TEAM = Conversation.group("team")


def change(account: str = "alice", peer: str = "bob", **marks: object) -> MarkChange:
    """Return a change of one conversation, which sets FAVORITE unless told otherwise."""
    marks = marks or {"set_mark": FAVORITE}
    return MarkChange(account, Conversation.one_to_one(peer), **marks)  # type: ignore[arg-type]


def changes(count: int, accounts: int = 1) -> Iterator[MarkChange]:
    """Return changes of different conversations, spread over accounts."""
    return (change(f"user_{n % accounts}", f"peer_{n}") for n in range(count))


class TestMark:
    async def test_takes_effect(self, rig: Rig) -> None:
        """A mark that was awaited is on the server."""
        async with rig.session() as session:
            result = await session.mark("alice", TEAM, set_mark=FAVORITE, custom_mark="ü")

        assert (True, 0, 1) == (result.ok, result.code, result.attempts)
        assert {("alice", 2, "team"): (1, "ü")} == rig.emulator.state.snapshot()

    async def test_raises_a_refusal_with_its_meaning(self, rig: Rig) -> None:
        """A refused mark raises the server's code, its meaning and what to do."""
        rig.emulator.state.users = {"alice"}
        async with rig.session() as session:
            with pytest.raises(
                ItemRefusedError, match="50001: the user account is not imported"
            ) as e:
                await session.mark("alice", BOB, set_mark=FAVORITE)

        assert (50001, "Import the account, then send again.") == (e.value.code, e.value.advice)

    async def test_bad_input_is_refused_before_anything_is_sent(self, rig: Rig) -> None:
        """A change that cannot be raises InputError and makes no call."""
        async with rig.session() as session:
            with pytest.raises(InputError, match="nothing to change"):
                await session.mark("alice", BOB)

        assert [] == rig.emulator.calls

    async def test_waiting_marks_of_one_conversation_are_one_item(self, rig: Rig) -> None:
        """
        Marks of one conversation that wait together are merged, and each waiter gets its result.
        """
        async with rig.session() as session:
            marks = [
                session.mark("alice", BOB, set_mark=FAVORITE),
                session.mark("alice", BOB, clear_mark=FAVORITE, set_mark=HIDDEN),
                session.mark("alice", BOB, custom_mark="vip"),
            ]
            results = await asyncio.gather(*marks)

        assert [True] * 3 == [result.ok for result in results]
        assert {("alice", 1, "bob"): (8, "vip")} == rig.emulator.state.snapshot()
        assert 1 == len(rig.emulator.calls)

    async def test_each_waiter_has_an_error_of_its_own(self, rig: Rig) -> None:
        """
        Two waiters of one refused item get two exception objects, whose tracebacks do not add up.
        """
        rig.emulator.script.item((1, "bob"), 51008)
        async with rig.session() as session:
            marks = [session.mark("alice", BOB, set_mark=FAVORITE) for _ in range(2)]
            errors = await asyncio.gather(*marks, return_exceptions=True)

        assert [51008, 51008] == [getattr(error, "code", None) for error in errors]
        assert errors[0] is not errors[1]

    async def test_a_hundred_thousand_at_once(self, rig: Rig) -> None:
        """A hundred thousand concurrent marks over a hundred users take the fewest calls."""
        rig.emulator.state.max_marked = 10_000
        async with rig.session() as session:
            marks = [
                session.mark(f"user_{n % 100}", Conversation.one_to_one(f"p{n}"), set_mark=FAVORITE)
                for n in range(100_000)
            ]
            results = await asyncio.gather(*marks)

        assert 100_000 == sum(result.ok for result in results)
        assert 1000 <= session.stats.calls <= 1030
        assert 100_000 == len(rig.emulator.state.snapshot())

    async def test_few_tasks_for_many_changes(self, rig: Rig) -> None:
        """Pending changes are records, not tasks."""
        async with rig.session() as session:
            handles = [await session.submit(each) for each in changes(5000, 50)]
            await asyncio.sleep(0)
            tasks = len(asyncio.all_tasks())
            await session.flush()

        assert all(handle.done() for handle in handles)
        assert tasks < 100


class TestSubmit:
    async def test_waits_while_the_session_is_full(self, rig: Rig) -> None:
        """A producer that is faster than the server waits for room, first come, first served."""
        rig.emulator.script.next(Delay(0.05))
        async with rig.session(max_pending=2) as session:
            handles = [await session.submit(each) for each in changes(2)]
            late = asyncio.create_task(session.submit(change(peer="late")))
            await asyncio.sleep(0)
            waits = not late.done()
            handles.append(await late)
            results = [await handle.settled() for handle in handles]

        assert waits
        assert [True] * 3 == [result.ok for result in results]

    async def test_is_refused_if_it_asked_for_that(self, rig: Rig) -> None:
        """A producer that would rather not wait is told that the session is full."""
        async with rig.session(max_pending=1) as session:
            handle = await session.submit(change())
            with pytest.raises(QueueFullError, match="max_pending=1"):
                session.submit_nowait(change(peer="late"))
            await handle.settled()

    async def test_cancelling_a_producer_that_waits_for_room_frees_its_place(
        self, rig: Rig
    ) -> None:
        """Room that came together with the cancellation goes to the next producer."""
        async with rig.session(max_pending=1) as session:
            first = await session.submit(change())
            waiting = [asyncio.create_task(session.submit(each)) for each in changes(3)]
            await asyncio.sleep(0)
            waiting[0].cancel()
            await first
            waiting[1].cancel()
            handle = await waiting[2]

            assert (await handle.settled()).ok
        assert 2 == session.stats.accepted

    async def test_a_withdrawn_change_is_never_sent(self, rig: Rig) -> None:
        """A handle that is cancelled before the change was sent withdraws it."""
        async with rig.session() as session:
            handle = await session.submit(change())
            withdrawn = handle.cancel()
            result = await handle.settled()

        assert (True, False) == (withdrawn, result.ok)
        assert isinstance(result.error, WithdrawnError)
        assert [] == rig.emulator.calls

    async def test_cancelling_one_waiter_touches_no_other(self, rig: Rig) -> None:
        """Of two waiters of one handle, the one that is not cancelled gets the result."""
        async with rig.session() as session:
            handle = await session.submit(change())

            async def wait() -> bool:
                return (await handle.settled()).ok

            waiters = [asyncio.create_task(wait()) for _ in range(2)]
            await asyncio.sleep(0)
            waiters[0].cancel()
            result = await waiters[1]

        assert result
        assert waiters[0].cancelled()

    async def test_cancelling_a_mark_in_flight_does_not_abort_it(self, rig: Rig) -> None:
        """What was sent is settled, although nobody waits any more."""
        rig.emulator.script.next(Delay(0.02))
        async with rig.session() as session:
            mark = asyncio.create_task(session.mark("alice", BOB, set_mark=FAVORITE))
            while not session.stats.in_flight:
                await asyncio.sleep(0)
            mark.cancel()
            with pytest.raises(asyncio.CancelledError):
                await mark

        assert (1, 0) == (session.stats.succeeded, session.stats.withdrawn)


class TestApply:
    async def test_final_state_equals_one_by_one(self, rig: Rig) -> None:
        """Random changes with shuffled result lines leave the state of applying them one by one."""
        rig.emulator.script.shuffle_lines = True
        wanted = random_changes(1, 20_000, 40, 400)
        async with rig.session() as session:
            report = await session.apply(wanted)

        assert (20_000, 0, 0) == (report.succeeded, report.failed, report.retries)
        assert model_state(wanted) == rig.emulator.state.snapshot()
        assert len({call.random for call in rig.emulator.calls}) == len(rig.emulator.calls)

    async def test_survives_mixed_faults(self, rig: Rig) -> None:
        """Under faults of every kind the state is the same, and refused changes are refused."""
        script = rig.emulator.script
        script.shuffle_lines = True
        script.randomly(
            0.02,
            [
                Status(502, html=True),
                ResetBefore(),
                ResetAfter(),
                Refuse(60008),
                Html(),
                CutBody(0.5),
            ],
        )
        script.items_randomly(0.02, [50004, 50005])
        rig.emulator.state.users = {f"user_{n}" for n in range(40)} | {
            f"peer_{n}" for n in range(400)
        }
        good = random_changes(2, 20_000, 40, 400)
        bad = [change(f"user_{n}", "nobody") for n in range(40)]
        async with rig.session() as session:
            report = await session.apply([*good[:10_000], *bad, *good[10_000:]])

        assert (20_000, 40, {50001: 40}) == (
            report.succeeded,
            report.failed,
            report.failures_by_code,
        )
        assert report.retries > 0
        assert model_state(good) == rig.emulator.state.snapshot()

    async def test_reads_no_faster_than_it_can_send(self, rig: Rig) -> None:
        """A bulk job holds at most max_pending changes."""
        most = 0
        async with rig.session(max_pending=150) as session:

            def source() -> Iterator[MarkChange]:
                nonlocal most
                for each in changes(2000, 7):
                    most = max(most, session.stats.pending)
                    yield each

            report = await session.apply(source())

        assert 2000 == report.succeeded
        assert most <= 150

    async def test_a_trickling_source_is_sent_as_it_comes(self, rig: Rig) -> None:
        """Rows of a slow source are not held back until there are a hundred."""
        async with rig.session() as session:
            arrived = asyncio.Event()

            async def source() -> AsyncIterator[MarkChange]:
                yield change()
                await arrived.wait()
                yield change(peer="late")

            report = await session.apply(source(), on_result=lambda _: arrived.set())

        assert (2, 2) == (report.succeeded, report.calls)

    async def test_an_error_of_the_source_comes_after_its_changes(self, rig: Rig) -> None:
        """What a source gave before it raised is settled, then its error is raised."""

        def source() -> Iterator[MarkChange]:
            yield change()
            raise LookupError("row 2")

        async with rig.session() as session:
            with pytest.raises(LookupError, match="row 2"):
                await session.apply(source())

        assert 1 == session.stats.succeeded

    async def test_an_error_of_on_result_ends_the_job(self, rig: Rig) -> None:
        """What on_result raises is raised by apply, and the session lives on."""

        def fail(_: object) -> None:
            raise LookupError("mine")

        async with rig.session() as session:
            with pytest.raises(LookupError, match="mine"):
                await session.apply(changes(300, 3), on_result=fail)
            result = await session.mark("alice", BOB, set_mark=FAVORITE)

        assert result.ok

    async def test_cancelling_withdraws_what_was_not_sent(self, rig: Rig) -> None:
        """A cancelled job takes its unsent rows back."""
        rig.emulator.script.always(Delay(0.02))
        async with rig.session() as session:
            job = asyncio.create_task(session.apply(changes(1000, 1)))
            while not session.stats.in_flight:
                await asyncio.sleep(0)
            job.cancel()
            with pytest.raises(asyncio.CancelledError):
                await job

        stats = session.stats
        assert stats.accepted == stats.succeeded + stats.withdrawn
        assert stats.withdrawn > 0

    async def test_refuses_what_is_no_change(self, rig: Rig) -> None:
        """A source that gives something else raises InputError."""
        async with rig.session() as session:
            with pytest.raises(InputError, match="must hold MarkChange objects only"):
                await session.apply(["alice"])  # type: ignore[list-item]
            wrong: Any
            for wrong in (5, None, next(iter(changes(1, 1)))):
                with pytest.raises(InputError, match="changes: must be an iterable or async"):
                    await session.apply(wrong)

    async def test_the_report_raises_its_failures_as_a_group(self, rig: Rig) -> None:
        """raise_for_failures raises what failed as one group."""
        rig.emulator.script.item((1, "peer_1"), 51008)
        async with rig.session() as session:
            report = await session.apply(changes(3))
        with pytest.raises(ChangesFailedError, match="1 of 3 changes failed") as caught:
            report.raise_for_failures()

        assert [51008] == [getattr(error, "code", None) for error in caught.value.exceptions]

    async def test_a_single_mark_does_not_wait_for_the_job(self, rig: Rig) -> None:
        """A service's mark goes between the rows of a bulk job in the same session."""
        async with rig.session(max_in_flight=1) as session:
            settled = 0

            def count(_: object) -> None:
                nonlocal settled
                settled += 1

            job = asyncio.create_task(session.apply(changes(20_000, 100), on_result=count))
            while not session.stats.in_flight:
                await asyncio.sleep(0)
            await session.mark("alice", BOB, set_mark=FAVORITE)
            before = settled
            await job

        assert before < 1000


class TestStream:
    async def test_yields_results_in_order(self, rig: Rig) -> None:
        """Results come in the order of the changes, whatever fails and is sent again in between."""
        rig.emulator.script.items_randomly(0.1, [50004])
        wanted = list(changes(2000, 11))
        async with rig.session() as session:
            results = [result async for result in session.stream(wanted)]

        assert wanted == [result.change for result in results]
        assert all(result.ok for result in results)

    async def test_yields_results_as_they_settle(self, rig: Rig) -> None:
        """Without an order all results come as well."""
        wanted = list(changes(2000, 11))
        async with rig.session(max_pending=300) as session:
            results = [result async for result in session.stream(wanted, ordered=False)]

        assert set(wanted) == {result.change for result in results}

    async def test_reads_no_faster_than_results_are_taken(self, rig: Rig) -> None:
        """A consumer that is slow stops the reading."""
        read = 0

        def source() -> Iterator[MarkChange]:
            nonlocal read
            for each in changes(5000, 3):
                read += 1
                yield each

        async with rig.session(max_pending=100) as session:
            async with contextlib.aclosing(session.stream(source())) as results:
                await anext(results)
                await session.flush()
                held = read

        assert held <= 102

    async def test_leaving_early_withdraws_the_rest(self, rig: Rig) -> None:
        """A consumer that stops early leaves nothing behind but what was in flight."""
        async with rig.session(max_in_flight=1) as session:
            async with contextlib.aclosing(session.stream(changes(5000, 9))) as results:
                async for _ in results:
                    break
            await session.flush()

        stats = session.stats
        assert stats.accepted == stats.succeeded + stats.withdrawn
        assert stats.withdrawn > 0

    async def test_a_failure_is_data(self, rig: Rig) -> None:
        """A refused change is a result that is not ok, and the stream goes on."""
        rig.emulator.script.item((1, "peer_1"), 51008)
        async with rig.session() as session:
            results = [result async for result in session.stream(changes(3))]

        assert [True, False, True] == [result.ok for result in results]
        assert "51008" in str(results[1].error)


class TestRequests:
    @pytest.mark.parametrize("count", [1, 99, 100, 101, 250])
    async def test_hold_a_hundred_items_at_most(self, rig: Rig, count: int) -> None:
        """A lane's changes are cut into requests of at most a hundred."""
        async with rig.session() as session:
            report = await session.apply(changes(count))

        assert -(-count // 100) == report.calls
        assert max(len(call.conversations) for call in rig.emulator.calls) <= 100

    @pytest.mark.parametrize(
        "fault",
        [
            DropLines(1),
            ExtraLines(3),
            DuplicateLines(2),
            NamelessLines(1),
            ResetBefore(),
            ResetAfter(),
            Status(503, retry_after="0"),
            Refuse(60008),
            Giant(20_000_000),
        ],
        ids=repr,
    )
    async def test_a_fault_of_one_answer_is_survived(self, rig: Rig, fault: object) -> None:
        """One bad answer changes nothing of the outcome."""
        rig.emulator.script.next(fault)  # type: ignore[arg-type]
        wanted = list(changes(10))
        async with rig.session() as session:
            report = await session.apply(wanted)

        assert 10 == report.succeeded
        assert model_state(wanted) == rig.emulator.state.snapshot()

    async def test_a_missing_line_is_never_success(self, rig: Rig) -> None:
        """A conversation that no answer mentions ends as unknown."""
        rig.emulator.script.always(DropLines(conversations=((1, "peer_1"),)))
        async with rig.session() as session:
            results = [result async for result in session.stream(changes(3))]

        assert [True, False, True] == [result.ok for result in results]
        assert "no readable line for this conversation" in results[1].info
        assert (None, 3) == (results[1].code, results[1].attempts)

    async def test_items_that_succeeded_are_not_sent_again(self, rig: Rig) -> None:
        """After a partial failure only the failed item is sent again."""
        rig.emulator.script.item((1, "peer_7"), 50004)
        async with rig.session() as session:
            await session.apply(changes(50))

        assert [50, 1] == [len(call.conversations) for call in rig.emulator.calls]

    async def test_an_application_wide_refusal_fails_everything_at_once(self, rig: Rig) -> None:
        """A wrong key costs one request, not one for each user."""
        rig.emulator.script.always(Refuse(70009))
        async with rig.session() as session:
            marks = [session.mark(f"u{n}", BOB, set_mark=FAVORITE) for n in range(1000)]
            errors = await asyncio.gather(*marks, return_exceptions=True)

        assert {ApplicationRefusedError} == {type(error) for error in errors}
        assert 1 == session.stats.calls

    async def test_an_expired_signature_is_renewed_once(self, rig: Rig) -> None:
        """70001 makes a new signature; a second one for the new signature is final."""
        rig.emulator.script.next(Refuse(70001))
        async with rig.session() as session:
            result = await session.mark("alice", BOB, set_mark=FAVORITE)
            rig.emulator.script.always(Refuse(70001))
            with pytest.raises(ApplicationRefusedError, match="70001"):
                await session.mark("alice", BOB, set_mark=HIDDEN)

        assert (2, 3) == (result.attempts, session.stats.renewals)
        assert 4 == session.stats.calls

    async def test_redirects_are_not_followed(self, rig: Rig) -> None:
        """A redirect would carry the signature elsewhere: it is an error."""
        rig.emulator.script.next(Redirect(rig.emulator.url + "/elsewhere"))
        async with rig.session() as session:
            with pytest.raises(Exception, match="HTTP 307"):
                await session.mark("alice", BOB, set_mark=FAVORITE)

        assert 1 == len(rig.emulator.calls)

    async def test_an_attempt_has_a_timeout_and_a_change_a_deadline(self, rig: Rig) -> None:
        """A server that never answers is given up when the deadline is over."""
        rig.emulator.script.always(Hang())
        async with rig.session(timeout=0.02, deadline=0.05) as session:
            with pytest.raises(DeadlineExceededError, match=r"no answer from .* within 0.02 s"):
                await session.mark("alice", BOB, set_mark=FAVORITE)

        assert session.stats.calls <= 5

    async def test_the_pace_holds_at_the_server(self, rig: Rig) -> None:
        """No window of one second at the server holds more calls than the rate."""
        async with rig.session(calls_per_second=50) as session:
            await session.apply(changes(90, 90))

        assert windows(call.started for call in rig.emulator.calls) <= 50

    @pytest.mark.parametrize("code", [60004, 60005, 70001, 70002, 70346])
    async def test_a_refused_signature_says_its_times(self, rig: Rig, code: int) -> None:
        """The error for a refused UserSig names when it was made and expires, and the clock."""
        rig.emulator.script.always(Refuse(code))
        key = rig.emulator.settings.secret_key
        usersig = make_usersig(1400000001, "administrator", key, now=1_700_000_000, expire=60)
        credentials = Credentials(sdkappid=1400000001, identifier="administrator", usersig=usersig)
        session = rig.session(credentials=credentials, wall_clock=lambda: 1_700_003_600.0)
        with pytest.raises(ApplicationRefusedError) as caught:
            await session.mark("alice", BOB, set_mark=FAVORITE)

        assert (
            "a UserSig made at 2023-11-14 22:13:20 UTC that expires at 2023-11-14 22:14:20 UTC; "
            "the clock of this machine says 2023-11-14 23:13:20 UTC"
        ) in str(caught.value)
        assert usersig not in str(caught.value)


class TestReading:
    async def test_marked_reads_all_pages(self, rig: Rig) -> None:
        """All pages of a user's marked conversations are read."""
        rig.emulator.state.page_size = 7
        async with rig.session() as session:
            await session.apply(changes(20))
            found = [each async for each in session.marked("user_0")]

        assert {f"peer_{n}" for n in range(20)} == {each.conversation.id for each in found}
        assert 3 == sum(call.command.endswith("get_contact_group") for call in rig.emulator.calls)

    async def test_search_asks_for_three_hundred_a_call(self, rig: Rig) -> None:
        """A search is cut into calls of 300, and an unmarked conversation is there, empty."""
        async with rig.session() as session:
            await session.mark("alice", BOB, set_mark=FAVORITE, custom_mark="vip")
            asked = [BOB, *(Conversation.one_to_one(f"p{n}") for n in range(600))]
            found = await session.search("alice", asked)

        assert asked == list(found)
        assert (FAVORITE, "vip") == (found[BOB].mark, found[BOB].custom_mark)
        assert not found[asked[1]].mark
        assert [300, 300, 1] == [
            len(call.conversations) for call in rig.emulator.calls if "search" in call.command
        ]

    async def test_reading_survives_faults(self, rig: Rig) -> None:
        """A page that fails is read again."""
        async with rig.session() as session:
            await session.apply(changes(3))
            rig.emulator.script.next(Status(502, html=True), ResetBefore(), Refuse(50004))
            found = [each async for each in session.marked("user_0")]

        assert 3 == len(found)

    async def test_reading_raises_a_refusal(self, rig: Rig) -> None:
        """A refused page raises the code."""
        rig.emulator.state.users = {"bob"}
        async with rig.session() as session:
            with pytest.raises(ItemRefusedError, match="50001"):
                await anext(session.marked("alice"))


class TestClose:
    async def test_drains_what_was_accepted(self, rig: Rig) -> None:
        """Leaving the session settles everything."""
        async with rig.session() as session:
            handles = [await session.submit(each) for each in changes(500, 5)]

        assert all(handle.result.ok for handle in handles)

    async def test_is_idempotent_and_refuses_more(self, rig: Rig) -> None:
        """Closing again does nothing; using a closed session says so."""
        session = rig.session()
        async with session:
            await session.mark("alice", BOB, set_mark=FAVORITE)
        await asyncio.gather(session.close(), session.close())
        with pytest.raises(SessionClosedError):
            await session.submit(change())

    async def test_fails_the_rest_with_the_unsent_changes(self, rig: Rig) -> None:
        """What a dead server kept from being settled is in the error."""
        rig.emulator.script.always(Hang())
        session = rig.session()
        handles = [await session.submit(each) for each in changes(300, 2)]
        with pytest.raises(UnsentError):
            await session.close(0.02)
        results = [await handle.settled() for handle in handles]

        errors = {type(result.error) for result in results}
        assert {UnsentError} == errors
        assert isinstance(results[0].error, UnsentError)
        assert {handle.change for handle in handles} == set(results[0].error.unsent)

    async def test_being_cancelled_still_settles_every_handle(self, rig: Rig) -> None:
        """A cancelled close waits no more, and leaves no handle without an outcome."""
        rig.emulator.script.always(Hang())
        session = rig.session()
        handles = [await session.submit(each) for each in changes(3)]
        closing = asyncio.create_task(session.close())
        while not session.stats.in_flight:
            await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing

        assert [True] * 3 == [handle.done() for handle in handles]

    async def test_leaves_a_borrowed_http_session_open(self, rig: Rig) -> None:
        """An aiohttp session that was lent is not closed."""
        async with aiohttp.ClientSession() as http:
            async with rig.session(http=http) as session:
                await session.mark("alice", BOB, set_mark=FAVORITE)

            assert not http.closed

    async def test_a_collected_session_warns(self, rig: Rig) -> None:
        """A session that was never closed says how many changes it takes with it."""
        session = MarkSession(rig.credentials, base_url=rig.emulator.url)
        await session.submit(change())
        sender = session._dispatcher
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del session
            gc.collect()
        assert sender is not None
        await sender.end()
        await sender._client.aclose()

        assert ["a MarkSession was not closed; 1 changes are not settled"] == [
            str(each.message) for each in caught
        ]

    def test_belongs_to_one_loop(self) -> None:
        """A session that is used from a second loop says so."""

        async def use() -> None:
            await session.flush()

        async def make() -> MarkSession:
            credentials = Rig(None).credentials  # type: ignore[arg-type]
            made = MarkSession(credentials, base_url="http://127.0.0.1:9")
            await made.flush()
            return made

        with asyncio.Runner() as runner:
            session = runner.run(make())
            with asyncio.Runner() as other, pytest.raises(SessionError, match="event loop"):
                other.run(use())
            runner.run(session.close())


class TestArguments:
    @pytest.mark.parametrize(
        ("options", "field"),
        [
            ({}, "region"),
            ({"region": Region.SEOUL, "base_url": "https://example.com"}, "region"),
            ({"base_url": "http://example.com"}, "base_url"),
            ({"base_url": "ftp://example.com"}, "base_url"),
            ({"region": Region.SEOUL, "max_in_flight": 0}, "max_in_flight"),
            ({"region": Region.SEOUL, "max_pending": 0}, "max_pending"),
            ({"region": Region.SEOUL, "deadline": float("nan")}, "deadline"),
            ({"region": Region.SEOUL, "timeout": 0}, "timeout"),
            ({"region": Region.SEOUL, "linger": -1}, "linger"),
            *(
                ({"region": Region.SEOUL, field: value}, field)
                for field in ("timeout", "deadline", "linger", "close_grace", "calls_per_second")
                for value in (-math.inf, math.nan, 10**400, True, "x")
            ),
            *(
                ({"region": Region.SEOUL, field: math.inf}, field)
                for field in ("timeout", "linger", "calls_per_second")
            ),
            *(
                ({"region": Region.SEOUL, field: value}, field)
                for field in ("max_in_flight", "max_pending")
                for value in (2.5, 2.0, math.inf, True, "1")
            ),
            ({"region": Region.SEOUL, "calls_per_second": 0}, "calls_per_second"),
            ({"region": Region.SEOUL, "calls_per_second": "fast"}, "calls_per_second"),
            ({"region": Region.SEOUL, "budget": 5}, "budget"),
            ({"region": Region.SEOUL, "transport": object()}, "transport"),
            ({"region": Region.SEOUL, "rng": 5}, "rng"),
            ({"region": Region.SEOUL, "backoff": 1.0}, "backoff"),
            ({"region": Region.SEOUL, "wall_clock": 0}, "wall_clock"),
            ({"region": Region.SEOUL, "hooks": None}, "hooks"),
            ({"region": Region.SEOUL, "hooks": [print, "print"]}, "hooks"),
        ],
    )
    def test_are_checked(self, options: dict[str, object], field: str) -> None:
        """An argument that will not do is named."""
        rig = Rig(None)  # type: ignore[arg-type]
        with pytest.raises(InputError) as caught:
            MarkSession(rig.credentials, **options)  # type: ignore[arg-type]

        assert field == caught.value.field

    async def test_may_be_endless(self, rig: Rig) -> None:
        """Who never gives up says so: for a change, and for those that are left at the end."""
        async with rig.session(deadline=math.inf, close_grace=math.inf) as session:
            rig.emulator.script.next(Refuse(60007), Status(503))
            handle = await session.submit(next(iter(changes(1, 1))))
            await session.close()

        assert (await handle.settled()).ok


class TestLists:
    @pytest.mark.parametrize("ordered", [True, False])
    async def test_of_an_async_source(self, rig: Rig, ordered: bool) -> None:
        """An async source may give its changes in lists, as pages of a table are."""

        async def pages() -> AsyncIterator[list[MarkChange]]:
            yield list(changes(250, 5))
            yield []
            yield list(changes(50, 50))

        async with rig.session() as session:
            report = await session.apply(pages())
            results = [result async for result in session.stream(pages(), ordered=ordered)]

        assert (300, 300) == (report.succeeded, len(results))
        if ordered:
            assert [*changes(250, 5), *changes(50, 50)] == [result.change for result in results]

    async def test_with_something_else(self, rig: Rig) -> None:
        """What is no change in a list is refused after the changes before it."""

        async def pages() -> AsyncIterator[Any]:
            yield [*changes(3, 3), "no change", *changes(3, 3)]

        told: list[MarkResult] = []
        async with rig.session() as session:
            with pytest.raises(InputError, match="must hold MarkChange objects only"):
                await session.apply(pages(), on_result=told.append)
            await session.flush()

        assert [True] * 3 == [result.ok for result in told]
