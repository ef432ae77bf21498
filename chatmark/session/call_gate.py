"""
The gate of a command: all its calls at once while all is well, one probe at a time while it is not.

Marks have the same breaker behind their lanes. Each other command has one of its own, because the
vendor gives each command its own allowance, and one may fail while the others go well.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

from chatmark.codes import Handling
from chatmark.core.breaker import Breaker
from chatmark.core.deadlines import Timed
from chatmark.errors import ChatmarkError
from chatmark.failures import AnswerError, DeadlineExceededError
from chatmark.pacing.budget import Budget, CallOutcome, Permit
from chatmark.session.failure_log import OutageLog
from chatmark.wire.classify import Verdict

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
        self._outages = OutageLog(name)
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
        self._outages.note(
            verdict.error if verdict.handling is Handling.RETRY else None,
            now,
            is_held=self.breaker.held_since is not None,
        )
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
