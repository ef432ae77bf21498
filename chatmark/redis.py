"""
A budget that processes share: `CallBudget` with its count in Redis or Valkey. Needs the extra.

    budget = RedisBudget.from_url("redis://127.0.0.1:6379", key="chatmark:1400000001")
    async with budget, MarkSession(credentials, region=region, budget=budget) as session:
        ...

The count is exact: an atomic script (`shared_budget.lua`) gives each call the moment from which it
may be sent, by the clock of the server, and counts it until a second after its answer, as
`CallWindow` does. The libraries for this were looked at, and none will do. `limits` and
`pyrate-limiter` count a window exactly, but by the clock of whoever asks. `throttled-py` either
estimates a window from two fixed ones, or lets a burst pass on top of the rate (GCRA). None takes
an unused call back, knows that a call counts from its answer, lets somebody go first, or keeps
those who wait in line: they say "no", and who happens to ask again at the right moment wins.

Without the server every process goes on with its share of the budget, as many as were last seen
alive, and says so once in the log:

- What the server promised may still arrive, so a share begins when that has left the window.
- A server that comes back with its count lost, or that nobody asked for two seconds, promises
  nothing for two more: by then everybody has seen that it is back, has told what it called
  meanwhile, and has left its share. A first start is taken for that, too.
- So all processes together stay within the budget. One that alone cannot reach the server exceeds
  it by no more than its share, and so does one that starts without ever having seen it: it takes a
  tenth.
- A server that answers too slowly for promises still says how many processes are alive: its share
  is among those, and it tells the server what it called.
- A server that refuses (a password, a permission, a wrong key) is no outage. `acquire` raises a
  `BudgetError` that says what to correct; a process that was counted before goes on with its share,
  and says so in the log as an error.
"""

import asyncio
import contextlib
import logging
import math
import sys
import uuid
from types import TracebackType
from typing import Final, Literal, Protocol, Self

from chatmark.budgetserver import BudgetServer
from chatmark.errors import BudgetError, InputError, SessionError
from chatmark.events import logger
from chatmark.pacing import Permit
from chatmark.sharing import (
    MOST_DELAY,
    Answer,
    Question,
    Sharing,
    Terms,
    Ticket,
    UnreachableError,
)

Priority = Literal["normal", "low"]

# The rank of each, and the seconds by which its calls are promised ahead. Those who go first see
# over what the others have been promised.
_PRIORITIES: Final = {"normal": (0, 0.04), "low": (1, 0.02)}
_RESOLUTION: Final = 1e-6


class Keeper(Protocol):
    """
    Whoever keeps the count.
    """

    @property
    def place(self) -> str:
        """
        Where it is, without a password.
        """
        ...

    async def connect(self) -> None:
        """
        Make sure that a question need not wait for a connection.
        """

    async def ask(self, question: Question) -> Answer:
        """
        Tell and ask in one round trip.
        """
        ...

    async def aclose(self) -> None:
        """
        Leave; the next question connects again.
        """


class _SharedPermit:
    __slots__ = ("_budget", "_ticket")

    def __init__(self, budget: "RedisBudget", ticket: Ticket) -> None:
        self._budget = budget
        self._ticket = ticket

    def answered(self) -> None:
        self._budget.call_answered(self._ticket)

    def unused(self) -> None:
        self._budget.call_unused(self._ticket)


