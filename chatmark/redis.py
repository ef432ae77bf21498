"""
A budget that processes share: the count of calls is in Redis or Valkey.

    budget = RedisBudget.from_url("redis://127.0.0.1:6379", key="chatmark:1400000001")
    async with budget, MarkSession(credentials, region=region, budget=budget) as session:
        ...

`RedisBudget` itself takes a ready client: of a Sentinel, a Cluster, with TLS or a user of an ACL.

The count is exact. An atomic script (`count.lua`) promises each call the moment from which it may
be sent, and counts the call until a second after its answer, as `CallWindow` does. No library does
this; `CONTRIBUTING.md` says what they do.

Without the server each process goes on with its share of the budget, divided by the number of
processes that were last alive, and the log says so once. The table of `docs/scale.md` says what
happens when the server fails over, loses its memory, has its clock set, or refuses.
"""

import asyncio
import contextlib
import copy
import logging
import math
import sys
import uuid
from typing import Any, Final, Literal, Self

import attrs

from chatmark.codes import MARKING
from chatmark.errors import InputError, without_frames
from chatmark.events import logger
from chatmark.failures import BudgetError, SessionError
from chatmark.pacing.budget import CallOutcome, Permit
from chatmark.pacing.shared.member import MOST_DELAY, Call, Member, Terms, UnreachableError
from chatmark.pacing.shared.store import BudgetServer, UrlClient

__all__ = ["Priority", "RedisBudget"]

Priority = Literal["normal", "low"]

# Rank, and seconds by which calls are promised ahead. The high priority looks further ahead than
# the low one, so that it finds a free moment behind the promises of low priority.
_PRIORITIES: Final = {"normal": (0, 0.04), "low": (1, 0.02)}
# A timer may fire before its time by the resolution of the clock.
_RESOLUTION: Final = 1e-6


@attrs.frozen(eq=False)
class _SharedPermit(Permit):
    _member: Member
    _call: Call
    _wake: asyncio.Event

    def done(self, outcome: CallOutcome) -> float | None:
        if outcome is CallOutcome.UNUSED:
            self._member.unused(self._call)
        else:
            self._member.answered(self._call, asyncio.get_running_loop().time())
        self._wake.set()
        return None


