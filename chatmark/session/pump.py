"""
The tasks that send: a few that take turns in deciding, none for a change.

One of them leads: it waits until a request may go, takes it, and carries it itself, so that a
request passes from nobody to nobody. Where more than one may go at once it hands them out to others
and leads on. Whoever is back from a request leads on where nobody does, and ends where somebody
does.

Everything that has an end in time is a timer that only wakes who leads, so that cancelling a timer
or a waiter never cancels a request.
"""

import asyncio
import collections
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from chatmark.core.engine import Lanes
from chatmark.core.request import Batch
from chatmark.pacing.budget import Budget, Permit

# Seconds that ending waits for tasks that it cancelled; somebody's transport may not let itself be.
_FAREWELL: Final = 1.0


class Senders:
    """
    Takes requests from lanes when they may be sent, and has them carried. Bound to a running loop.

    Args:
        lanes: What decides.
        budget: What allows calls.
        carry: Makes the call of a request and sees to what comes of it.
        on_take: Called when the lanes were asked for a request.
        on_death: Called with what killed one of the tasks.
    """

    def __init__(
        self,
        lanes: Lanes,
        budget: Budget,
        carry: Callable[[Batch, Permit], Awaitable[None]],
        *,
        on_take: Callable[[], None],
        on_death: Callable[[BaseException], None],
    ) -> None:
        self._lanes = lanes
        self._budget = budget
        self._carry = carry
        self._on_take = on_take
        self._on_death = on_death
        self._loop = asyncio.get_running_loop()
        # What is sent for many belongs to the trace of none of them.
        self._context = contextvars.copy_context()
        self._wakeup = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        # Whether one of them leads; the others have a request in flight.
        self._is_led = False
        self._in_flight = 0
        # Requests that were handed out to tasks which have not begun, and may never.
        self._handed_out: collections.deque[tuple[Batch, Permit]] = collections.deque()
        self.is_stopped = False

    def wake(self) -> None:
        """
        Let it be looked again at what may be sent.
        """
        self._wakeup.set()
        self._appoint()

    def stop(self) -> None:
        """
        Send nothing more, and break off what is in flight.
        """
        self.is_stopped = True
        for task in self._tasks:
            task.cancel()
        # Who is cancelled before it begins does nothing, and gives no permit back.
        while self._handed_out:
            self._handed_out.popleft()[1].unused()

    async def end(self) -> None:
        """
        Wait until all tasks have ended, but not for those that do not let themselves be cancelled.
        """
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_FAREWELL)

    def _appoint(self) -> None:
        """
        Let a new task lead, where none does and a request could be sent.
        """
        if not (self._is_led or self.is_stopped) and self._in_flight < self._lanes.concurrency.most:
            self._is_led = True
            self._start(self._lead(), "chatmark-sender")

    def _start(self, sending: Coroutine[Any, Any, None], name: str) -> None:
        task = self._context.copy().run(self._loop.create_task, sending, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_end)

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self.is_stopped:
            return
        cause = asyncio.CancelledError() if task.cancelled() else task.exception()
        if cause is None:
            self.wake()
        else:
            self._on_death(cause)

    async def _lead(self) -> None:
        if asyncio.current_task() not in self._tasks:
            # A loop with eager tasks runs this inside the first of the changes that come together.
            await asyncio.sleep(0)
        hands_out = False
        while not self.is_stopped:
            self._wakeup.clear()
            now = self._loop.time()
            if not self._lanes.has_ready(now):
                hands_out = False
                await self._sleep(self._lanes.wake_at(now))
                continue
            batch, permit = await self._take()
            if batch is None:
                permit.unused()
                continue
            self._in_flight += 1
            now = self._loop.time()
            is_free = self._in_flight < self._lanes.concurrency.most
            if hands_out or (is_free and self._lanes.has_ready(now)):
                # From the first to the last, so that requests start in the order of their turns.
                hands_out = True
                self._handed_out.append((batch, permit))
                self._start(self._send_next(), "chatmark-request")
                if is_free:
                    continue
                break
            self._is_led = False
            if self._lanes.wake_at(now) is not None:
                self._appoint()
            await self._send(batch, permit)
            # Handles that nobody holds any more go now, not with the next request.
            del batch, permit
            if self._is_led:
                return
            self._is_led = True
            # A transport may have its answers at once: others get their turn all the same.
            await asyncio.sleep(0)
        self._is_led = False

    async def _sleep(self, until: float | None) -> None:
        timer = None if until is None else self._loop.call_at(until, self._wakeup.set)
        try:
            await self._wakeup.wait()
        finally:
            if timer is not None:
                timer.cancel()

    async def _take(self) -> tuple[Batch | None, Permit]:
        permit = await self._budget.acquire()
        # What to send is decided at the last moment: lanes fill while the pace is the limit.
        batch = self._lanes.take(self._loop.time())
        self._on_take()
        return batch, permit

    async def _send_next(self) -> None:
        await self._send(*self._handed_out.popleft())

    async def _send(self, batch: Batch, permit: Permit) -> None:
        try:
            await self._carry(batch, permit)
        finally:
            self._in_flight -= 1
