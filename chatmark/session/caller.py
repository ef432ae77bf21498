"""
Calls beside the requests of marks: paced, held back in an outage, and repeated.

Marks have the same breaker behind their lanes. Each other command has one of its own, because the
vendor gives each command its own allowance, and one may fail while the others go well.
"""

import asyncio
import contextlib
import functools
import itertools
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, TypeVar

from chatmark.codes import Command, Handling
from chatmark.core.breaker import Breaker
from chatmark.core.pending import Timed, suspended_for
from chatmark.errors import ChatmarkError
from chatmark.failures import AnswerError, DeadlineExceededError
from chatmark.http.client import ApiClient
from chatmark.pacing.budget import Budget, CallOutcome, Permit
from chatmark.session.failure_log import OutageLog
from chatmark.wire.classify import Verdict, classify
from chatmark.wire.messages import Envelope, Message

E = TypeVar("E", bound=Envelope)

#: Calls that ended so may be made again.
AGAIN: Final = frozenset((Handling.RETRY, Handling.SLOW_DOWN, Handling.RENEW_SIGNATURE))


# Extra seconds for a probe at the deadline: the vendor may ask for a pause of a minute, as long as
# the default deadline, and the answer of the probe comes a round trip later.
_SLACK: Final = 1.0


class CallGate:
    """
    Lets calls of one command through as the breaker allows, and learns from what comes of them.

    Args:
        backoff: From the number of a retry (from 1) to a wait in seconds.
        deadline: Seconds that a call waits here in an outage.
        connections: The most calls at once.
        name: Their name in the log.
    """

    def __init__(
        self, backoff: Callable[[int], float], deadline: float, connections: int, name: str
    ) -> None:
        self._deadline = deadline
        self._connections = asyncio.Semaphore(connections)
        self.breaker = Breaker(backoff)
        self._news = asyncio.Event()
        self._in_flight = 0
        self._outages = OutageLog(name, self.breaker)
        self._last_error: ChatmarkError = AnswerError("no answer")

    @contextlib.asynccontextmanager
    async def turn(self, budget: Budget, call: Timed) -> AsyncGenerator[Permit]:
        """Wait for a turn and a permit of the budget, and give the turn back at the end."""
        # With a connection free, nothing waits between the permit and the sending.
        async with self._connections:
            while True:
                await self._wait(call)
                permit = await budget.acquire()
                # A hold may have begun while the pace was waited for.
                if self._is_open():
                    break
                permit.done(CallOutcome.UNUSED)
            now = asyncio.get_running_loop().time()
            self.breaker.sent(now)
            call.start(now, self.breaker.held_since)
            self._in_flight += 1
            try:
                yield permit
            finally:
                self._in_flight -= 1
                self._news.set()

    def learn(self, verdict: Verdict[Any], sent_at: float, now: float) -> float:
        """Note what came of an attempt; return for how many seconds all calls pause."""
        if verdict.error is not None:
            self._last_error = verdict.error
        pause = self._learn(verdict, sent_at, now)
        self._outages.note(verdict, now)
        return pause

    def _learn(self, verdict: Verdict[Any], sent_at: float, now: float) -> float:
        if verdict.handling is Handling.SLOW_DOWN:
            if verdict.is_paced:
                return 0.0
            return self.breaker.slow_down(now, sent_at, verdict.pause)
        if verdict.handling is Handling.RETRY:
            self.breaker.failed(now, sent_at, of_gateway=verdict.of_gateway)
        elif verdict.handling is Handling.REFUSE_APPLICATION:
            self.breaker.refused(verdict.error, now)
        elif verdict.handling not in (Handling.RENEW_SIGNATURE, Handling.SPLIT):
            self.breaker.succeeded(sent_at)
        return 0.0

    async def _wait(self, call: Timed) -> None:
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            refusal = self.breaker.refusal(now)
            if refusal is not None:
                raise refusal.fresh()
            if self._is_open():
                return
            due = call.due_at(self._deadline, self.breaker.failing_since)
            if self.breaker.resumes_within(_SLACK, now):
                due += _SLACK
            if now >= due:
                raise DeadlineExceededError(self._deadline, self._last_error)
            self._news.clear()
            wake = self.breaker.wake_at(self._in_flight)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due if wake is None else min(due, wake)):
                    await self._news.wait()

    def _is_open(self) -> bool:
        now = asyncio.get_running_loop().time()
        return self.breaker.refusal(now) is None and self.breaker.allows(now, self._in_flight)


class Caller:
    """
    Makes calls, with retries.

    Args:
        client: Makes each attempt.
        backoff: From the number of a retry (from 1) to a wait in seconds.
        deadline: Seconds from the first attempt of a call after which it is not repeated.
        connections: The most calls of one command at once.
    """

    def __init__(
        self,
        client: ApiClient,
        backoff: Callable[[int], float],
        deadline: float,
        connections: int,
    ) -> None:
        self._client = client
        self._backoff = backoff
        self._deadline = deadline
        # A hold of one command leaves the others alone.
        self._gates = {
            command: CallGate(backoff, deadline, connections, str(command)) for command in Command
        }

    async def call(
        self,
        request: Message,
        kind: type[E],
        timed: Timed | None = None,
        may_repeat: Callable[[Verdict[E]], bool] = lambda _: True,
    ) -> Verdict[E]:
        """
        Return the verdict on a call that is not to be repeated.

        Args:
            request: The request.
            kind: The answer.
            timed: Its deadline, if that has begun to run with another call.
            may_repeat: Is told each verdict, and says whether the same call may be made again.

        Raises:
            DeadlineExceededError: It was tried until the deadline.
        """
        timed = timed or Timed(asyncio.get_running_loop().time())
        for retry in itertools.count(1):
            verdict = await self._attempt(request, kind, timed)
            if not may_repeat(verdict) or verdict.handling not in AGAIN:
                return verdict
            await self.rest(verdict, timed, retry)
        raise AssertionError

    async def rest(self, verdict: Verdict[E], timed: Timed, retry: int) -> None:
        """Wait before an attempt that follows a failed one."""
        loop = asyncio.get_running_loop()
        left = timed.due_at(self._deadline) - loop.time()
        if left <= 0:
            raise DeadlineExceededError(self._deadline, verdict.error)
        if verdict.handling is Handling.RETRY and not (verdict.at_once and retry == 1):
            wait, asleep_at = min(max(self._backoff(retry), verdict.pause), left), loop.time()
            await asyncio.sleep(wait)
            timed.extend_deadline(suspended_for(loop.time() - asleep_at, wait))

    async def _attempt(self, request: Message, kind: type[E], timed: Timed) -> Verdict[E]:
        meaning = functools.partial(classify, kind=kind)
        loop = asyncio.get_running_loop()
        command = request.command
        gate, budget = self._gates[command], self._client.budget_of(command)
        async with gate.turn(budget, timed) as permit:
            sent_at = loop.time()
            verdict = await self._client.call(request, meaning, permit)
            pause = gate.learn(verdict, sent_at, loop.time())
        timed.extend_deadline(suspended_for(loop.time() - sent_at, self._client.longest_attempt))
        if pause:
            self._client.pause(command, pause, verdict.reason)
        return verdict


def error_of(verdict: Verdict[E]) -> ChatmarkError:
    return (verdict.error or AnswerError("no answer")).fresh()