class _Keeper:
    """Asks the server for the calls of one command, in the running loop, until it is closed."""

    def __init__(
        self, terms: Terms, server: BudgetServer, name: str, closed: asyncio.Event
    ) -> None:
        self.loop = asyncio.get_running_loop()
        # Each loop has a name of its own, and so has each process after a fork.
        self.member = Member(terms, uuid.uuid4().hex)
        self._wake = asyncio.Event()
        self._news = asyncio.Event()
        self._turn = asyncio.Lock()
        self._server = server
        self._name = name
        self._closed = closed
        self._task: asyncio.Task[None] | None = None
        # Why the server, which has never counted for this process, refuses to.
        self._refusal: BudgetError | None = None
        self._has_asked = self._has_joined = self._has_mended = False
        # Troubles that are in the log and not over.
        self._logged: set[str] = set()

    async def acquire(self) -> Permit:
        member = self.member
        member.waiting += 1
        self._wake.set()
        try:
            async with self._turn:
                while True:
                    self._check()
                    self._news.clear()
                    now = self.loop.time()
                    ready_at = member.ready_at(now)
                    if ready_at <= now:
                        return _SharedPermit(member, member.take(now), self._wake)
                    # A promise in stock may have become too old.
                    self._wake.set()
                    await _wait(self._news, ready_at)
        finally:
            member.waiting -= 1

    async def connect(self) -> None:
        self._check()
        while not self._has_asked:
            await self._news.wait()
            self._check()

    def pause(self, seconds: float) -> None:
        self._start()
        self.member.pause(self.loop.time(), seconds)
        self._wake.set()

    def end(self) -> asyncio.Task[None] | None:
        """Tell callers and the task that the budget is closed, and return the task."""
        self._news.set()
        self._wake.set()
        return self._task if self.loop is asyncio.get_running_loop() else None

    def _check(self) -> None:
        self._start()
        if self._refusal is not None:
            raise self._refusal.fresh()

    def _start(self) -> None:
        """See that the task runs."""
        if self._closed.is_set():
            raise SessionError("the budget is closed")
        if self._task is not None and self._task.done():
            cause = asyncio.CancelledError() if self._task.cancelled() else self._task.exception()
            self._lose("died", f"the task that asks it died of {type(cause).__name__}")
            self._task = None
        if self._task is None:
            self._task = self.loop.create_task(self._keep(), name="chatmark-budget")
            # A call that waits starts another task.
            self._task.add_done_callback(lambda _: self._news.set())

    async def _keep(self) -> None:
        try:
            while not self._closed.is_set():
                self._wake.clear()
                ask_at = self.member.ask_at(self.loop.time())
                if ask_at > self.loop.time():
                    await _wait(self._wake, ask_at)
                    continue
                await self._ask()
                self._has_asked = True
                self._news.set()
            if self.member.is_there:
                with contextlib.suppress(UnreachableError, BudgetError):
                    await self._server.ask(self.member.question(self.loop.time(), leaving=True))
        finally:
            # Connections belong to their loop.
            await self._server.disconnect()

    async def _ask(self) -> None:
        member = self.member
        try:
            await self._server.connect()
            reply = await self._server.ask(member.question(self.loop.time()))
            is_quick = member.learn(reply, self.loop.time())
        except UnreachableError as error:
            self._lose("unreachable", f"it cannot be reached: {error}")
            return
        except BudgetError as error:
            if self._has_joined:
                self._lose("refused", str(error), logging.ERROR)
            else:
                self._refusal = error
                member.lost(self.loop.time())
            return
        self._refusal, self._has_joined = None, True
        if member.is_mended and not self._has_mended:
            self._has_mended = True
            text = "They were brought within bounds. Does another program use its keys?"
            logger.warning("%s holds numbers that chatmark does not write. %s", self._name, text)
        if not is_quick:
            delay, most = f"{1000 * member.delay:.0f} ms", f"{1000 * MOST_DELAY:.0f} ms"
            self._log("slow", f"answers in {delay}, and needs to answer in {most} to promise calls")
        elif self._logged:
            self._logged.clear()
            logger.info("%s promises calls again", self._name)

    def _lose(self, trouble: str, reason: str, level: int = logging.WARNING) -> None:
        self.member.lost(self.loop.time())
        self._log(trouble, f"does not count ({reason})", level)

    def _log(self, trouble: str, text: str, level: int = logging.WARNING) -> None:
        if trouble not in self._logged:
            self._logged.add(trouble)
            rate, processes = self.member.terms.calls_per_second, self.member.processes
            share = f"{rate / processes:.3g} calls a second, its share among {processes}"
            until = "Until it does, this process goes on with"
            logger.log(level, "%s %s. %s %s", self._name, text, until, share)


