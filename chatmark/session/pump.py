"""
The pump: one task that takes requests when they may be sent, and starts a task for each.

Everything that ends by time is a timer that only wakes the pump, so that cancelling a timer or a
waiter never cancels a request.
"""

import asyncio
import collections
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from chatmark.core.engine import Engine
from chatmark.core.request import Request
from chatmark.pacing.budget import Budget, CallOutcome, Permit

# Seconds that ending waits for cancelled tasks: a caller's own transport may resist.
_FAREWELL: Final = 1.0


class Pump:
    """
    Takes requests of an engine when they may be sent. Bound to the running loop.

    Args:
        engine: Decides on changes and requests.
        budget: Allows calls.
        carry: Makes the call of a request and settles it.
        on_take: Called when the engine was asked for a request.
        on_death: Called with what ended one of the tasks.
    """

    def __init__(
        self,
        engine: Engine,
        budget: Budget,
        carry: Callable[[Request, Permit], Awaitable[None]],
        *,
        on_take: Callable[[], None],
        on_death: Callable[[BaseException], None],
    ) -> None:
        self._engine = engine
        self._budget = budget
        self._carry = carry
        self._on_take = on_take
        self._on_death = on_death
        self._loop = asyncio.get_running_loop()
        # A request of many callers belongs to the trace of none of them.
        self._context = contextvars.copy_context()
        self._wakeup = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        # Of requests whose task has not begun, and never does if it is cancelled now.
        self._not_begun: collections.deque[Permit] = collections.deque()
        self._is_running = False
        self.is_stopped = False

    def wake(self) -> None:
        """Look again at what may be sent."""
        self._wakeup.set()
        if not (self._is_running or self.is_stopped):
            self._is_running = True
            self._context.run(self._start, self._run(), "chatmark-pump")

    def stop(self) -> None:
        """Send nothing more, and break off what is in flight."""
        self.is_stopped = True
        for task in self._tasks:
            task.cancel()
        while self._not_begun:
            self._not_begun.popleft().done(CallOutcome.UNUSED)

    async def end(self) -> None:
        """Wait until all tasks have ended, a second for tasks that resist cancellation."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_FAREWELL)

    async def _run(self) -> None:
        # A loop with eager tasks runs this inside the first of the changes that come together.
        await asyncio.sleep(0)
        while not self.is_stopped:
            self._wakeup.clear()
            now = self._loop.time()
            if not self._engine.has_ready(now):
                await self._sleep(self._engine.wake_at(now))
                continue
            permit = await self._budget.acquire()
            # The request is taken at the last moment: lanes fill while the pace is the limit.
            request = self._engine.take(self._loop.time())
            self._on_take()
            if request is None:
                permit.done(CallOutcome.UNUSED)
                continue
            self._not_begun.append(permit)
            self._start(self._send(request, permit), "chatmark-request")
            # Handles that no caller holds any more go with their request.
            del request, permit

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_end)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self.is_stopped:
            return
        cause = asyncio.CancelledError() if task.cancelled() else task.exception()
        if cause is None:
            self._wakeup.set()
        else:
            self._on_death(cause)

    async def _send(self, request: Request, permit: Permit) -> None:
        # Tasks begin in the order in which they were made.
        self._not_begun.popleft()
        await self._carry(request, permit)

    async def _sleep(self, until: float | None) -> None:
        timer = None if until is None else self._loop.call_at(until, self._wakeup.set)
        try:
            await self._wakeup.wait()
        finally:
            if timer is not None:
                timer.cancel()
