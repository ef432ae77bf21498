import asyncio
import contextlib
import gc
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
from virtual_rig import BOB, VirtualRig, change, changes, in_virtual_time
from virtual_time import VirtualLoop

from chatmark import (
    Conversation,
    ConversationMark,
    Credentials,
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
from chatmark.usersig import make_usersig

BIT_40: Final = ConversationMark.extension(40)
VICTIM: Final = change("alice", "bob", custom_mark="victim")


async def _slow_provider() -> str:
    await asyncio.sleep(5)
    return make_usersig(
        1400000001, "administrator", "example-secret-not-real", now=time.time(), expire=86_400
    )


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
        {
            "credentials": Credentials(
                sdkappid=1400000001, identifier="administrator", provider=_slow_provider
            )
        },
        sent=True,
    ),
    Stage("in the backoff of its lane", {"backoff": _fives}, sent=True, faults=(Status(503),)),
    Stage("in its own backoff", {"backoff": _fives}, sent=True, code=50004),
    Stage("in a pause that it met itself", sent=True, faults=(Refuse(60007),)),
    Stage("in flight again", sent=True, faults=(DropLines(1), Delay(5))),
)
STAGES: Final = (ADMISSION, *UNSENT, *SENT)
EVERYWHERE: Final = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
AFTER_ADMISSION: Final = pytest.mark.parametrize(
    "stage", [*UNSENT, *SENT], ids=lambda stage: stage.name
)


async def marking(session: MarkSession, mark: str = "victim") -> MarkResult:
    """Mark the victim's conversation."""
    return await session.mark("alice", BOB, custom_mark=mark)


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


