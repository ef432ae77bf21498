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
"""

import asyncio
import contextlib
import math
import sys
import uuid
from types import TracebackType
from typing import Final, Literal, Protocol, Self

from chatmark.budgetserver import BudgetServer
from chatmark.errors import InputError, SessionError
from chatmark.events import logger
from chatmark.pacing import Permit
from chatmark.sharing import Answer, Question, Sharing, Terms, Ticket, UnreachableError

Priority = Literal["normal", "low"]

# The rank of each, and the seconds by which its calls are promised ahead. Those who go first see
# over what the others have been promised.
_PRIORITIES: Final = {"normal": (0, 0.04), "low": (1, 0.02)}


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
        self._has_warned = False
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
            url: `redis://`, `rediss://` or `unix://`. It may hold a password, which is never shown.
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

    def pause(self, seconds: float) -> None:
        """
        Let nobody make a call for that time, in any process.
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
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._keep(loop), name="chatmark-budget")

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
                self._news.set()
            if self._sharing.is_there:
                with contextlib.suppress(UnreachableError):
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
            self._note_loss(loop.time(), str(error))
            return
        if not sharing.learn(question, answer, loop.time()):
            self._note_loss(loop.time(), "slow answers")
        elif self._has_warned:
            self._has_warned = False
            logger.info("the budget at %s can be reached again", self._keeper.place)

    def _note_loss(self, now: float, reason: str) -> None:
        sharing = self._sharing
        sharing.lost(now)
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "the budget at %s cannot be reached (%s): until it is back, this process goes on "
                "with %.3g calls a second, its share among %d",
                self._keeper.place,
                reason,
                sharing.share,
                sharing.processes,
            )


async def _wait(event: asyncio.Event, until: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(None if math.isinf(until) else until):
            await event.wait()
