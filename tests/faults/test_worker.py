import asyncio
import contextlib
import contextvars
import itertools
from typing import Any, Final

import aiohttp
import pytest
from virtual_rig import BOB, VirtualRig, change, changes, provided, usersig

import chatmark.http.client
from chatmark import (
    CallBudget,
    ChangesSettled,
    DeadlineExceededError,
    MarkHandle,
    MarkSession,
    Paused,
    RequestEnded,
    RetryPlanned,
    SessionBrokenError,
    SignatureError,
    SignatureRenewed,
)
from chatmark.emulator import Delay, DropLines, Fault, Hang, Refuse, Status
from chatmark.failures import TransportError, UnsentError
from chatmark.wire.converter import to_json

pytestmark = pytest.mark.virtual_time


async def check_broken(
    session: MarkSession, handles: list[MarkHandle], cause: type[BaseException]
) -> None:
    """Check that every handle ended, that the cause is told, and that more changes are refused."""
    results = [await handle.settled() for handle in handles]
    errors = [result.error for result in results if not result.ok]

    assert {SessionBrokenError} == {type(error) for error in errors}
    assert {cause} == {type(error.__cause__) for error in errors if error is not None}
    for use in (
        session.submit(change()),
        session.mark("alice", BOB, custom_mark="x"),
        session.apply([change()]),
        session.flush(),
    ):
        with pytest.raises(SessionBrokenError, match="the sending task died") as caught:
            await use

        assert cause is type(caught.value.__cause__)
    stats = session.stats

    assert (0, 0) == (stats.pending, stats.in_flight)
    names = {task.get_name() for task in asyncio.all_tasks()}

    assert not names & {"chatmark-pump", "chatmark-request"}


class TestTasks:
    @pytest.mark.parametrize(
        ("task", "options", "fault"),
        [
            ("-pump", {}, Hang()),
            ("-pump", {"linger": 50.0}, None),
            ("-pump", {"backoff": lambda _: 50.0}, Status(503)),
            ("-pump", {"calls_per_second": 0.01}, None),
            ("-pump", {}, Refuse(60007)),
            ("-pump", {"max_pending": 350}, Hang()),
            ("-request", {"max_in_flight": 2}, Hang()),
            ("", {}, Hang()),
        ],
        ids=["flight", "linger", "backoff", "pacer", "pause", "full", "a request", "everything"],
    )
    async def test_cancelled(
        self, rig: VirtualRig, task: str, options: dict[str, Any], fault: Fault | None
    ) -> None:
        """
        The task that sends, that of a request, or all are cancelled from outside: all handles end.
        """
        if fault is not None:
            rig.emulator.script.always(fault)
        session = rig.session(**options)
        handles = [await session.submit(each) for each in changes(350, 5)]
        await asyncio.sleep(0.5)
        for each in asyncio.all_tasks():
            if each.get_name().startswith(f"chatmark{task}"):
                each.cancel()

        await check_broken(session, handles, asyncio.CancelledError)

    async def test_producers_and_jobs_learn_it(self, rig: VirtualRig) -> None:
        """Producers that wait for room, a job and a stream learn that the sender died."""
        rig.emulator.script.always(Hang())
        session = rig.session(max_pending=50)

        async def consume() -> None:
            async with contextlib.aclosing(session.stream(changes(1000, 3))) as results:
                async for _ in results:
                    pass

        waiting = [
            asyncio.create_task(session.apply(changes(1000, 3))),
            asyncio.create_task(consume()),
            *(asyncio.create_task(session.submit(each)) for each in changes(60, 60)),
        ]
        await asyncio.sleep(1)
        rig.task("chatmark-pump").cancel()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        kinds = {type(each) for each in outcomes}

        assert {SessionBrokenError} == kinds - {MarkHandle}
        assert [SessionBrokenError] * 2 == [type(each) for each in outcomes[:2]]

    async def test_closing_a_broken_session(self, rig: VirtualRig) -> None:
        """
        A broken session can be closed, at once; leaving its block raises what the body raised.
        """
        rig.emulator.script.always(Hang())
        session = rig.session()

        def cancel() -> None:
            rig.task("chatmark-pump").cancel()

        async def body() -> None:
            async with session:
                asyncio.get_running_loop().call_later(1, cancel)
                await session.mark("alice", BOB, custom_mark="x")

        with pytest.raises(SessionBrokenError):
            await body()

        assert 1.0 == rig.now

    @pytest.mark.parametrize("times", [1, 4])
    @pytest.mark.parametrize("name", ["pump", "close", "drain", "hurry"])
    async def test_cancelled_while_closing(self, rig: VirtualRig, name: str, times: int) -> None:
        """A task is cancelled from outside while the session drains: all ends, and at once."""
        rig.emulator.script.always(Hang())
        session = rig.session()
        handles = [await session.submit(each) for each in changes(50, 5)]
        closing = asyncio.create_task(session.close())
        await asyncio.sleep(1)
        task = rig.task(f"chatmark-{name}")
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([closing])

        assert closing.cancelled() or isinstance(closing.exception(), UnsentError | type(None))
        assert (1.0, True) == (rig.now, all(handle.done() for handle in handles))

    async def test_reader_of_a_job_cancelled(self, rig: VirtualRig) -> None:
        """
        The reading task of an apply is cancelled from outside: apply ends, the session goes on.
        """
        rig.emulator.script.always(Delay(1))
        session = rig.session(max_pending=50)
        job = asyncio.create_task(session.apply(changes(1000, 3)))
        await asyncio.sleep(0.5)
        rig.task("chatmark-reader").cancel()
        await asyncio.wait([job])

        assert job.cancelled()
        assert (await session.mark("alice", BOB, custom_mark="x")).ok

    async def test_signer_cancelled(self, rig: VirtualRig) -> None:
        """The task that renews the UserSig is cancelled from outside: it is renewed by another."""

        async def provider() -> str:
            await asyncio.sleep(5)
            return usersig()

        session = rig.session(credentials=provided(provider))
        handles = [await session.submit(each) for each in changes(50, 5)]
        await asyncio.sleep(1)
        rig.task("chatmark-usersig").cancel()
        await session.flush()

        assert all(handle.result.ok for handle in handles)