class TestWaiter:
    @pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
    @EVERYWHERE
    @in_virtual_time()
    async def test_cancelled(self, rig: VirtualRig, stage: Stage, times: int) -> None:
        """
        Cancelling the only waiter, once or twice, at every await.

        What was not sent is withdrawn, what was sent is settled, and the session goes on.
        """
        session = await stage.session(rig)
        waiter = asyncio.create_task(marking(session))
        await stage.reached(rig, session)
        for _ in range(times):
            waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter

        await check_victim(rig, session, stage)

    @EVERYWHERE
    @in_virtual_time()
    async def test_timed_out(self, rig: VirtualRig, stage: Stage) -> None:
        """asyncio.timeout around a mark, at every await, is a cancellation like any other."""
        session = await stage.session(rig)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await marking(session)

        await check_victim(rig, session, stage)

    @EVERYWHERE
    @in_virtual_time()
    async def test_in_a_failing_task_group(self, rig: VirtualRig, stage: Stage) -> None:
        """
        A TaskGroup that fails while a mark waits, at every await, cancels that mark and no other.
        """
        session = await stage.session(rig)

        async def fail() -> None:
            await asyncio.sleep(0.2)
            raise LookupError("mine")

        async def body() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(marking(session))
                group.create_task(fail())

        with pytest.raises(ExceptionGroup) as caught:
            await body()

        assert caught.group_contains(LookupError, match="mine")
        await check_victim(rig, session, stage)

    @AFTER_ADMISSION
    @in_virtual_time()
    async def test_one_of_two(self, rig: VirtualRig, stage: Stage) -> None:
        """
        One of two waiters of a handle is cancelled, at every await: the other gets the result.
        """
        session = await stage.session(rig)
        handle = await session.submit(VICTIM)
        waiters = [asyncio.create_task(awaiting(handle)) for _ in range(2)]
        await stage.reached(rig, session)
        waiters[0].cancel()
        result = await waiters[1]

        assert (True, True) == (result.ok, waiters[0].cancelled())
        assert 0 == session.stats.withdrawn

    @AFTER_ADMISSION
    @in_virtual_time()
    async def test_both(self, rig: VirtualRig, stage: Stage) -> None:
        """Both waiters of a handle are cancelled, at every await: as if the only one was."""
        session = await stage.session(rig)
        handle = await session.submit(VICTIM)
        waiters = [asyncio.create_task(awaiting(handle)) for _ in range(2)]
        await stage.reached(rig, session)
        for waiter in waiters:
            waiter.cancel()
        await asyncio.wait(waiters)

        await check_victim(rig, session, stage)
        assert handle.done()

    @AFTER_ADMISSION
    @in_virtual_time()
    async def test_beside_another_change_of_the_conversation(
        self, rig: VirtualRig, stage: Stage
    ) -> None:
        """
        Of two changes of one conversation one is cancelled, at every await.

        The other takes effect, and so does the cancelled one exactly if it was sent.
        """
        session = await stage.session(rig)
        waiter = asyncio.create_task(marking(session))
        await stage.reached(rig, session)
        other = asyncio.create_task(session.mark("alice", BOB, set_mark=BIT_40))
        await asyncio.sleep(0)
        waiter.cancel()
        result = await other
        await session.flush()

        assert result.ok
        assert (int(BIT_40), "victim" if stage.sent else "") == rig.emulator.state.snapshot()[
            "alice", 1, "bob"
        ]

    @in_virtual_time()
    async def test_in_the_same_turn_as_its_result(self, rig: VirtualRig) -> None:
        """
        A waiter that is cancelled in the turn in which its result comes: the outcome is counted.
        """
        session = rig.session()
        handle = await session.submit(VICTIM)
        waiter = asyncio.create_task(awaiting(handle))
        await rig.until(handle.done)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter

        assert (1, 0) == (session.stats.succeeded, session.stats.withdrawn)

    @in_virtual_time()
    async def test_a_withdrawn_handle_can_be_awaited(self, rig: VirtualRig) -> None:
        """Whoever awaits a handle whose waiters were all cancelled learns that it was withdrawn."""
        session = rig.session(linger=5.0)
        handle = await session.submit(VICTIM)
        waiter = asyncio.create_task(awaiting(handle))
        await asyncio.sleep(1)
        waiter.cancel()
        await asyncio.wait([waiter])
        result = await handle.settled()

        assert (False, 0, "withdrawn") == (result.ok, result.attempts, result.info)

    @pytest.mark.parametrize("stage", SENT, ids=lambda stage: stage.name)
    @in_virtual_time()
    async def test_cancel_of_a_handle_that_was_sent(self, rig: VirtualRig, stage: Stage) -> None:
        """
        MarkHandle.cancel says that it is too late for a change that was sent, and changes nothing.
        """
        session = await stage.session(rig)
        handle = await session.submit(VICTIM)
        await stage.reached(rig, session)
        withdrawn = handle.cancel()
        result = await handle.settled()

        assert (False, True) == (withdrawn, result.ok)

    @in_virtual_time()
    async def test_places_of_cancelled_producers_go_to_the_next(self, rig: VirtualRig) -> None:
        """
        Of a thousand producers that wait for room every second one is cancelled.

        Some of them in the turn in which they get it: all others are admitted, no room is lost.
        """
        session = rig.session(max_pending=3)
        rig.emulator.script.always(Delay(0.1))
        wanted = [change(f"user_{n % 7}", f"peer_{n}") for n in range(1000)]
        tasks = [asyncio.create_task(session.submit(each)) for each in wanted]
        for number, task in enumerate(tasks):
            if number % 2:
                if number % 40 == 1:
                    await asyncio.sleep(0.05)
                task.cancel()
        handles = await asyncio.gather(*tasks, return_exceptions=True)
        await session.flush()
        admitted = [each for each in handles if isinstance(each, MarkHandle)]

        assert 500 <= len(admitted) < 1000
        assert all(handle.result.ok for handle in admitted)
        assert 3 == session._dispatcher.admission._free() if session._dispatcher else None


