import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import attrs
import pytest

from chatmark import Credentials, InputError, SessionClosedError, SignatureError
from chatmark import make_usersig as make
from chatmark import read_usersig as read
from chatmark.http.signer import Signature, Signer
from chatmark.usersig import verify_usersig

SDKAPPID = 1400000001
KEY = "example-secret-not-real"
START = 1_700_000_000.0
DAY = 86_400
RENEWED_AFTER = 0.8 * DAY


@attrs.define
class Clock:
    """A clock that stands until it is moved."""

    now: float = START

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@attrs.define
class Provider:
    """A provider of UserSigs that can be held up."""

    clock: Clock
    expire: int = DAY
    calls: int = 0
    cancelled: int = 0
    gate: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def __call__(self) -> str:
        """Return a UserSig once the gate is open."""
        self.calls += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return make(SDKAPPID, "administrator", KEY, now=self.clock.now, expire=self.expire)


def keeper_of(clock: Clock, **ways: Any) -> Signer:
    """Return a keeper that signs in one way."""
    ways = ways or {"secret_key": KEY}
    return Signer(Credentials(sdkappid=SDKAPPID, identifier="administrator", **ways), clock)


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


def giving(value: Any) -> Callable[[], Awaitable[Any]]:
    """Return a provider of one value; an exception is raised."""

    async def provide() -> Any:
        if isinstance(value, BaseException):
            raise value
        return value

    return provide


