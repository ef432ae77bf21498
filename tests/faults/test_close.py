import asyncio
import contextlib
import gc
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
from rig import run_program
from virtual_rig import BOB, VirtualRig, change, changes, provided
from virtual_time import run

from chatmark import (
    ChangesSettled,
    Credentials,
    MarkHandle,
    MarkSession,
    SessionBrokenError,
    SessionClosedError,
    SessionError,
    TransportError,
    UnsentError,
)
from chatmark.emulator import Delay, Fault, Hang, Refuse, Status
from chatmark.wire.messages import NoAnswer, Reply

pytestmark = pytest.mark.virtual_time


def _fives(_: int) -> float:
    return 5.0


class _Deaf:
    """A transport that does not let itself be cancelled, for a minute."""

    async def post(self, path: str, query: Mapping[str, str], body: bytes) -> Reply:
        """Take it."""
        end = asyncio.get_running_loop().time() + 60.0
        while (left := end - asyncio.get_running_loop().time()) > 0:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(left)
        return NoAnswer(TransportError("late"), "late")

    async def aclose(self) -> None:
        """Have nothing to release."""


class TestClose:
    @pytest.mark.parametrize(
        ("options", "fault"),
        [
            ({}, Hang()),
            ({}, None),
            ({}, Status(502, html=True)),
            ({}, Refuse(60007)),
            ({}, Refuse(50004)),
            ({"calls_per_second": 0.001}, None),
            ({"linger": 1000.0}, Hang()),
        ],
        ids=["hangs", "refuses", "502", "slow down", "50004", "is never asked", "in linger"],
    )
    async def test_dead_server(
        self, rig: VirtualRig, options: dict[str, Any], fault: Fault | None
    ) -> None:
        """On a dead server close returns when its grace is over, with every change in the error."""
        if fault is not None:
            rig.emulator.script.always(fault)
        elif not options:
            await rig.emulator.stop()
        session = rig.session(**options)
        handles = [await session.submit(each) for each in changes(500, 7)]
        with pytest.raises(UnsentError) as caught:
            await session.close(12.0)
        errors = [handle.result.error for handle in handles if not handle.result.ok]

        assert {UnsentError} == {type(error) for error in errors}
        assert isinstance(errors[0], UnsentError)
        assert len(errors) == len(caught.value.unsent) == len(errors[0].unsent)
        assert {h.change for h in handles if not h.result.ok} == set(errors[0].unsent)
        assert pytest.approx(12.0, abs=0.01) == rig.now

    async def test_empty(self, rig: VirtualRig) -> None:
        """Closing a session that was never used, or has nothing pending, takes no time."""
        await rig.session().close()
        async with rig.session() as session:
            await session.mark("alice", BOB, custom_mark="x")

        assert 0.0 == rig.now

    async def test_twice_and_together(self, rig: VirtualRig) -> None:
        """
        Closing again, and from ten tasks at once, waits for the same drain and does nothing more.
        """
        rig.emulator.script.next(Delay(3))
        session = rig.session()
        handle = await session.submit(change())
        await asyncio.gather(*(session.close() for _ in range(10)))
        await session.close()

        assert (3.0, True, 1) == (rig.now, handle.result.ok, len(rig.emulator.calls))

    @pytest.mark.parametrize(
        ("options", "faults"),
        [
            ({}, []),
            ({"linger": 20.0}, []),
            ({}, [Delay(5)]),
            ({"backoff": _fives}, [Status(503)]),
            ({}, [Refuse(60007)]),
            ({"calls_per_second": 1}, []),
        ],
        ids=["queued", "in linger", "in flight", "in backoff", "paused", "in the pacer"],
    )
    async def test_drains(
        self, rig: VirtualRig, options: dict[str, Any], faults: list[Any]
    ) -> None:
        """
        Closing with changes pending, in flight, in backoff, paused, in linger: all take effect.
        """
        if faults:
            rig.emulator.script.next(*faults)
        session = rig.session(**options)
        handles = [await session.submit(each) for each in changes(300, 3)]
        await asyncio.sleep(0.1)
        await session.close()

        assert all(handle.result.ok for handle in handles)
        assert rig.now < 10

    @pytest.mark.parametrize("grace", [None, 0, 0.0, 7.5])
    async def test_grace(self, rig: VirtualRig, grace: float | None) -> None:
        """
        The grace is that of the call, else that of the session; none at all waits for nothing.
        """
        rig.emulator.script.always(Hang())
        session = rig.session(close_grace=3.0)
        handle = await session.submit(change())
        await asyncio.sleep(1)
        with pytest.raises(UnsentError, match="1 may have taken effect"):
            await session.close(grace)

        assert 1 + (3.0 if grace is None else grace) == rig.now
        assert isinstance(handle.result.error, UnsentError)

    async def test_body_raised(self, rig: VirtualRig) -> None:
        """A body that raises: what was accepted is still sent, and its own error comes out."""
        session = rig.session()
        handles: list[MarkHandle] = []

        async def body() -> None:
            async with session:
                handles.extend([await session.submit(each) for each in changes(300, 3)])
                raise LookupError("mine")

        with pytest.raises(LookupError, match="mine"):
            await body()

        assert all(handle.result.ok for handle in handles)

    async def test_body_raised_on_a_dead_server(self, rig: VirtualRig) -> None:
        """
        The error of a body comes out when the grace is over; a note says what was given up.
        """
        rig.emulator.script.always(Hang())
        session = rig.session(close_grace=4.0)

        async def body() -> None:
            async with session:
                await session.submit(change())
                raise LookupError("mine")

        with pytest.raises(LookupError, match="mine") as caught:
            await body()

        assert (4.0, 1) == (rig.now, session.stats.failed)
        assert any("1 change was not settled" in note for note in caught.value.__notes__)

    async def test_is_hurried(self, rig: VirtualRig) -> None:
        """A second close with a shorter grace ends the first."""
        rig.emulator.script.always(Hang())
        session = rig.session(close_grace=30.0)
        await session.submit(change())
        first = asyncio.create_task(session.close())
        await asyncio.sleep(1)
        for closing in (session.close(0), first):
            with pytest.raises(UnsentError):
                await closing

        assert pytest.approx(1.0, abs=0.1) == rig.now

    async def test_despite_a_deaf_transport(self, rig: VirtualRig) -> None:
        """It returns soon after its grace although a request will not be cancelled."""
        session = rig.session(transport=_Deaf(), base_url="http://127.0.0.1:9")
        handle = await session.submit(change())
        await asyncio.sleep(10)
        with pytest.raises(UnsentError):
            await session.close(5.0)

        assert isinstance((await handle.settled()).error, UnsentError)
        assert rig.now <= 17.0
        await asyncio.sleep(60)

    async def test_scheduled_by_a_hook(self, rig: VirtualRig) -> None:
        """
        A hook that schedules close, while more is pending: everything that was accepted settles.
        """
        closings: list[asyncio.Task[None]] = []

        def hook(event: object) -> None:
            if isinstance(event, ChangesSettled) and not closings:
                closings.append(asyncio.create_task(session.close()))

        session = rig.session(hooks=[hook])
        handles = [await session.submit(each) for each in changes(300, 3)]
        await handles[0]
        await asyncio.gather(*closings)

        assert all(handle.result.ok for handle in handles)

    async def test_awaited_by_the_provider_of_usersigs(self, rig: VirtualRig) -> None:
        """A provider that closes the session and waits for that ends with the grace, not never."""

        async def provider() -> str:
            await session.close(5.0)
            return ""

        session = rig.session(credentials=provided(provider))
        handle = await session.submit(change())
        await asyncio.sleep(7)

        assert isinstance(handle.result.error, UnsentError)
        assert "closed" in repr(session)

    async def test_while_producers_wait(self, rig: VirtualRig) -> None:
        """
        Producers that wait for room when the session closes are told so, and nothing is accepted.
        """
        rig.emulator.script.always(Delay(1))
        session = rig.session(max_pending=2)
        submits = [asyncio.create_task(session.submit(each)) for each in changes(10, 10)]
        await asyncio.sleep(0.5)
        await session.close()
        outcomes = await asyncio.gather(*submits, return_exceptions=True)

        assert [MarkHandle] * 2 + [SessionClosedError] * 8 == [type(each) for each in outcomes]
        assert 2 == session.stats.succeeded

    @pytest.mark.parametrize("rows", ["iterable", "async iterable"])
    async def test_while_jobs_run(self, rig: VirtualRig, rows: str) -> None:
        """Closing under an apply and a stream ends both with SessionClosedError, rows settled."""
        rig.emulator.script.always(Delay(1))
        session = rig.session(max_pending=500)

        async def trickle() -> AsyncIterator[Any]:
            for each in changes(10_000, 3):
                await asyncio.sleep(0.01)
                yield each

        def source() -> Any:
            return changes(10_000, 3) if rows == "iterable" else trickle()

        async def consume() -> None:
            async with contextlib.aclosing(session.stream(source())) as results:
                async for _ in results:
                    pass

        jobs = [asyncio.create_task(session.apply(source())), asyncio.create_task(consume())]
        await asyncio.sleep(0.5)
        await session.close()
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)

        assert [SessionClosedError] * 2 == [type(each) for each in outcomes]

    async def test_while_reading(self, rig: VirtualRig) -> None:
        """Readers in flight, in backoff and in the pacer when the session closes raise an error."""
        rig.emulator.script.always(Delay(1000))
        session = rig.session(calls_per_second=1, backoff=_fives)
        rig.emulator.script.next(Status(503))
        readers = [asyncio.create_task(session.search("alice", [BOB])) for _ in range(4)]
        await asyncio.sleep(2.5)
        await session.close()
        outcomes = await asyncio.gather(*readers, return_exceptions=True)

        assert [True] * 4 == [isinstance(each, Exception) for each in outcomes]


