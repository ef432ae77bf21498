"""
A budget that processes share: the count of calls is in Redis or Valkey. Needs the extra `redis`.

    budget = RedisBudget.from_url("redis://127.0.0.1:6379", key="chatmark:1400000001")
    async with budget, MarkSession(credentials, region=region, budget=budget) as session:
        ...

The count is exact. An atomic script (`count.lua`) promises each call the moment from which it may
be sent, by the server's clock, and counts the call until a second after its answer, as `CallWindow`
does. No library does this. `limits` and `pyrate-limiter` count a window exactly, but
by the clock of each client. `throttled-py` estimates a window from two fixed ones, or lets a burst
pass on top of the rate (GCRA). None of them takes an unused call back, counts a call from its
answer, has priorities, or keeps a queue: they say "no", and the first client that happens to ask
again at the right moment wins.

Without the server each process goes on with its share of the budget, divided by the number of
processes that were last alive. The log says so once.

- Promised calls may still arrive. A share begins when they have left the window.
- A server that lost its count, or was not asked for two seconds, promises nothing for two more
  seconds. By then every process has seen that the server is back, has reported its calls and has
  left its share. A first start is treated the same.
- All processes together stay within the budget. A process that alone cannot reach the server
  exceeds it by at most its share. A process that has never reached the server takes a tenth.
- A server that is too slow for promises still knows how many processes are alive. Each process
  takes its share among those, and reports its calls.
- A server that refuses (a wrong password, a missing permission, other data under the key) is no
  outage: `acquire` raises a `BudgetError` that says what to correct. A process that the server has
  counted before goes on with its share, and logs an error.
"""

import asyncio
import contextlib
import logging
import math
import sys
import uuid
from types import TracebackType
from typing import Final, Literal, Protocol, Self

from chatmark.commands import MARKING
from chatmark.errors import InputError
from chatmark.events import logger
from chatmark.failures import BudgetError, SessionError
from chatmark.pacing.budget import CallOutcome, Permit
from chatmark.pacing.shared.member import (
    MOST_DELAY,
    Answer,
    Call,
    Question,
    Sharing,
    Terms,
    UnreachableError,
)
from chatmark.pacing.shared.store import BudgetServer
from chatmark.redact import without_frames

Priority = Literal["normal", "low"]

# Rank, and seconds by which calls are promised ahead. The high priority looks further ahead than
# the low one, so that it finds a free moment behind the promises of low priority.
_PRIORITIES: Final = {"normal": (0, 0.04), "low": (1, 0.02)}
# A timer may fire before its time by the resolution of the clock.
_RESOLUTION: Final = 1e-6


class Server(Protocol):
    """The server that keeps the count."""

    @property
    def place(self) -> str:
        """The URL without user, password and options."""
        ...

    def of(self, command: str) -> "Server":
        """Return what keeps the count of another command."""
        ...

    async def connect(self) -> None:
        """Connect, so that the next question takes one round trip."""

    async def ask(self, question: Question) -> Answer:
        """Ask, and report calls, in one round trip."""
        ...

    async def aclose(self) -> None:
        """Close the connection. The next question makes another."""


class _SharedPermit(Permit):
    __slots__ = ("_call", "_sharing", "_wake")

    def __init__(self, sharing: Sharing, call: Call, wake: asyncio.Event) -> None:
        self._sharing = sharing
        self._call = call
        self._wake = wake

    def done(self, outcome: CallOutcome) -> float | None:
        if outcome is CallOutcome.UNUSED:
            self._sharing.unused(self._call)
        else:
            self._sharing.answered(self._call, asyncio.get_running_loop().time())
        self._wake.set()
        return None


