import asyncio
import contextlib
import gc
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final

import attrs
import pytest
from rig import run_program
from virtual_rig import BOB, WAYS, VirtualRig, change, changes, provided, run_job, usersig
from virtual_time import VirtualLoop

from chatmark import (
    Conversation,
    MarkChange,
    MarkHandle,
    MarkResult,
    MarkSession,
    SessionBrokenError,
    SessionError,
    WithdrawnError,
)
from chatmark.emulator import Delay, DropLines, Emulator, Hang, Refuse, Status
from chatmark.failures import UnsentError

pytestmark = pytest.mark.virtual_time


VICTIM: Final = change("alice", "bob", custom_mark="victim")


async def _slow_provider() -> str:
    await asyncio.sleep(5)
    return usersig()


@attrs.frozen
class Stage:
    """
    A place in which a change can wait, and how to bring one there.

    Args:
        name: What it is called.
        options: Of the session.
        before: What happens before the change is submitted.
        sent: Whether the change was in a request by then.
        faults: What the first requests meet.
    """

    name: str
    options: dict[str, Any] = attrs.field(factory=dict)
    before: Callable[[VirtualRig, MarkSession], Awaitable[object]] | None = None
    sent: bool = False
    faults: tuple[Any, ...] = ()
    code: int = 0

    async def session(self, rig: VirtualRig) -> MarkSession:
        """Return a session into which the change may now be submitted."""
        if self.faults:
            rig.emulator.script.next(*self.faults)
        if self.code:
            rig.emulator.script.item((1, "bob"), self.code)
        session = rig.session(**self.options)
        if self.before is not None:
            await self.before(rig, session)
        return session

    async def reached(self, rig: VirtualRig, session: MarkSession) -> None:
        """Wait a little, so that the change is where it is to be."""
        await asyncio.sleep(0.1)

        assert session.stats.pending > 0, self.name


async def _busy_lane(rig: VirtualRig, session: MarkSession) -> None:
    await session.submit(change("alice", "other"))
    await rig.in_flight(session)


async def _busy_session(rig: VirtualRig, session: MarkSession) -> None:
    await session.submit(change("carol"))
    await rig.in_flight(session)


async def _spent_pace(_: VirtualRig, session: MarkSession) -> None:
    await session.mark("carol", BOB, custom_mark="first")


async def _paused(rig: VirtualRig, session: MarkSession) -> None:
    await session.submit(change("carol"))
    await rig.until(lambda: session.stats.pauses)


async def _held(rig: VirtualRig, session: MarkSession) -> None:
    await session.mark("carol", BOB, custom_mark="first")
    for each in changes(20, 20):
        await session.submit(each)
    assert session._engine is not None
    await rig.until(lambda: session._engine.breaker.held_since is not None)


def _fives(_: int) -> float:
    return 5.0


ADMISSION: Final = Stage("waiting for room", {"max_pending": 1}, _busy_session, faults=(Delay(5),))
UNSENT: Final = (
    Stage("in its linger", {"linger": 5.0}),
    Stage("queued behind its lane's request", {}, _busy_lane, faults=(Delay(5),)),
    Stage(
        "queued because all connections are busy",
        {"max_in_flight": 1},
        _busy_session,
        faults=(Delay(5),),
    ),
    Stage("waiting for the first answer of the session", {}, _busy_session, faults=(Delay(0.9),)),
    Stage("in the pacer", {"calls_per_second": 0.1}, _spent_pace),
    Stage("in the shared pause", {}, _paused, faults=(Refuse(60007),)),
    Stage(
        "held by the retry budget",
        {"backoff": _fives},
        _held,
        faults=(None, *(Status(503) for _ in range(20))),
    ),
)
SENT: Final = (
    Stage("in flight", sent=True, faults=(Delay(5),)),
    Stage(
        "in flight, waiting for a UserSig",
        {"credentials": provided(_slow_provider)},
        sent=True,
    ),
    Stage("in the backoff of its lane", {"backoff": _fives}, sent=True, faults=(Status(503),)),
    Stage("in its own backoff", {"backoff": _fives}, sent=True, code=50004),
    Stage("in a pause that it met itself", sent=True, faults=(Refuse(60007),)),
    Stage("in flight again", sent=True, faults=(DropLines(1), Delay(5))),
)
STAGES: Final = (ADMISSION, *UNSENT, *SENT)
TIMES: Final = pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
EVERYWHERE: Final = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
AFTER_ADMISSION: Final = pytest.mark.parametrize(
    "stage", [*UNSENT, *SENT], ids=lambda stage: stage.name
)


