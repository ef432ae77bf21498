"""
What the tests of faults share: an emulator in virtual time, its sessions, the ledger at the end.

    @pytest.mark.virtual_time
    async def test_waits(rig: VirtualRig) -> None: ...

The marker takes the options of `Emulator`. After the test every session is closed, and then:
accepted = succeeded + failed + withdrawn; no rule of the server was broken; its state is that of
the changes which succeeded, wherever the outcome is certain; no task of chatmark, no connection and
no file descriptor is left; nothing was reported to the loop's exception handler.
"""

import asyncio
import contextlib
import gc
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import attrs
from rig import SECRET_KEY, Rig, State, model_state
from virtual_time import VirtualLoop

from chatmark import (
    CallBudget,
    ChangesSettled,
    Conversation,
    ConversationMark,
    Credentials,
    MarkChange,
    MarkResult,
    MarkSession,
    RefusedError,
    make_usersig,
)
from chatmark.emulator import Emulator
from chatmark.pacing.budget import CallOutcome, Permit

# A test that takes longer, in virtual seconds, hangs.
_HANGS: Final = 3600.0

FAVORITE: Final = ConversationMark.FAVORITE
HIDDEN: Final = ConversationMark.HIDDEN
BOB: Final = Conversation.one_to_one("bob")


def change(account: str = "alice", peer: str = "bob", **marks: Any) -> MarkChange:
    """Return a change of one conversation, which sets FAVORITE unless told otherwise."""
    return MarkChange(account, Conversation.one_to_one(peer), **(marks or {"set_mark": FAVORITE}))


def changes(count: int, accounts: int = 1) -> list[MarkChange]:
    """Return changes of different conversations, spread over accounts."""
    return [change(f"user_{n % accounts}", f"peer_{n}") for n in range(count)]


def usersig(now: float | None = None, *, expire: int = 86_400) -> str:
    """Return a UserSig that the emulator takes."""
    made_at = time.time() if now is None else now
    return make_usersig(1400000001, "administrator", SECRET_KEY, now=made_at, expire=expire)


def provided(provider: Callable[[], Awaitable[str]]) -> Credentials:
    """Return credentials that ask a provider of UserSigs."""
    return Credentials(sdkappid=1400000001, identifier="administrator", provider=provider)


@attrs.define(eq=False)
class OwnPermit(Permit):
    """A permit of the user's own, which does not tell the pace of refusals."""

    permit: Permit
    rest: float | None
    heard: list[str] = attrs.field(factory=list)

    def sent(self) -> None:
        """See `Permit`."""
        self.heard.append("sent")
        self.permit.sent()

    def done(self, outcome: CallOutcome) -> float | None:
        """See `Permit`."""
        self.heard.append(outcome.name)
        is_unused = outcome is CallOutcome.UNUSED
        self.permit.done(outcome if is_unused else CallOutcome.UNKNOWN)
        return self.rest


@attrs.define
class OwnBudget:
    """
    A budget of the user's own, which paces, does not learn, and keeps what it hears.

    Args:
        pace: Its pace.
        rest: For how many seconds it lets the session rest after a refusal; None leaves it to that.
    """

    pace: CallBudget = attrs.field(factory=lambda: CallBudget(None))
    rest: float | None = None
    permits: list[OwnPermit] = attrs.field(factory=list)
    pauses: list[float] = attrs.field(factory=list)

    async def acquire(self) -> OwnPermit:
        """See `Budget`."""
        self.permits.append(OwnPermit(await self.pace.acquire(), self.rest))
        return self.permits[-1]

    def pause(self, seconds: float) -> None:
        """See `Budget`."""
        self.pauses.append(seconds)


#: The ways to run a bulk job.
WAYS: Final = ("apply", "stream", "as they settle")


async def run_job(session: MarkSession, source: Any, way: str) -> list[MarkResult]:
    """Run a bulk job in one of the ways, and return its results."""
    results: list[MarkResult] = []
    if way == "apply":
        await session.apply(source, on_result=results.append)
    else:
        async with contextlib.aclosing(session.stream(source, ordered=way == "stream")) as stream:
            results.extend([result async for result in stream])
    return results


@attrs.define
class VirtualRig(Rig):
    """An emulator whose time is the loop's, and the sessions of one test."""

    rng: random.Random = attrs.field(factory=lambda: random.Random(1))
    results: list[MarkResult] = attrs.field(factory=list)
    complaints: list[str] = attrs.field(factory=list)

    @property
    def now(self) -> float:
        """The virtual time in seconds."""
        return asyncio.get_running_loop().time()

    def session(self, **options: Any) -> MarkSession:
        """Return a session that backs off as usual, and whose results the rig keeps."""
        hooks = (self._keep, *options.pop("hooks", ()))
        options = {"backoff": None, "rng": self.rng} | options
        return Rig.session(self, hooks=hooks, **options)

    def _keep(self, event: object) -> None:
        if isinstance(event, ChangesSettled):
            self.results.extend(event.results)

    async def until(self, is_so: Callable[[], object]) -> None:
        """
        Let the loop turn until that is so; no more than a few thousand turns, of no time each.
        """
        for _ in range(5000):
            if is_so():
                return
            await asyncio.sleep(0)
        raise AssertionError("it never became so")

    async def in_flight(self, session: MarkSession, count: int = 1) -> None:
        """Wait until so many requests of a session have reached the server."""
        await self.until(lambda: session.stats.in_flight == count and len(self.started()) >= count)

    def task(self, name: str) -> "asyncio.Task[Any]":
        """Return a task by its name."""
        return next(task for task in asyncio.all_tasks() if task.get_name() == name)

    def started(self) -> list[float]:
        """Return when each request reached the server."""
        return [call.started for call in self.emulator.calls]

    def check_state(self) -> None:
        """
        Check the server's state against the changes that succeeded, in the order of their success.

        A change that was sent and failed by anything but a refusal may have taken effect.
        """
        uncertain = {
            _key(result.change)
            for result in self.results
            if not result.ok and result.attempts and not isinstance(result.error, RefusedError)
        }
        expected = model_state(result.change for result in self.results if result.ok)
        found: State = dict(self.emulator.state.snapshot())

        assert _without(expected, uncertain) == _without(found, uncertain)

    async def check(self) -> None:
        """Close the sessions and check everything."""
        await self.close()
        self.check_state()
        server = self.emulator._server
        await self.until(lambda: server is None or not server.connections)
        self.sessions.clear()
        gc.collect()

        assert [] == self.complaints, self.complaints


def _key(change: MarkChange) -> tuple[str, int, str]:
    return change.from_account, int(change.conversation.type), change.conversation.id


def _without(state: State, keys: set[tuple[str, int, str]]) -> State:
    return {key: value for key, value in state.items() if key not in keys}


@contextlib.asynccontextmanager
async def virtual_rig(**options: Any) -> AsyncIterator[VirtualRig]:
    """
    Give a rig in a loop of virtual time, and check everything at the end.

    Args:
        **options: Those of `Emulator`; without a limit of calls unless told otherwise.
    """
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    options = {"calls_per_second": None, "keep_calls": None, "monotonic": loop.time} | options
    complaints: list[str] = []
    loop.set_exception_handler(lambda _, context: complaints.append(repr(context)))
    loop.jumping.end = _HANGS
    # What was there before is none of the test's, and need not be searched for its garbage.
    gc.freeze()
    before = _open_files()
    try:
        async with Emulator(**options) as emulator:
            rig = VirtualRig(emulator, complaints=complaints)
            yield rig
            await rig.check()
        await rig.until(lambda: _open_files() <= before)
    finally:
        gc.unfreeze()


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers, not paths.