class TestFlush:
    @in_virtual_time()
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

    @in_virtual_time()
    async def test_cancelled_twice_at_every_state_of_its_changes(self, rig: VirtualRig) -> None:
        """A flush that is cancelled twice, with changes in flight and queued: all settle."""
        session = rig.session()
        rig.emulator.script.next(Delay(5))
        handles = [await session.submit(each) for each in changes(300, 3)]
        flush = asyncio.create_task(session.flush())
        await rig.in_flight(session)
        flush.cancel()
        flush.cancel()
        await asyncio.wait([flush])
        await session.flush()

        assert all(handle.result.ok for handle in handles)

    @in_virtual_time()
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
    @EVERYWHERE
    @in_virtual_time()
    async def test_cancelled(self, rig: VirtualRig, stage: Stage) -> None:
        """
        A close that is cancelled, with a change at every await, ends at once with every handle.
        """
        session = await stage.session(rig)
        waiter = asyncio.create_task(marking(session))
        await stage.reached(rig, session)
        closing = asyncio.create_task(session.close())
        await asyncio.sleep(0)
        before = rig.now
        closing.cancel()
        await asyncio.wait([closing])

        assert (True, before, 0) == (closing.cancelled(), rig.now, session.stats.pending)
        assert isinstance(*await asyncio.gather(waiter, return_exceptions=True), SessionError)

    @EVERYWHERE
    @in_virtual_time()
    async def test_cancelled_twice(self, rig: VirtualRig, stage: Stage) -> None:
        """A close that is cancelled again while it winds up leaves no handle and no task behind."""
        session = await stage.session(rig)
        waiter = asyncio.create_task(marking(session))
        await stage.reached(rig, session)
        closing = asyncio.create_task(session.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        await asyncio.gather(waiter, return_exceptions=True)
        with contextlib.suppress(UnsentError):
            await session.close()

        assert (True, 0) == (closing.cancelled(), session.stats.pending)

    @in_virtual_time()
    async def test_one_of_two(self, rig: VirtualRig) -> None:
        """
        Of two who close a session one is cancelled: the other still waits for what was accepted.
        """
        session = rig.session()
        rig.emulator.script.next(Delay(5))
        handle = await session.submit(VICTIM)
        closings = [asyncio.create_task(session.close()) for _ in range(2)]
        await asyncio.sleep(1)
        closings[0].cancel()
        await asyncio.wait(closings)

        assert (True, False) == (closings[0].cancelled(), closings[1].cancelled())
        assert (5.0, True) == (round(rig.now, 1), handle.result.ok)

    @in_virtual_time()
    async def test_both(self, rig: VirtualRig) -> None:
        """When both who close a session are cancelled nobody waits, and every handle ends."""
        session = rig.session()
        rig.emulator.script.next(Hang())
        handle = await session.submit(VICTIM)
        closings = [asyncio.create_task(session.close()) for _ in range(2)]
        await asyncio.sleep(1)
        for closing in closings:
            closing.cancel()
        await asyncio.wait(closings)

        assert (1.0, True) == (rig.now, handle.done())

    @EVERYWHERE
    @in_virtual_time()
    async def test_body_cancelled(self, rig: VirtualRig, stage: Stage) -> None:
        """
        A body that is cancelled, with a change at every await.

        What is in flight is waited for, what was not sent is not sent.
        """
        session = await stage.session(rig)

        async def body() -> None:
            async with session:
                await marking(session)

        task = asyncio.create_task(body())
        await stage.reached(rig, session)
        calls = len(rig.emulator.calls)
        task.cancel()
        await asyncio.wait([task])
        stats = session.stats

        assert (True, 0) == (task.cancelled(), stats.pending)
        assert calls == len(rig.emulator.calls) or stage.sent


def _job_slow_source() -> AsyncIterator[MarkChange]:
    async def source() -> AsyncIterator[MarkChange]:
        yield VICTIM
        await asyncio.sleep(1000)
        yield change("late")

    return source()


def _job_rows() -> Iterator[MarkChange]:
    return iter([VICTIM, *changes(999, 3)])


@attrs.frozen
class JobStage:
    """A state of a bulk job."""

    name: str
    source: Callable[[], Any] = _job_rows
    options: dict[str, Any] = attrs.field(factory=dict)
    fault: Any = None


JOBS: Final = pytest.mark.parametrize(
    "stage",
    [
        JobStage("its source slow", _job_slow_source),
        JobStage("waiting for room", options={"max_pending": 50}, fault=Delay(5)),
        JobStage("in flight", fault=Delay(5)),
        JobStage("in backoff", options={"backoff": _fives}, fault=Status(503)),
        JobStage("in the pacer", options={"calls_per_second": 0.1}),
        JobStage("in the shared pause", fault=Refuse(60007)),
        JobStage("at a server that never answers", fault=Hang()),
    ],
    ids=lambda stage: stage.name,
)
TIMES: Final = pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])