class TestFlush:
    async def test_ends_the_linger(self, rig: VirtualRig) -> None:
        """A flush does not wait for the linger, and later changes linger again."""
        session = rig.session(linger=50.0)
        await session.submit(change())
        await session.flush()
        flushed = rig.now
        await session.mark("alice", BOB, custom_mark="x")

        assert (0.0, 50.0) == (flushed, rig.now)

    async def test_does_not_wait_for_later_changes(self, rig: VirtualRig) -> None:
        """A flush ends although changes that came after it are still under way."""
        rig.emulator.script.always(Delay(50), account="carol")
        session = rig.session()
        await session.mark("dave", BOB, custom_mark="x")
        await session.submit(change("alice"))
        flush = asyncio.create_task(session.flush())
        await asyncio.sleep(0)
        late = await session.submit(change("carol"))
        await flush

        assert (0.0, False) == (rig.now, late.done())


Use = Callable[[MarkSession], Awaitable[object]]


async def _marked(session: MarkSession) -> None:
    async for _ in session.marked("alice"):
        pass


async def _stream(session: MarkSession) -> None:
    async for _ in session.stream([change()]):
        pass


USES: Final = pytest.mark.parametrize(
    "use",
    [
        lambda session: session.submit(change()),
        lambda session: session.mark("alice", BOB, custom_mark="x"),
        lambda session: session.apply([change()]),
        _stream,
        _marked,
        lambda session: session.search("alice", [BOB]),
        lambda session: session.flush(),
        lambda session: session.__aenter__(),
    ],
    ids=["submit", "mark", "apply", "stream", "marked", "search", "flush", "async with"],
)