async def marking(session: MarkSession, mark: str = "victim") -> MarkResult:
    """Mark the victim's conversation."""
    return await session.mark("alice", BOB, custom_mark=mark)


async def marking_inside(session: MarkSession) -> None:
    """Mark inside the session's own block."""
    async with session:
        await marking(session)


async def awaiting(handle: MarkHandle) -> MarkResult:
    """Await a handle in a task."""
    return await handle.settled()


async def check_victim(rig: VirtualRig, session: MarkSession, stage: Stage) -> None:
    """Let everything settle, and check what became of a change whose only waiter was cancelled."""
    after = await session.mark("dave", BOB, custom_mark="after")
    await session.flush()
    stats = session.stats
    was_sent = any(
        call.account == "alice" and (1, "bob") in call.conversations for call in rig.emulator.calls
    )

    assert after.ok
    assert stage.sent is was_sent
    assert int(not stage.sent and stage is not ADMISSION) == stats.withdrawn
    assert (0, stats.accepted - stats.withdrawn) == (stats.failed, stats.succeeded)


async def _once(session: MarkSession, times: int = 1) -> None:
    waiter = asyncio.create_task(marking(session))
    await asyncio.sleep(0.2)
    for _ in range(times):
        waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter


async def _twice(session: MarkSession) -> None:
    await _once(session, 2)


async def _by_a_timeout(session: MarkSession) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await marking(session)


async def _by_a_failing_task_group(session: MarkSession) -> None:
    async def fail() -> None:
        await asyncio.sleep(0.2)
        raise LookupError("mine")

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(marking(session))
            group.create_task(fail())

    with pytest.raises(ExceptionGroup) as caught:
        await both()

    assert caught.group_contains(LookupError, match="mine")


class TestWaiter:
    @pytest.mark.parametrize("cancel", [_once, _twice, _by_a_timeout, _by_a_failing_task_group])
    @EVERYWHERE
    async def test_cancelled(
        self, rig: VirtualRig, stage: Stage, cancel: Callable[[MarkSession], Awaitable[None]]
    ) -> None:
        """
        Cancelling the only waiter, in every way, at every await.

        What was not sent is withdrawn, what was sent is settled, and the session goes on.
        """
        session = await stage.session(rig)
        await cancel(session)

        await check_victim(rig, session, stage)

    @pytest.mark.parametrize("cancelled", [1, 2])
    @AFTER_ADMISSION
    async def test_of_two(self, rig: VirtualRig, stage: Stage, cancelled: int) -> None:
        """
        When one of two waiters of a handle is cancelled, at every await, the other gets the result.

        When both are, it is as if the only one was.
        """
        session = await stage.session(rig)
        handle = await session.submit(VICTIM)
        waiters = [asyncio.create_task(awaiting(handle)) for _ in range(2)]
        await stage.reached(rig, session)
        for waiter in waiters[:cancelled]:
            waiter.cancel()
        await asyncio.wait(waiters)

        if cancelled == 1:
            assert (True, 0) == (waiters[1].result().ok, session.stats.withdrawn)
        else:
            await check_victim(rig, session, stage)
            assert handle.done()


class TestFlush:
    async def test_cancelled(self, rig: VirtualRig) -> None:
        """Cancelling flush cancels no change, and leaves another flush waiting."""
        session = rig.session()
        rig.emulator.script.next(Delay(5))
        handle = await session.submit(VICTIM)
        flushes = [asyncio.create_task(session.flush()) for _ in range(2)]
        await asyncio.sleep(1)
        flushes[0].cancel()
        await asyncio.wait(flushes)

        assert (True, False) == (flushes[0].cancelled(), flushes[1].cancelled())
        assert (5.0, True) == (round(rig.now, 1), handle.result.ok)

    async def test_cancelled_lets_changes_linger_again(self, rig: VirtualRig) -> None:
        """After a flush was cancelled, later changes wait for their linger again."""
        session = rig.session(linger=2.0)
        rig.emulator.script.next(Delay(1))
        await session.submit(change("carol"))
        flush = asyncio.create_task(session.flush())
        await asyncio.sleep(0.5)
        flush.cancel()
        await asyncio.wait([flush])
        await asyncio.sleep(1)
        await marking(session)

        assert [0.0, 3.5] == rig.started()