ERRORS: Final = pytest.mark.parametrize(
    "error",
    [
        LookupError("mine"),
        asyncio.CancelledError(),
        TimeoutError(),
        ExceptionGroup("mine", [LookupError()]),
        RecursionError(),
        StopAsyncIteration(),
    ],
    ids=lambda error: type(error).__name__,
)


class TestHooks:
    @ERRORS
    async def test_raise(self, rig: VirtualRig, error: BaseException) -> None:
        """A hook that raises at every event, whatever it raises, hurts nobody."""
        seen: set[type] = set()

        def hook(event: object) -> None:
            seen.add(type(event))
            raise error

        rig.emulator.script.next(Status(503), Refuse(60007), None, Refuse(70001))
        session = rig.session(hooks=[hook, hook])
        first = await session.apply(changes(300, 3))
        second = await session.apply(changes(300, 3))

        assert (300, 300) == (first.succeeded, second.succeeded)
        assert {ChangesSettled, Paused, RequestEnded, RetryPlanned, SignatureRenewed} == seen

    async def test_are_in_the_context_of_the_session(self, rig: VirtualRig) -> None:
        """
        Whoever wakes the sending, requests are traced as the session's and not as that caller's.
        """
        caller = contextvars.ContextVar("caller", default="the session")
        seen: list[tuple[object, str]] = []

        def hook(event: object) -> None:
            seen.append((event, caller.get()))

        async def mark(account: str) -> None:
            caller.set(account)
            await session.mark(account, BOB, custom_mark="x")

        session = rig.session(hooks=[hook])
        await session.mark("startup", BOB, custom_mark="x")
        first = asyncio.create_task(mark("first"))
        await rig.in_flight(session)
        await asyncio.gather(first, asyncio.create_task(mark("second")))

        requests = [(each.account, name) for each, name in seen if isinstance(each, RequestEnded)]
        assert [(account, "the session") for account in ("startup", "first", "second")] == requests

    async def test_may_use_the_session(self, rig: VirtualRig) -> None:
        """A hook may submit, flush and withdraw hundreds, which makes events; the books balance."""
        tasks: list[asyncio.Task[object]] = []
        handles: list[MarkHandle] = []

        def hook(event: object) -> None:
            if isinstance(event, ChangesSettled) and len(tasks) < 20:
                again = change("alice", f"hook_{len(tasks)}")
                tasks.append(asyncio.create_task(session.submit(again)))
                tasks.append(asyncio.create_task(session.flush()))
            for handle in handles:
                handle.cancel()

        session = rig.session(hooks=[hook])
        handles.extend([await session.submit(each) for each in changes(900, 3)])
        await session.flush()
        await asyncio.gather(*tasks)
        await session.flush()
        stats = session.stats

        assert all([await handle.settled() for handle in handles])
        assert stats.accepted == 900 + len(tasks) / 2 == stats.succeeded + stats.withdrawn

    @ERRORS
    async def test_on_result_raises(self, rig: VirtualRig, error: BaseException) -> None:
        """What on_result raises, whatever it is, comes out of apply, and the session goes on."""

        def on_result(_: object) -> None:
            raise error

        session = rig.session()
        with pytest.raises(type(error)):
            await session.apply(changes(300, 3), on_result=on_result)

        assert (await session.mark("alice", BOB, custom_mark="x")).ok