def _in_another_loop(work: Awaitable[object]) -> None:
    """Await something in another loop, in a thread, while this one stands still."""

    async def elsewhere() -> None:
        await work

    with ThreadPoolExecutor() as pool:
        pool.submit(asyncio.run, elsewhere()).result()


class TestMisuse:
    @USES
    async def test_after_close(self, rig: VirtualRig, use: Use) -> None:
        """Every use of a closed session raises SessionClosedError, and makes no call."""
        session = rig.session()
        await session.close()
        with pytest.raises(SessionClosedError, match="the session is closed"):
            await use(session)

        assert [] == rig.emulator.calls

    @USES
    async def test_from_a_second_loop(self, rig: VirtualRig, use: Use) -> None:
        """Every use from a second event loop says that the session belongs to the first."""
        session = rig.session()
        await session.flush()
        await use(session)
        with pytest.raises(SessionError, match="belongs to the event loop"):
            _in_another_loop(use(session))

    async def test_a_handle_from_a_second_loop(self, rig: VirtualRig) -> None:
        """A handle that is awaited in a second event loop says so, and does not wait for ever."""
        rig.emulator.script.next(Delay(5))
        handle = await rig.session().submit(change())
        with pytest.raises(SessionError, match="belongs to the event loop"):
            _in_another_loop(handle.settled())

        assert (await handle.settled()).ok

    def test_a_new_loop_after_the_first_ended(self) -> None:
        """
        A session that outlived its loop without close says so in the next, and its handles ended.
        """
        session, handle = run(self._leave_open())
        for use in (_marked(session), session.close()):
            with pytest.raises(SessionError, match="belongs to the event loop"):
                run(use)
        error = handle.result.error

        assert isinstance(error, SessionBrokenError)
        assert isinstance(error.__cause__, asyncio.CancelledError)
        assert 0 == session.stats.pending
        del session
        with pytest.warns(ResourceWarning, match="1 changes are not settled"):
            gc.collect()

    async def _leave_open(self) -> tuple[MarkSession, MarkHandle]:
        credentials = Credentials(
            sdkappid=1400000001, identifier="administrator", secret_key="not-real"
        )
        session = MarkSession(credentials, base_url="http://127.0.0.1:9", linger=1000.0)
        return session, await session.submit(change())

    def test_after_a_fork(self) -> None:
        """A child process that uses the session of its parent is told so, the parent goes on."""
        done = run_program(
            """
            import asyncio, os
            from chatmark import Conversation, SessionError
            from chatmark.emulator import Emulator
            from rig import Rig

            async def main():
                team = Conversation.group("team")
                async with Emulator() as emulator:
                    async with Rig(emulator).session() as session:
                        await session.mark("alice", team, custom_mark="before")
                        pid = os.fork()
                        if pid == 0:
                            for use in (
                                lambda: session.mark("alice", team, custom_mark="child"),
                                session.flush,
                                session.close,
                            ):
                                try:
                                    await use()
                                except SessionError as error:
                                    print(error, flush=True)
                            os._exit(0)
                        os.waitpid(pid, 0)
                        await session.mark("alice", team, custom_mark="after")
                    print(emulator.state.snapshot())

            asyncio.run(main())
            """,
            *("-W", "error"),
        )
        said = "a session cannot be used after a fork; make one in each process"

        assert "" == done.stderr
        state = "{('alice', 2, 'team'): (0, 'after')}"
        assert [f"alice group_team: {said}", said, said, state] == done.stdout.splitlines()

    @pytest.mark.parametrize("count", [0, 1, 300])
    async def test_collected_without_close(self, rig: VirtualRig, count: int) -> None:
        """A session that is collected without close warns with the number of unsettled changes."""
        session = MarkSession(rig.credentials, base_url=rig.emulator.url, linger=100.0)
        handles = [await session.submit(each) for each in changes(count, 3)]
        await session.flush() if not count else None
        dispatcher = session._dispatcher
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del session

        assert [f"a MarkSession was not closed; {count} changes are not settled"] == [
            str(each.message) for each in caught
        ]
        assert [ResourceWarning] == [each.category for each in caught]
        assert dispatcher is not None
        await dispatcher.end()
        await dispatcher._client.aclose()

        assert all(handle.done() for handle in handles)

    async def test_eager_tasks(self, rig: VirtualRig) -> None:
        """A loop whose tasks start eagerly changes nothing, not even where a row fails at once."""
        factory = getattr(asyncio, "eager_task_factory", None)
        if factory is None:
            pytest.skip("this Python has no eager tasks")
        asyncio.get_running_loop().set_task_factory(factory)
        async with rig.session() as session:
            await asyncio.gather(*(session.mark("alice", BOB, custom_mark=text) for text in "xyz"))

            assert 1 == session.stats.calls

            first = await session.apply(changes(1000, 3))
            rig.emulator.script.next(Refuse(70009))
            handle = await session.submit(change())
            await handle.settled()
            second = await session.apply(changes(1000, 3))
            third = [result async for result in session.stream(changes(10), ordered=False)]

        assert (1000, 1000, 10) == (first.succeeded, second.failed, len(third))