class TestClose:
    @TIMES
    @EVERYWHERE
    async def test_cancelled(self, rig: VirtualRig, stage: Stage, times: int) -> None:
        """
        A close that is cancelled, once or twice, with a change at every await, ends every handle.
        """
        session = await stage.session(rig)
        waiter = asyncio.create_task(marking(session))
        await stage.reached(rig, session)
        closing = asyncio.create_task(session.close())
        before = rig.now
        for _ in range(times):
            await asyncio.sleep(0)
            closing.cancel()
        await asyncio.wait([closing])

        assert (True, before) == (closing.cancelled(), rig.now)
        assert isinstance(*await asyncio.gather(waiter, return_exceptions=True), SessionError)
        with contextlib.suppress(UnsentError):
            await session.close()
        assert 0 == session.stats.pending

    @pytest.mark.parametrize("cancelled", [1, 2])
    async def test_of_two(self, rig: VirtualRig, cancelled: int) -> None:
        """
        Of two who close a session one is cancelled: the other still waits for what was accepted.

        When both are cancelled nobody waits, and every handle ends.
        """
        session = rig.session()
        rig.emulator.script.next(Delay(5))
        handle = await session.submit(VICTIM)
        closings = [asyncio.create_task(session.close()) for _ in range(2)]
        await asyncio.sleep(1)
        for closing in closings[:cancelled]:
            closing.cancel()
        await asyncio.wait(closings)

        assert [True, cancelled == 2] == [closing.cancelled() for closing in closings]
        assert (5.0 if cancelled == 1 else 1.0) == pytest.approx(rig.now)
        assert (True, cancelled == 1) == (handle.done(), handle.result.ok)

    @EVERYWHERE
    async def test_body_cancelled(self, rig: VirtualRig, stage: Stage) -> None:
        """
        A body that is cancelled, with a change at every await.

        What is in flight is waited for, what was not sent is not sent.
        """
        session = await stage.session(rig)
        task = asyncio.create_task(marking_inside(session))
        await stage.reached(rig, session)
        calls = len(rig.emulator.calls)
        task.cancel()
        await asyncio.wait([task])
        stats = session.stats

        assert (True, 0) == (task.cancelled(), stats.pending)
        assert calls == len(rig.emulator.calls) or stage.sent

    async def test_body_cancelled_sends_nothing_again(self, rig: VirtualRig) -> None:
        """What is in flight when the body is cancelled is waited for, and has no other attempt."""
        rig.emulator.script.always(Hang())
        session = rig.session(timeout=2.0, close_grace=30.0)
        task = asyncio.create_task(marking_inside(session))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.wait([task])

        assert 1 == session.stats.calls
        assert pytest.approx(2.0) == rig.now


JOBS: Final = pytest.mark.parametrize(
    "stage",
    [
        Stage("waiting for room", {"max_pending": 50}, faults=(Delay(5),)),
        Stage("in flight", faults=(Delay(5),)),
        Stage("in backoff", {"backoff": _fives}, faults=(Status(503),)),
        Stage("in the pacer", {"calls_per_second": 0.1}),
        Stage("in the shared pause", faults=(Refuse(60007),)),
        Stage("at a server that never answers", faults=(Hang(),)),
    ],
    ids=lambda stage: stage.name,
)