class RedisBudget:
    """
    A budget for all processes that name the same server and key. All give the same numbers.

    Use it from one event loop at a time. Close it after its sessions, so that the other processes
    get its share at once. `from_url` makes one.

    Args:
        server: The server that keeps the count.
        terms: The numbers that all processes agree on.
        command: The call that is counted.
    """

    def __init__(self, server: Server, terms: Terms, command: str = MARKING) -> None:
        self._server = server
        self._terms = terms
        self._command = command
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        self._others: dict[str, RedisBudget] = {}
        self._bind()

    def of(self, command: str) -> "RedisBudget":
        """
        Return the budget of a command: this one for mark_contact, else one that counts for itself.

        The vendor allows each command its own number of calls. The counts of the others have keys
        and a connection of their own, and are closed together with this one.
        """
        if command == self._command:
            return self
        if command not in self._others:
            other = RedisBudget(self._server.of(command), self._terms, command)
            other._is_closed = self._is_closed
            self._others[command] = other
        return self._others[command]

    @classmethod
    @without_frames
    def from_url(
        cls,
        url: str,
        *,
        key: str,
        calls_per_second: float = 190.0,
        priority: Priority = "normal",
        timeout: float = 0.5,
        most_way: float = 0.05,
    ) -> Self:
        """
        Return a budget whose count is at a URL. It connects with the first call.

        Args:
            url: `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, the same with `rediss://` for
                TLS, or `unix:///SOCKET`. The password is never shown. Options of redis-py follow a
                "?", such as `ssl_ca_certs=FILE` for the authority of the server's certificate, or
                `ssl_certfile=FILE&ssl_keyfile=FILE` for a certificate of this client.
            key: The name of the count, one for each application: "chatmark:1400000001".
            calls_per_second: The most calls of all processes in any one-second window.
            priority: "low" for a bulk job: its calls go when no other calls wait.
            timeout: Seconds for an answer of the server.
            most_way: Seconds that a call may take to reach Chat. A call counts from its answer, or
                from this time after it was sent if the answer takes longer. If it is too short, a
                window may hold more calls; if it is long, slow answers cost calls.

        Raises:
            InputError: An argument is wrong.
        """
        if priority not in _PRIORITIES:
            raise InputError("priority", f"is none of {', '.join(_PRIORITIES)}", priority)
        for field, seconds in (("timeout", timeout), ("most_way", most_way)):
            if isinstance(seconds, bool) or not (
                isinstance(seconds, int | float) and 0 < seconds <= sys.float_info.max
            ):
                raise InputError(field, "must be a number above 0", seconds)
        rank, horizon = _PRIORITIES[priority]
        terms = Terms(calls_per_second, rank=rank, horizon=horizon, most_way=most_way)
        return cls(BudgetServer(url, key, timeout), terms)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def acquire(self) -> Permit:
        """
        Wait for the right to make one call. Calls of one priority go in the order they came.

        Raises:
            BudgetError: The server refuses to count, and has never counted for this process.
            SessionError: The budget is closed, or another event loop that still runs uses it.
        """
        self._use()
        sharing = self._sharing
        sharing.waiting += 1
        self._wake.set()
        try:
            async with self._turn:
                while True:
                    self._use()
                    if self._refusal is not None:
                        raise self._refusal.fresh()
                    self._news.clear()
                    now = asyncio.get_running_loop().time()
                    ready_at = sharing.ready_at(now)
                    if ready_at <= now:
                        return _SharedPermit(sharing, sharing.take(now), self._wake)
                    # A promise in stock may have become too old.
                    self._wake.set()
                    await _wait(self._news, ready_at)
        finally:
            sharing.waiting -= 1

    async def connect(self) -> None:
        """
        Wait for the server's first answer, or until it proves out of reach.

        A program that calls this first knows of a wrong password before it does anything else.

        Raises:
            BudgetError: The server refuses to count.
            SessionError: The budget is closed, or another event loop that still runs uses it.
        """
        self._use()
        while not self._has_asked:
            await self._news.wait()
            self._use()
        if self._refusal is not None:
            raise self._refusal.fresh()

    def pause(self, seconds: float) -> None:
        """Hold back all calls for this time, in other processes for a minute at most."""
        self._use()
        self._sharing.pause(asyncio.get_running_loop().time(), seconds)
        self._wake.set()

    async def aclose(self) -> None:
        """Tell the other processes that this one has left. Calls that wait get a `SessionError`."""
        budgets = (self, *self._others.values())
        tasks = [task for each in budgets for task in each._end()]  # noqa: SLF001 - its own kind.
        if tasks:
            await asyncio.wait(tasks)

    def __repr__(self) -> str:
        rate = self._terms.calls_per_second
        return f"<RedisBudget {self._server.place}, calls_per_second={rate:g}>"

    @property
    def _name(self) -> str:
        return f"the shared budget of {self._command} at {self._server.place}"

    def _bind(self) -> None:
        # Each loop has a name of its own, and so has each process after a fork.
        self._sharing = Sharing(self._terms, uuid.uuid4().hex)
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # Why the server, which has never counted for this process, refuses to.
        self._refusal: BudgetError | None = None
        self._has_asked = self._has_joined = False
        # Troubles that are in the log and not over.
        self._logged: set[str] = set()

    def _use(self) -> None:
        if self._is_closed:
            raise SessionError("the budget is closed")
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._loop is not None and self._loop.is_running():
                raise SessionError("a RedisBudget belongs to one event loop at a time")
            if self._loop is not None:
                self._bind()
            self._loop = loop
        task = self._task
        if task is None or task.done():
            if task is not None:
                cause = asyncio.CancelledError() if task.cancelled() else task.exception()
                self._lose("died", f"the task that asks it died of {type(cause).__name__}")
            self._task = loop.create_task(self._keep(loop), name="chatmark-budget")
            # A call that waits starts another task.
            self._task.add_done_callback(self._on_end)

    def _end(self) -> list[asyncio.Task[None]]:
        """Take no more calls; return what is to be waited for."""
        self._is_closed = True
        self._news.set()
        self._wake.set()
        is_here = self._loop is asyncio.get_running_loop()
        return [self._task] if self._task is not None and is_here else []

    def _on_end(self, _: asyncio.Task[None]) -> None:
        self._news.set()

    async def _keep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ask the server whenever there is a reason to."""
        try:
            while not self._is_closed:
                self._wake.clear()
                ask_at = self._sharing.ask_at(loop.time())
                if ask_at > loop.time():
                    await _wait(self._wake, ask_at)
                    continue
                await self._ask(loop)
                self._has_asked = True
                self._news.set()
            if self._sharing.is_there:
                with contextlib.suppress(UnreachableError, BudgetError):
                    await self._server.ask(self._sharing.question(loop.time(), leaving=True))
        finally:
            # Connections belong to their loop.
            await self._server.aclose()

    async def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        sharing = self._sharing
        try:
            await self._server.connect()
            question = sharing.question(loop.time())
            answer = await self._server.ask(question)
        except UnreachableError as error:
            self._lose("unreachable", f"it cannot be reached: {error}")
            return
        except BudgetError as error:
            if self._has_joined:
                self._lose("refused", str(error), logging.ERROR)
            else:
                self._refusal = error
                sharing.lost(loop.time())
            return
        self._refusal, self._has_joined = None, True
        is_quick = sharing.learn(question, answer, loop.time())
        if answer.is_mended:
            self._log(
                "mended",
                "holds numbers that chatmark does not write. They were brought within bounds. Does "
                "another program use its keys?",
            )
        if not is_quick:
            self._log(
                "slow",
                f"answers in {1000 * sharing.delay:.0f} ms, and needs to answer in "
                f"{1000 * MOST_DELAY:.0f} ms to promise calls. Until it does, this process goes on "
                f"with {self._share(answer.processes)}",
            )
        elif self._logged - {"mended"}:
            self._logged &= {"mended"}
            logger.info("%s promises calls again", self._name)

    def _lose(self, trouble: str, reason: str, level: int = logging.WARNING) -> None:
        self._sharing.lost(asyncio.get_running_loop().time())
        share = self._share(self._sharing.processes)
        text = f"does not count ({reason}). Until it does, this process goes on with {share}"
        self._log(trouble, text, level)

    def _share(self, processes: int) -> str:
        rate = self._terms.calls_per_second / processes
        return f"{rate:.3g} calls a second, its share among {processes}"

    def _log(self, trouble: str, text: str, level: int = logging.WARNING) -> None:
        if trouble not in self._logged:
            self._logged.add(trouble)
            logger.log(level, "%s %s", self._name, text)


async def _wait(event: asyncio.Event, until: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(None if math.isinf(until) else until + _RESOLUTION):
            await event.wait()