class TestJobs:
    @TIMES
    @JOBS
    @in_virtual_time()
    async def test_apply_cancelled(self, rig: VirtualRig, stage: JobStage, times: int) -> None:
        """
        Cancelling apply in each state, once or twice: unsent rows are withdrawn, sent ones settled.
        """
        await self._cancel(rig, stage, times, lambda session, rows: session.apply(rows))

    @TIMES
    @JOBS
    @pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "as they settle"])
    @in_virtual_time()
    async def test_stream_cancelled(
        self, rig: VirtualRig, stage: JobStage, times: int, *, ordered: bool
    ) -> None:
        """Cancelling the consumer of a stream in each state, once or twice: the same."""

        async def consume(session: MarkSession, rows: Any) -> None:
            async with contextlib.aclosing(session.stream(rows, ordered=ordered)) as results:
                async for _ in results:
                    pass

        await self._cancel(rig, stage, times, consume)

    async def _cancel(
        self,
        rig: VirtualRig,
        stage: JobStage,
        times: int,
        work: Callable[[MarkSession, Any], Any],
    ) -> None:
        if stage.fault is not None:
            rig.emulator.script.next(stage.fault)
        session = rig.session(**stage.options)
        job = asyncio.create_task(work(session, stage.source()))
        await asyncio.sleep(0.3)
        sent = session.stats.in_flight
        waiting = [each for lane in session._engine.scheduler.lanes() for each in lane.waiting()]
        unsent = len([entry for entry in waiting if not entry.attempts])
        job.cancel()
        if times > 1:
            await asyncio.sleep(0)
            job.cancel()
        await asyncio.wait([job])
        after = session.stats
        await session.flush()
        stats = session.stats

        assert job.cancelled()
        assert sent == after.in_flight
        assert (0, stats.accepted - stats.withdrawn) == (stats.failed, stats.succeeded)
        assert unsent == stats.withdrawn

    @TIMES
    @pytest.mark.parametrize("rows", [0, 500])
    @in_virtual_time()
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

    @in_virtual_time()
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

    @in_virtual_time()
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

    @in_virtual_time()
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