class TestJobs:
    @TIMES
    @JOBS
    @pytest.mark.parametrize("way", WAYS)
    async def test_cancelled(self, rig: VirtualRig, stage: Stage, times: int, way: str) -> None:
        """
        Cancelling a job in each state, once or twice: unsent rows are withdrawn, sent ones settled.
        """
        session = await stage.session(rig)
        job = asyncio.create_task(run_job(session, [VICTIM, *changes(999, 3)], way))
        await asyncio.sleep(0.3)
        sent = session.stats.in_flight
        job.cancel()
        if times > 1:
            await asyncio.sleep(0)
            job.cancel()
        await asyncio.wait([job])
        after = session.stats
        asked = {(call.account, key) for call in rig.emulator.calls for key in call.conversations}
        await session.flush()
        stats = session.stats

        assert job.cancelled()
        assert sent == after.in_flight
        assert (0, len(asked)) == (stats.failed, stats.succeeded)
        assert stats.accepted - len(asked) == after.withdrawn == stats.withdrawn

    @TIMES
    @pytest.mark.parametrize("rows", [0, 500])
    async def test_source_resists(self, rig: VirtualRig, rows: int, times: int) -> None:
        """A source that is slow to end when its job is cancelled, and then raises, hurts nobody."""

        async def source() -> AsyncIterator[MarkChange]:
            for each in changes(rows, 3):
                yield each
            try:
                await asyncio.sleep(1000)
            finally:
                await asyncio.sleep(5)
                raise LookupError("mine")

        rig.emulator.script.always(Delay(1))
        session = rig.session(max_in_flight=2)
        job = asyncio.create_task(session.apply(source()))
        await asyncio.sleep(0.5)
        for _ in range(times):
            job.cancel()
            await asyncio.sleep(0.1)
        await asyncio.wait([job])
        ended = rig.now
        await session.flush()
        await asyncio.sleep(10)

        assert job.cancelled()
        assert (5.5 if times == 1 else 0.6) == pytest.approx(ended, abs=0.1)
        assert session.stats.accepted == session.stats.succeeded + session.stats.withdrawn

    async def test_leaving_a_stream_to_the_collector(self, rig: VirtualRig) -> None:
        """A stream that is left without aclose withdraws its unsent rows when it is collected."""
        rig.emulator.script.always(Delay(1))
        session = rig.session(max_in_flight=1)
        results = session.stream(changes(1000, 9), ordered=False)
        await anext(results)
        del results
        gc.collect()
        await session.flush()
        stats = session.stats

        assert stats.withdrawn > 500
        assert stats.accepted == stats.succeeded + stats.withdrawn

    async def test_job_cancelled_beside_single_marks(self, rig: VirtualRig) -> None:
        """A job that is cancelled takes no single mark of the same conversations with it."""
        rig.emulator.script.next(Delay(1))
        session = rig.session()
        first = await session.submit(change("user_0", "first"))
        await rig.in_flight(session)
        job = asyncio.create_task(session.apply(changes(50, 1)))
        await asyncio.sleep(0.1)
        marks = [
            asyncio.create_task(
                session.mark("user_0", Conversation.one_to_one(f"peer_{n}"), custom_mark="mine")
            )
            for n in range(50)
        ]
        await asyncio.sleep(0)
        job.cancel()
        results = await asyncio.gather(*marks)

        assert first.done()
        assert all(result.ok for result in results)
        assert {(0, "mine")} == {
            value for key, value in rig.emulator.state.snapshot().items() if key[2] != "first"
        }
        assert 50 == session.stats.withdrawn

    async def test_reading_cancelled(self, rig: VirtualRig) -> None:
        """Cancelling a search or a listing, in flight, in backoff or in the pacer, hurts nobody."""
        session = rig.session(calls_per_second=1, backoff=_fives)
        rig.emulator.script.next(Status(503), Delay(5), command="search_contact_group")
        rig.emulator.script.next(Delay(5), command="get_contact_group")

        async def listing() -> None:
            async for _ in session.marked("alice"):
                pass

        readers: list[asyncio.Task[Any]] = [
            asyncio.create_task(session.search("alice", [BOB])) for _ in range(2)
        ]
        readers.append(asyncio.create_task(listing()))
        await asyncio.sleep(1.5)
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)

        assert [True] * 3 == [reader.cancelled() for reader in readers]
        assert (await marking(session)).ok


def _interrupted(stage: Stage, *times: float) -> tuple[int, list[MarkResult]]:
    """
    Run a program that marks and gets Ctrl-C at these times, and check that nothing is left.

    Return how many changes were pending behind it, and the results.
    """
    rigs: list[VirtualRig] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        emulator = Emulator(calls_per_second=None, monotonic=loop.time)
        await emulator.start()
        rigs.append(rig := VirtualRig(emulator))
        session = await stage.session(rig)
        for at in times:
            loop.call_later(at, signal.raise_signal, signal.SIGINT)
        await marking_inside(session)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        with pytest.raises(KeyboardInterrupt):
            runner.run(main())
        [rig] = rigs
        [session] = rig.sessions
        pending = session.stats.pending
        runner.run(rig.check())
        runner.run(rig.emulator.stop())
    return pending, rig.results


