"""Calls beside the requests of marks: paced, held back in an outage, and repeated."""

import asyncio
import functools
import itertools
from collections.abc import Callable
from typing import Final, TypeVar

from chatmark.codes import Handling
from chatmark.commands import Command
from chatmark.core.deadlines import Timed
from chatmark.errors import ChatmarkError
from chatmark.failures import AnswerError, DeadlineExceededError
from chatmark.http.client import ApiClient
from chatmark.session.call_gate import CallGate
from chatmark.session.suspension import suspended_for
from chatmark.wire.classify import Verdict, classify
from chatmark.wire.messages import Envelope

E = TypeVar("E", bound=Envelope)

#: Calls that ended so may be made again.
AGAIN: Final = frozenset((Handling.RETRY, Handling.SLOW_DOWN, Handling.RENEW_SIGNATURE))


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
        command: Command,
        account: str,
        items: int,
        body: bytes,
        kind: type[E],
        timed: Timed | None = None,
        may_repeat: Callable[[Verdict[E]], bool] = lambda _: True,
    ) -> Verdict[E]:
        """
        Return the verdict on a call that is not to be repeated.

        Args:
            command: The call.
            account: The From_Account.
            items: How many conversations it names.
            body: The body that is sent.
            kind: The answer.
            timed: Its deadline, if that has begun to run with another call.
            may_repeat: Is told each verdict, and says whether the same call may be made again.

        Raises:
            DeadlineExceededError: It was tried until the deadline.
        """
        timed = timed or Timed(asyncio.get_running_loop().time())
        for retry in itertools.count(1):
            verdict = await self._attempt(command, account, items, body, kind, timed)
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

    async def _attempt(
        self,
        command: Command,
        account: str,
        items: int,
        body: bytes,
        kind: type[E],
        timed: Timed,
    ) -> Verdict[E]:
        meaning = functools.partial(classify, kind=kind)
        loop = asyncio.get_running_loop()
        gate, budget = self._gates[command], self._client.budget_of(command)
        async with gate.turn(budget, timed) as permit:
            sent_at = loop.time()
            verdict = await self._client.call(command, account, items, body, meaning, permit)
            pause = gate.learn(verdict, sent_at, loop.time())
        timed.extend_deadline(suspended_for(loop.time() - sent_at, self._client.longest_attempt))
        if pause:
            self._client.pause(command, pause, verdict.reason)
        return verdict


def error_of(verdict: Verdict[E]) -> ChatmarkError:
    return (verdict.error or AnswerError("no answer")).fresh()
