"""
Admission: how many changes a session holds, and the callers that wait for room.

This is the only place that knows back-pressure. A caller *reserves* room for a change, and room is
*released* when changes have their outcome. Bulk feeds also wait while enough full requests are
queued: more rows would only be memory, and pauses of the garbage collector.
"""

import asyncio
import collections
from collections.abc import Callable
from typing import Final

from chatmark.core.engine import Engine
from chatmark.errors import ChatmarkError

# Full requests of bulk jobs that are queued for each request that may be in flight.
_QUEUED: Final = 2


class Admission:
    """
    Bounds the changes without an outcome. Bound to the running loop.

    Args:
        engine: Holds the changes.
        max_pending: The most changes without an outcome.
        on_wait: Called when a caller begins to wait.
    """

    def __init__(self, engine: Engine, max_pending: int, on_wait: Callable[[], None]) -> None:
        self.max_pending = max_pending
        self._engine = engine
        self._on_wait = on_wait
        self._loop = asyncio.get_running_loop()
        # Callers that wait, and room that is reserved for callers which have not submitted yet.
        self._waiting: collections.OrderedDict[asyncio.Future[None], None] = (
            collections.OrderedDict()
        )
        self._reserved = 0
        # Set while feeds are to read on.
        self._demand = asyncio.Event()
        self._demand.set()
        self._ended: ChatmarkError | None = None

    def check(self) -> None:
        """Raise if the session takes no more changes."""
        if self._ended is not None:
            raise self._ended.fresh()

    def room(self) -> int:
        """Return how many changes may be accepted at once, 0 where other callers wait already."""
        self.check()
        return 0 if self._waiting or self._reserved else max(0, self._free())

    async def reserve(self) -> None:
        """Wait for room for one change, first come, first served; submit it at once."""
        future = self._loop.create_future()
        self._waiting[future] = None
        self._on_wait()
        try:
            await future
        except BaseException:
            self._waiting.pop(future, None)
            if future.done() and not future.cancelled() and future.exception() is None:
                # The caller was cancelled together with its turn: the next one takes the room.
                self._reserved -= 1
                self.release()
            raise
        self._reserved -= 1
        self.check()

    def accepted(self) -> None:
        self._engine.scheduler.is_full = self._free() <= 0
        if self._demand.is_set() and self._has_enough():
            self._demand.clear()

    def release(self) -> None:
        """Note that changes have their outcome: reserve the room for callers that wait."""
        self.look_at_demand()
        free = self._free()
        while free > 0 and self._waiting:
            future = self._waiting.popitem(last=False)[0]
            if not future.done():
                future.set_result(None)
                self._reserved += 1
                free -= 1
        self._engine.scheduler.is_full = self._free() <= 0

    @property
    def has_demand(self) -> bool:
        """Whether feeds are to read on: not enough full requests are queued."""
        return self._demand.is_set()

    def look_at_demand(self) -> None:
        """Let feeds read on if requests were taken from the queue."""
        if not (self._demand.is_set() or self._has_enough()):
            self._demand.set()

    async def wait_for_demand(self) -> None:
        """Wait while enough full requests are queued."""
        while not self._demand.is_set():
            self.check()
            await self._demand.wait()

    def end(self, error: ChatmarkError) -> None:
        """Take no more changes; callers that wait get the error."""
        if self._ended is None:
            self._ended = error
        self._demand.set()
        while self._waiting:
            future = self._waiting.popitem(last=False)[0]
            if not future.done():
                future.set_exception(error.fresh())

    def _free(self) -> int:
        return self.max_pending - self._engine.ledger.pending - self._reserved

    def _has_enough(self) -> bool:
        queued = _QUEUED * self._engine.concurrency.limit
        return self._engine.scheduler.has_full(queued)