@contextlib.asynccontextmanager
async def waiting(keeper: Signer, count: int) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Have tasks wait for a signature."""
    tasks = [asyncio.create_task(keeper.get()) for _ in range(count)]
    await settle()
    yield tasks
    await asyncio.wait(tasks)


class TestSecretKey:
    """Made from the secret key."""

    @pytest.mark.parametrize(
        ("jump", "renewals"),
        [
            *((seconds, 1) for seconds in (0, 1, RENEWED_AFTER - 1)),
            *((seconds, 2) for seconds in (RENEWED_AFTER, DAY, 3650 * DAY, -1, -START)),
        ],
    )
    async def test_is_renewed_early(self, jump: float, renewals: int) -> None:
        """It is used for most of its life, and not from what the clock calls the future."""
        clock = Clock()
        keeper = keeper_of(clock)
        first = await keeper.get()
        usersig = first.usersig.reveal()

        assert (START, DAY) == (read(usersig).time, read(usersig).expire)
        assert verify_usersig(usersig, KEY)
        assert usersig[:8] not in repr(first)

        clock.now += jump
        second = await keeper.get()

        assert (renewals, False) == (keeper.renewals, second.forced)
        assert second is await keeper.get()
        assert (first is second) == (renewals == 1)
        assert renewals == 1 or int(clock.now) == read(second.usersig.reveal()).time

    async def test_clock_swings(self) -> None:
        """After a jump forward and back the signature is of the present."""
        clock = Clock()
        keeper = keeper_of(clock)
        await keeper.get()
        clock.now += 365 * DAY
        await keeper.get()
        clock.now = START + 1

        assert START + 1 == read((await keeper.get()).usersig.reveal()).time
        assert 3 == keeper.renewals


async def test_a_ready_usersig() -> None:
    """It is used as it is, whatever the clock says; when the server refuses it that is final."""
    clock = Clock()
    keeper = keeper_of(clock, usersig="ready")
    for jump in (0, -DAY, 365 * DAY):
        clock.now += jump

        assert "ready" == (await keeper.get()).usersig.reveal()

    assert not keeper.refused(await keeper.get())


class TestSingleFlight:
    """One task renews while the others wait."""

    @pytest.mark.parametrize("cancelled", [0, 1])
    @pytest.mark.parametrize("others", [0, 99])
    async def test_one_renewal(self, others: int, cancelled: int) -> None:
        """
        Tasks that need a signature at once share one renewal, which no cancelled waiter stops.
        """
        provider = Provider(Clock())
        keeper = keeper_of(provider.clock, provider=provider)
        async with waiting(keeper, 1 + others) as tasks:
            if cancelled:
                tasks[0].cancel()
                await settle()
            provider.gate.set()
        signature = await keeper.get()

        assert (1, 0, 1) == (provider.calls, provider.cancelled, keeper.renewals)
        assert cancelled == tasks[0].cancelled()
        assert {signature} >= {task.result() for task in tasks[cancelled:]}

        provider.clock.now += DAY
        async with waiting(keeper, 100):
            pass

        assert 2 == provider.calls


class TestRefused:
    """The server says that the signature expired."""

    async def test_forced_once(self) -> None:
        """
        After a refusal one other is made at once; when it is refused too, that is final.

        A late success of its predecessor proves nothing for it.
        """
        keeper = keeper_of(Clock())
        first = await keeper.get()
        another = keeper.refused(first)
        second = await keeper.get()
        keeper.accepted(first)

        assert another
        assert (2, True) == (second.number, second.forced)
        assert not keeper.refused(second)

    async def test_forced_again_after_success(self) -> None:
        """A forced one that the server took has proved itself, and may expire in its turn."""
        keeper = keeper_of(Clock())
        keeper.refused(await keeper.get())
        second = await keeper.get()
        keeper.accepted(second)

        assert keeper.refused(second)
        assert (3, True) == ((await keeper.get()).number, (await keeper.get()).forced)

    async def test_refused_by_many(self) -> None:
        """Refusals of one signature by all requests in flight cause one renewal."""
        keeper = keeper_of(Clock())
        first = await keeper.get()
        answers = [keeper.refused(first) for _ in range(50)]
        second = await keeper.get()
        answers += [keeper.refused(first) for _ in range(50)]

        assert [True] * 100 == answers
        assert second is await keeper.get()

    async def test_refused_during_the_renewal(self) -> None:
        """A refusal during a renewal is of the predecessor: the new one counts as forced."""
        provider = Provider(Clock())
        provider.gate.set()
        keeper = keeper_of(provider.clock, provider=provider)
        first = await keeper.get()
        provider.clock.now += DAY
        provider.gate.clear()
        async with waiting(keeper, 1) as tasks:
            another = keeper.refused(first)
            provider.gate.set()
        second: Signature = tasks[0].result()

        assert another
        assert (2, True) == (second.number, second.forced)
        assert second is await keeper.get()
        assert not keeper.refused(second)

    async def test_early_renewal_is_no_proof(self) -> None:
        """One that was renewed early, and not by force, may be refused and replaced."""
        clock = Clock()
        keeper = keeper_of(clock)
        await keeper.get()
        clock.now += DAY

        assert keeper.refused(await keeper.get())


class TestProvider:
    """Signatures made elsewhere."""

    @pytest.mark.parametrize("expire", [600, 180 * DAY])
    async def test_own_expiry(self, expire: int) -> None:
        """It is renewed by what it says itself."""
        provider = Provider(Clock(), expire=expire)
        provider.gate.set()
        keeper = keeper_of(provider.clock, provider=provider)
        await keeper.get()
        provider.clock.now = START + 0.8 * expire - 1
        await keeper.get()
        before = provider.calls
        provider.clock.now = START + 0.8 * expire
        await keeper.get()

        assert (1, 2) == (before, provider.calls)

    async def test_stale(self) -> None:
        """A provider whose signatures have expired already is asked once a second at most."""
        provider = Provider(Clock(), expire=1)
        provider.gate.set()
        keeper = keeper_of(provider.clock, provider=provider)
        for _ in range(10):
            await keeper.get()
            provider.clock.now += 0.25

        assert 3 == provider.calls

    async def test_unreadable(self) -> None:
        """One that cannot be read is used for most of a day: the server will say what it thinks."""
        clock = Clock()
        keeper = keeper_of(clock, provider=giving("opaque"))
        await keeper.get()
        clock.now += RENEWED_AFTER - 1
        await keeper.get()

        assert 1 == keeper.renewals

    async def test_absurd_expiry(self) -> None:
        """One that says to hold for ages is used, whatever its number."""
        usersig = make(SDKAPPID, "administrator", KEY, now=START, expire=10**400)
        keeper = keeper_of(Clock(), provider=giving(usersig))

        assert usersig == (await keeper.get()).usersig.reveal()

    @pytest.mark.parametrize(
        "value",
        [None, " ", 5, ValueError(KEY), asyncio.CancelledError(), [KEY], StopAsyncIteration()],
        ids=lambda value: type(value).__name__ + repr(value)[:4],
    )
    async def test_failing(self, value: object) -> None:
        """A provider that raises, or gives no text, is a SignatureError without its words."""
        keeper = keeper_of(Clock(), provider=giving(value))
        with pytest.raises(SignatureError, match="the provider of UserSigs failed") as caught:
            await keeper.get()
        cause = caught.value.__cause__

        assert KEY not in str(caught.value)
        assert isinstance(cause, type(value) if isinstance(value, BaseException) else InputError)

    async def test_fails_for_all(self) -> None:
        """All who wait for a failing renewal learn of it, and the next caller asks again."""
        provider = Provider(Clock(), expire=-1)
        keeper = keeper_of(provider.clock, provider=provider)
        async with waiting(keeper, 10) as tasks:
            provider.gate.set()
        provider.expire = DAY

        assert {SignatureError} == {type(task.exception()) for task in tasks}
        assert 1 == (await keeper.get()).number
        assert 2 == provider.calls

    async def test_fails_for_nobody(self) -> None:
        """A renewal that fails when every waiter has gone is nobody's unhandled error."""
        provider = Provider(Clock(), expire=-1)
        keeper = keeper_of(provider.clock, provider=provider)
        unhandled: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: unhandled.append(context))
        async with waiting(keeper, 3) as tasks:
            for task in tasks:
                task.cancel()
            await settle()
            provider.gate.set()
        await settle()
        del tasks

        assert [] == unhandled


class TestClose:
    """The end of a session."""

    async def test_hanging_provider(self) -> None:
        """
        A renewal that hangs is cancelled, and those who wait learn that the session is closed.
        """
        provider = Provider(Clock())
        keeper = keeper_of(provider.clock, provider=provider)
        async with waiting(keeper, 3) as tasks:
            await keeper.aclose()

        assert 1 == provider.cancelled
        assert {asyncio.current_task()} == asyncio.all_tasks()
        assert {SessionClosedError} == {type(task.exception()) for task in tasks}

    @pytest.mark.parametrize("used", [False, True])
    async def test_idle(self, used: bool) -> None:
        """Closing twice, used or not, is nothing special; afterwards there is no signature."""
        keeper = keeper_of(Clock())
        if used:
            await keeper.get()
        await keeper.aclose()
        await keeper.aclose()
        with pytest.raises(SessionClosedError):
            await keeper.get()