class TestConverter:
    @pytest.mark.parametrize("good", [0, 3])
    @pytest.mark.parametrize("error", [LookupError("mine"), MemoryError()], ids=repr)
    async def test_raises(
        self, rig: VirtualRig, monkeypatch: pytest.MonkeyPatch, error: Exception, good: int
    ) -> None:
        """
        An encoder that raises, with others in flight or not, ends every handle with the cause.
        """
        rig.emulator.script.next(None, *[Hang()] * good)
        session = rig.session()
        await session.mark("alice", BOB, custom_mark="x")
        numbers = itertools.count()

        def fail(*args: Any) -> bytes:
            if next(numbers) < good:
                return to_json(*args)
            raise error

        monkeypatch.setattr(chatmark.http.client, "to_json", fail)
        handles = [await session.submit(each) for each in changes(350, 5)]

        await check_broken(session, handles, type(error))

    async def test_transport_raises(self, rig: VirtualRig) -> None:
        """
        A borrowed aiohttp session that its owner closed fails each change at once.

        Its error is not passed on: its frames hold the URL, and so the signature.
        """
        async with aiohttp.ClientSession() as http:
            session = rig.session(http=http)
            await session.mark("alice", BOB, custom_mark="x")
        handles = [await session.submit(each) for each in changes(350, 5)]
        errors = [(await handle.settled()).error for handle in handles]

        assert {TransportError} == {type(error) for error in errors}
        assert "the HTTP session cannot be used: RuntimeError" in str(errors[0])
        assert {None} == {error.__cause__ for error in errors if error is not None}
        assert 1.0 > rig.now


def _raise(*_: object) -> Any:
    raise LookupError("mine")


class Restless(CallBudget):
    """A budget of the user's own that cannot pause."""

    def pause(self, seconds: float) -> None:
        """See `Budget`."""
        _raise()


class Broken(CallBudget):
    """A budget of the user's own that allows nothing."""

    async def acquire(self) -> Any:
        """See `Budget`."""
        _raise()


class TestOwnParts:
    @pytest.mark.parametrize(
        ("options", "fault"),
        [
            ({"wall_clock": _raise}, None),
            ({"budget": Broken(None)}, None),
            ({"backoff": _raise}, Status(503)),
            ({"backoff": _raise}, None),
            ({"backoff": _raise}, DropLines(3)),
        ],
        ids=["clock", "budget", "backoff of requests", "backoff of items", "backoff of lines"],
    )
    async def test_that_raise(
        self, rig: VirtualRig, options: dict[str, Any], fault: Fault | None
    ) -> None:
        """
        A backoff, clock or budget of the user's own that raises ends every handle with the cause.

        In the middle of an answer too: what succeeded has succeeded, and nobody waits for ever.
        """
        if fault is not None:
            rig.emulator.script.always(fault)
        rig.emulator.script.item((1, "peer_3"), 50004, times=None)
        session = rig.session(**options)
        handles = [await session.submit(each) for each in changes(300, 3)]
        job = asyncio.create_task(session.apply(changes(300, 3)))
        results = [await handle.settled() for handle in handles]
        await asyncio.gather(job, return_exceptions=True)
        errors = [result.error for result in results if result.error is not None]

        assert {SessionBrokenError} == {type(error) for error in errors}
        assert {LookupError} == {type(error.__cause__) for error in errors}

    async def test_a_budget_whose_pause_raises(self, rig: VirtualRig) -> None:
        """It ends the handle whose line says "slow down"; those that succeeded have succeeded."""
        rig.emulator.script.item((1, "peer_3"), 60007)
        session = rig.session(budget=Restless(None))
        handles = [await session.submit(each) for each in changes(100)]
        results = [await handle.settled() for handle in handles]

        assert 99 == sum(result.ok for result in results)
        assert isinstance(results[3].error, SessionBrokenError)