class RedisBudget:
    """
    A budget for all processes that name the same server and key; they all give the same numbers.

    Its sessions are those of one event loop at a time. It is closed after them, so that nobody
    counts on a process that is gone. `from_url` makes one.

    Args:
        keeper: Who keeps the count.
        terms: What all agree on.
    """

    def __init__(self, keeper: Keeper, terms: Terms) -> None:
        self._keeper = keeper
        self._terms = terms
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        self._bind()

    @classmethod
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
        Return a budget that is kept at a URL; nothing is connected yet.

        Args:
            url: `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, the same with `rediss://` for
                TLS, or `unix:///SOCKET`. The password is never shown. Options of redis-py follow a
                "?", such as `ssl_ca_certs=FILE` for the authority of the server's certificate, or
                `ssl_certfile=FILE&ssl_keyfile=FILE` for a certificate of this client.
            key: Where the count is, one for each application: "chatmark:1400000001".
            calls_per_second: The most calls of all processes in any one-second window.
            priority: "low" for a bulk job: its calls go when nobody else waits.
            timeout: Seconds after which the server counts as gone.
            most_way: Seconds that a call may be on its way to Chat. A call counts from its answer,
                or this long after its sending if the answer takes longer; where that is too short,
                a window may hold more, and where it is long, slow answers cost calls.

        Raises:
            InputError: An argument will not do.
        """
        if priority not in _PRIORITIES:
            raise InputError("priority", f"is none of {', '.join(_PRIORITIES)}", priority)
        for field, seconds in (("timeout", timeout), ("most_way", most_way)):
            if isinstance(seconds, bool) or not (
                isinstance(seconds, int | float) and 0 < seconds <= sys.float_info.max
            ):
                raise InputError(field, "is no number above 0", seconds)
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
        Wait for the right to make one call; first come, first served among those of one priority.

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
                        return _SharedPermit(self, sharing.take(now))
                    # What was in stock may have become too old.
                    self._wake.set()
                    await _wait(self._news, ready_at)
        finally:
            sharing.waiting -= 1

    async def connect(self) -> None:
        """
        Ask the server once, so that a wrong password is known before anything else is done.

        Return when it has answered, or is out of reach.

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
        """
        Let nobody make a call for that time: in this process, and up to a minute in all others.
        """
        self._use()
        self._sharing.pause(asyncio.get_running_loop().time(), seconds)
        self._wake.set()

    async def aclose(self) -> None:
        """
        Tell the others that this process has left. Whoever waits for a call gets a `SessionError`.
        """
        self._is_closed = True
        self._news.set()
        self._wake.set()
        if self._task is not None and self._loop is asyncio.get_running_loop():
            await asyncio.wait([self._task])

    def call_answered(self, ticket: Ticket) -> None:
        """
        Strictly private: see `Permit.answered`.
        """
        self._sharing.answered(ticket, asyncio.get_running_loop().time())
        self._wake.set()

    def call_unused(self, ticket: Ticket) -> None:
        """
        Strictly private: see `Permit.unused`.
        """
        self._sharing.unused(ticket)
        self._wake.set()

    def __repr__(self) -> str:
        rate = self._terms.calls_per_second
        return f"<RedisBudget {self._keeper.place}, calls_per_second={rate:g}>"

    def _bind(self) -> None:
        # A name of its own for each loop, and so for each process after a fork.
        self._sharing = Sharing(self._terms, uuid.uuid4().hex)
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # Why the server counts for nobody here.
        self._refusal: BudgetError | None = None
        self._has_asked = self._has_joined = False
        # The troubles that the log has been told of.
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
            # A call that waits for its news starts another.
            self._task.add_done_callback(self._on_end)

    def _on_end(self, _: asyncio.Task[None]) -> None:
        self._news.set()

    async def _keep(self, loop: asyncio.AbstractEventLoop) -> None:
        """
        Ask the server whenever there is a reason to.
        """
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
                    await self._keeper.ask(self._sharing.question(loop.time(), leaving=True))
        finally:
            # Connections belong to their loop.
            await self._keeper.aclose()

    async def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        sharing = self._sharing
        try:
            await self._keeper.connect()
            question = sharing.question(loop.time())
            answer = await self._keeper.ask(question)
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
        if answer.is_mended:
            self._log(
                "mended",
                "the Redis at %s held numbers that chatmark does not write: they were brought "
                "within bounds. See whether another program uses the keys of the budget",
                self._keeper.place,
            )
        if not sharing.learn(question, answer, loop.time()):
            self._log_share(
                "slow",
                f"it answers within {1000 * sharing.delay:.0f} ms, and promises of calls need "
                f"{1000 * MOST_DELAY:.0f} ms",
            )
        elif self._logged - {"mended"}:
            self._logged &= {"mended"}
            logger.info("the shared budget at %s counts again", self._keeper.place)

    def _lose(self, trouble: str, reason: str, level: int = logging.WARNING) -> None:
        self._sharing.lost(asyncio.get_running_loop().time())
        self._log_share(trouble, reason, level)

    def _log_share(self, trouble: str, reason: str, level: int = logging.WARNING) -> None:
        self._log(
            trouble,
            "the shared budget at %s does not count (%s): until it does, this process goes on with "
            "%.3g calls a second, its share among %d",
            self._keeper.place,
            reason,
            self._sharing.share,
            self._sharing.processes,
            level=level,
        )

    def _log(self, trouble: str, text: str, *details: object, level: int = logging.WARNING) -> None:
        if trouble not in self._logged:
            self._logged.add(trouble)
            logger.log(level, text, *details)


async def _wait(event: asyncio.Event, until: float) -> None:
    with contextlib.suppress(TimeoutError):
        # A timer may come before its time by the resolution of the clock.
        async with asyncio.timeout_at(None if math.isinf(until) else until + _RESOLUTION):
            await event.wait()