class TestRun:
    @EVERYWHERE
    @in_virtual_time()
    async def test_ends(self, rig: VirtualRig, stage: Stage) -> None:
        """
        asyncio.run ends with a change at every await.

        The body is cancelled together with all tasks of its session, and every handle ends.
        """
        session = await stage.session(rig)

        async def body() -> None:
            async with session:
                await marking(session)

        task = asyncio.create_task(body(), name="chatmark-body")
        await stage.reached(rig, session)
        self._cancel_all()
        await asyncio.wait([task])

        assert (True, 0) == (task.cancelled(), session.stats.pending)

    @EVERYWHERE
    @in_virtual_time()
    async def test_ends_without_close(self, rig: VirtualRig, stage: Stage) -> None:
        """
        asyncio.run ends with a change at every await and nobody closes: handles end with the cause.
        """
        session = await stage.session(rig)
        waiter = asyncio.create_task(marking(session))
        await stage.reached(rig, session)
        self._cancel_all()
        [error] = await asyncio.gather(waiter, return_exceptions=True)

        assert isinstance(error, SessionBrokenError)
        assert isinstance(error.__cause__, asyncio.CancelledError)
        assert 0 == session.stats.pending

    def _cancel_all(self) -> None:
        """Cancel all tasks but the emulator's, as asyncio.run does at its end."""
        for task in asyncio.all_tasks():
            if task.get_name().startswith("chatmark"):
                task.cancel()

    @EVERYWHERE
    def test_ctrl_c(self, stage: Stage) -> None:
        """
        Ctrl-C with a change at every await cancels the body, which waits for what is in flight.
        """
        seen: list[MarkSession] = []
        rigs: list[VirtualRig] = []

        async def main() -> None:
            loop = asyncio.get_running_loop()
            emulator = Emulator(calls_per_second=None, monotonic=loop.time)
            await emulator.start()
            rigs.append(rig := VirtualRig(emulator))
            session = await stage.session(rig)
            seen.append(session)
            loop.call_later(0.2, signal.raise_signal, signal.SIGINT)
            async with session:
                await marking(session)

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            with pytest.raises(KeyboardInterrupt):
                runner.run(main())
            stats = seen[0].stats
            runner.run(rigs[0].check())
            runner.run(rigs[0].emulator.stop())

        assert 0 == stats.pending
        assert stats.accepted == stats.succeeded + stats.failed + stats.withdrawn

    def test_ctrl_c_twice(self) -> None:
        """A second Ctrl-C ends the wait for a server that does not answer; no handle is left."""
        handles: list[MarkHandle] = []
        seen: list[MarkSession] = []
        rigs: list[VirtualRig] = []

        async def main() -> None:
            loop = asyncio.get_running_loop()
            emulator = Emulator(calls_per_second=None, monotonic=loop.time)
            await emulator.start()
            rigs.append(rig := VirtualRig(emulator))
            rig.emulator.script.always(Hang())
            seen.append(session := rig.session())
            loop.call_later(1, signal.raise_signal, signal.SIGINT)
            loop.call_later(2, signal.raise_signal, signal.SIGINT)
            async with session:
                handles.append(await session.submit(VICTIM))
                await handles[0]

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            with pytest.raises(KeyboardInterrupt):
                runner.run(main())
            runner.run(rigs[0].check())
            runner.run(rigs[0].emulator.stop())

        assert handles[0].done()
        assert 0 == seen[0].stats.pending

    def test_ctrl_c_of_a_program(self, tmp_path: Path) -> None:
        """
        A whole program that is interrupted ends by KeyboardInterrupt with an exact ledger.

        And without a word of asyncio about tasks that were left.
        """
        script = tmp_path / "program.py"
        script.write_text(
            textwrap.dedent(
                """
                import asyncio, signal
                from chatmark import Conversation, Credentials, MarkChange, MarkSession
                from chatmark.emulator import Delay, Emulator

                async def main():
                    credentials = Credentials(
                        sdkappid=1400000001,
                        identifier="administrator",
                        secret_key="example-secret-not-real",
                    )
                    async with Emulator() as emulator:
                        emulator.script.always(Delay(0.05))
                        session = MarkSession(credentials, base_url=emulator.url)
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
                """
            ),
            encoding="utf-8",
        )
        done = subprocess.run(
            [sys.executable, "-X", "dev", str(script)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

        assert "0 0 True\n" == done.stdout
        assert done.stderr.rstrip().endswith("KeyboardInterrupt")
        assert "Task" not in done.stderr
        assert "Unclosed" not in done.stderr


class TestRowsThatWereRead:
    @pytest.mark.parametrize("in_lists", [True, False])
    @in_virtual_time()
    async def test_each_has_one_result(self, rig: VirtualRig, in_lists: bool) -> None:
        """Of a job that is cancelled each row that was read has one result, taken or not."""
        rig.emulator.script.always(Delay(5.0))
        session = rig.session(max_pending=100)
        rows = list(changes(300, 1))
        read: list[MarkChange] = []

        async def source() -> AsyncIterator[Any]:
            for start in range(0, len(rows), 150):
                some = rows[start : start + 150]
                read.extend(some)
                yield some

        def single() -> Iterator[MarkChange]:
            for row in rows:
                read.append(row)
                yield row

        told: list[MarkResult] = []
        job = asyncio.create_task(
            session.apply(source() if in_lists else single(), on_result=told.append)
        )
        await asyncio.sleep(1.0)
        job.cancel()
        await asyncio.wait([job])
        at_once = [result.error for result in told]
        await session.flush()

        assert len(read) > 100
        assert Counter(read) == Counter(result.change for result in told)
        assert {WithdrawnError} == {type(error) for error in at_once}
        assert 100 == sum(result.ok for result in told)