class TestRun:
    @pytest.mark.parametrize("closed", [True, False])
    @EVERYWHERE
    async def test_ends(self, rig: VirtualRig, stage: Stage, *, closed: bool) -> None:
        """
        asyncio.run ends with a change at every await.

        It cancels all tasks; every handle ends, with the cause where nobody closes the session.
        """
        session = await stage.session(rig)
        waiting = asyncio.create_task(marking_inside(session) if closed else marking(session))
        await stage.reached(rig, session)
        if closed:
            waiting.cancel()
        for task in asyncio.all_tasks():
            if task.get_name().startswith("chatmark"):
                task.cancel()
        [error] = await asyncio.gather(waiting, return_exceptions=True)

        assert 0 == session.stats.pending
        if closed:
            assert isinstance(error, asyncio.CancelledError)
        else:
            assert isinstance(error, SessionBrokenError)
            assert isinstance(error.__cause__, asyncio.CancelledError)

    @EVERYWHERE
    def test_ctrl_c(self, stage: Stage) -> None:
        """
        Ctrl-C with a change at every await cancels the body, which waits for what is in flight.
        """
        pending, _ = _interrupted(stage, 0.2)

        assert 0 == pending

    def test_ctrl_c_twice(self) -> None:
        """A second Ctrl-C ends the wait for a server that does not answer; no handle is left."""
        _, [result] = _interrupted(Stage("in flight", faults=(Hang(),)), 1.0, 2.0)

        assert isinstance(result.error, SessionError)

    def test_ctrl_c_of_a_program(self) -> None:
        """
        A whole program that is interrupted ends by KeyboardInterrupt with an exact ledger.

        And without a word of asyncio about tasks that were left.
        """
        done = run_program(
            """
            import asyncio, signal
            from chatmark import Conversation, MarkChange
            from chatmark.emulator import Delay, Emulator
            from rig import Rig

            async def main():
                async with Emulator() as emulator:
                    emulator.script.always(Delay(0.05))
                    session = Rig(emulator).session()
                    rows = (
                        MarkChange(f"u{n % 5}", Conversation.group(f"g{n}"), custom_mark="x")
                        for n in range(20_000)
                    )
                    loop = asyncio.get_running_loop()
                    # A busy machine is no news.
                    loop.slow_callback_duration = 60.0
                    loop.call_later(0.2, signal.raise_signal, signal.SIGINT)
                    try:
                        async with session:
                            await session.apply(rows)
                    finally:
                        s = session.stats
                        settled = s.succeeded + s.failed + s.withdrawn
                        print(s.pending, s.accepted - settled, len(asyncio.all_tasks()) < 20)

            asyncio.run(main())
            """,
            *("-X", "dev"),
        )

        assert "0 0 True\n" == done.stdout
        assert done.stderr.rstrip().endswith("KeyboardInterrupt")
        assert "Task" not in done.stderr
        assert "Unclosed" not in done.stderr


@pytest.mark.parametrize("in_lists", [True, False])
async def test_each_row_that_was_read_has_one_result(rig: VirtualRig, in_lists: bool) -> None:
    """Of a job that is cancelled each row that was read has one result, taken or not."""
    rig.emulator.script.always(Delay(5.0))
    session = rig.session(max_pending=100)
    rows = list(changes(300, 1))
    read: list[MarkChange] = []

    def source() -> Iterator[Any]:
        size = 150 if in_lists else 1
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            read.extend(some)
            yield some if in_lists else some[0]

    told: list[MarkResult] = []
    job = asyncio.create_task(session.apply(source(), on_result=told.append))
    await asyncio.sleep(1.0)
    job.cancel()
    await asyncio.wait([job])
    at_once = [result.error for result in told]
    await session.flush()

    assert len(read) > 100
    assert Counter(read) == Counter(result.change for result in told)
    assert {WithdrawnError} == {type(error) for error in at_once}
    assert 100 == sum(result.ok for result in told)