class TestProvider:
    @ERRORS
    async def test_raises_once(self, rig: VirtualRig, error: BaseException) -> None:
        """A provider that raises, whatever it raises, and works the next time: all succeeds."""
        numbers = itertools.count()

        async def provider() -> str:
            if next(numbers) == 0:
                raise error
            return usersig()

        session = rig.session(credentials=provided(provider))
        report = await session.apply(changes(350, 5))

        assert 350 == report.succeeded
        assert {"signature"} == set(session.stats.retries_by_reason)

    @ERRORS
    async def test_raises_for_ever(self, rig: VirtualRig, error: BaseException) -> None:
        """
        A provider that always raises fails each change at its deadline with the cause.

        No call is made, and the session works when the provider does.
        """
        works = False

        async def provider() -> str:
            if not works:
                raise error
            return usersig()

        session = rig.session(credentials=provided(provider), deadline=20.0)
        handles = [await session.submit(each) for each in changes(350, 5)]
        results = [await handle.settled() for handle in handles]
        errors = [result.error for result in results]

        assert {DeadlineExceededError} == {type(each) for each in errors}
        assert rig.now < 20 + 5
        assert [] == rig.emulator.calls
        first = errors[0]

        assert isinstance(first, DeadlineExceededError)
        assert isinstance(first.last, SignatureError)
        works = True

        assert (await session.mark("alice", BOB, custom_mark="x")).ok

    @pytest.mark.parametrize("given", ["", "\n", None, 7, b"bytes", "no usersig"])
    async def test_gives_something_else(self, rig: VirtualRig, given: Any) -> None:
        """A provider that gives no UserSig is an ordinary failure, or the server's refusal."""

        async def provider() -> str:
            return given  # type: ignore[no-any-return]

        session = rig.session(credentials=provided(provider), deadline=20.0)
        handle = await session.submit(change())
        result = await handle.settled()

        assert not result.ok
        assert not isinstance(result.error, SessionBrokenError)
        with contextlib.suppress(Exception):
            await session.mark("alice", BOB, custom_mark="x")
        rig.emulator._book.violations.clear()

    async def test_never_returns(self, rig: VirtualRig) -> None:
        """
        A provider that never returns fails each change at its deadline, give or take one attempt.
        """

        async def provider() -> str:
            await asyncio.sleep(100_000)
            return usersig()

        session = rig.session(credentials=provided(provider))
        with pytest.raises(DeadlineExceededError, match="gave no UserSig within 10 s"):
            await session.mark("alice", BOB, custom_mark="x")

        assert 60.0 <= rig.now <= 70.0

    async def test_is_slow(self, rig: VirtualRig) -> None:
        """
        A provider that takes longer than one attempt is not asked again and again: one renewal.
        """
        asked = itertools.count()

        async def provider() -> str:
            next(asked)
            await asyncio.sleep(25)
            return usersig()

        session = rig.session(credentials=provided(provider))
        report = await session.apply(changes(350, 5))

        assert (350, 1, 1) == (report.succeeded, next(asked), session.stats.renewals)

    @pytest.mark.parametrize("closer_cancelled", [False, True])
    async def test_will_not_be_cancelled(self, rig: VirtualRig, *, closer_cancelled: bool) -> None:
        """A provider that swallows its cancellation does not keep close from ending."""
        asked = itertools.count()

        async def provider() -> str:
            for _ in range(20 if next(asked) else 0):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(5)
            return usersig()

        session = rig.session(credentials=provided(provider))
        await session.mark("alice", BOB, custom_mark="x")
        rig.emulator.script.next(Refuse(70001))
        handle = await session.submit(change())
        await asyncio.sleep(1)
        closing = asyncio.create_task(session.close(2.0))
        await asyncio.sleep(0.5)
        if closer_cancelled:
            rig.task("chatmark-close").cancel()
        await asyncio.gather(closing, return_exceptions=True)

        assert (True, True) == (handle.done(), rig.now < 5)
        await asyncio.sleep(100)

    async def test_that_is_no_coroutine_function(self, rig: VirtualRig) -> None:
        """A mistake in the program fails at once, not after a minute of retries."""
        session = rig.session(credentials=provided(usersig))  # type: ignore[arg-type]
        with pytest.raises(SignatureError, match="TypeError"):
            await session.mark("alice", BOB, custom_mark="x")

        assert 0.0 == rig.now

    async def test_uses_the_session(self, rig: VirtualRig) -> None:
        """A provider that awaits a mark of the very session fails at the deadline, not never."""

        async def provider() -> str:
            await session.mark("carol", BOB, custom_mark="x")
            return usersig()

        session = rig.session(credentials=provided(provider))
        result = await (await session.submit(change())).settled()

        assert isinstance(result.error, DeadlineExceededError)