class RedisBudget:
    """
    A budget for all processes that name the same server and key. All give the same numbers.

    Use it from one event loop at a time. Close it after its sessions, so that the other processes
    get its share at once.

    Args:
        client: An asyncio client of redis-py or valkey-py, which stays open:
            `redis.asyncio.Redis(...)`, `redis.asyncio.Sentinel(...).master_for("NAME")` or
            `redis.asyncio.RedisCluster(...)`.
        key: The name of the count, one for each application: "chatmark:1400000001".
        calls_per_second: The most calls of all processes in any one-second window, as `CallBudget`
            takes them.
        priority: "low" for a bulk job: its calls go when no other calls wait.
        timeout: Seconds for an answer of the server.
        most_way: Seconds that a call may take to reach Chat. A call counts from its answer, or from
            this time after it was sent if the answer takes longer. If it is too short, a window may
            hold more calls; if it is long, slow answers cost calls.

    Raises:
        InputError: An argument is wrong.
    """

    def __init__(
        self,
        client: Any,
        *,
        key: str,
        calls_per_second: float | str = 190.0,
        priority: Priority = "normal",
        timeout: float = 0.5,
        most_way: float = 0.05,
    ) -> None:
        if priority not in _PRIORITIES:
            raise InputError("priority", f"is none of {', '.join(_PRIORITIES)}", priority)
        for field, seconds in (("timeout", timeout), ("most_way", most_way)):
            if isinstance(seconds, bool) or not (
                isinstance(seconds, int | float) and 0 < seconds <= sys.float_info.max
            ):
                raise InputError(field, "must be a number above 0", seconds)
        rank, horizon = _PRIORITIES[priority]
        self._terms = Terms(calls_per_second, rank=rank, horizon=horizon, most_way=most_way)
        self._arguments = client, key, timeout
        self._place = BudgetServer(*self._arguments).place
        self._command = MARKING
        # The budgets of all commands share these.
        self._keepers: dict[str, _Keeper] = {}
        self._closed = asyncio.Event()

    def of(self, command: str) -> "RedisBudget":
        """
        Return the budget of a command, which counts for itself: `mark_contact` is this one.

        The vendor allows each command its own number of calls. Closing a budget closes those of all
        commands.
        """
        if command == self._command:
            return self
        other = copy.copy(self)
        other._command = command  # noqa: SLF001 - its own kind.
        return other

    @classmethod
    @without_frames
    def from_url(
        cls,
        url: str,
        *,
        key: str,
        calls_per_second: float | str = 190.0,
        priority: Priority = "normal",
        timeout: float = 0.5,
        most_way: float = 0.05,
    ) -> Self:
        """
        Return a budget whose count is at a URL. It connects with the first call.

        The URL is `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, the same with `rediss://` for
        TLS, or `unix:///SOCKET`. The password is never shown. Options of redis-py follow a "?":
        `ssl_ca_certs=FILE` for the authority of the server's certificate, for example, or
        `ssl_certfile=FILE&ssl_keyfile=FILE` for a certificate of this client. The other arguments
        are those of `RedisBudget`. Needs the extra `redis`.

        Raises:
            InputError: An argument is wrong.
        """
        return cls(
            UrlClient(url),
            key=key,
            calls_per_second=calls_per_second,
            priority=priority,
            timeout=timeout,
            most_way=most_way,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def acquire(self) -> Permit:
        """
        Wait for the right to make one call. Calls of one priority go in the order they came.

        Raises:
            BudgetError: The server refuses to count, and has never counted for this process.
            SessionError: The budget is closed, or another event loop that still runs uses it.
        """
        return await self._keeper().acquire()

    async def connect(self) -> None:
        """
        Wait for the server's first answer, or until it proves out of reach.

        A program that calls this first knows of a wrong password before it does anything else.

        Raises:
            BudgetError: The server refuses to count.
            SessionError: The budget is closed, or another event loop that still runs uses it.
        """
        await self._keeper().connect()

    def pause(self, seconds: float) -> None:
        """Hold back all calls for this time, in other processes for a minute at most."""
        self._keeper().pause(seconds)

    async def aclose(self) -> None:
        """Tell the other processes that this one has left. Calls that wait get a `SessionError`."""
        self._closed.set()
        tasks = [task for keeper in self._keepers.values() if (task := keeper.end())]
        if tasks:
            await asyncio.wait(tasks)

    def __repr__(self) -> str:
        rate = self._terms.calls_per_second
        return f"<RedisBudget {self._place}, calls_per_second={rate:g}>"

    def _keeper(self) -> _Keeper:
        loop = asyncio.get_running_loop()
        keeper = self._keepers.get(self._command)
        if keeper is not None and keeper.loop is not loop and keeper.loop.is_running():
            raise SessionError("a RedisBudget belongs to one event loop at a time")
        if keeper is None or keeper.loop is not loop:
            name = f"the shared budget of {self._command} at {self._place}"
            server = BudgetServer(*self._arguments, self._command)
            keeper = _Keeper(self._terms, server, name, self._closed)
            self._keepers[self._command] = keeper
        return keeper


async def _wait(event: asyncio.Event, until: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(None if math.isinf(until) else until + _RESOLUTION):
            await event.wait()
