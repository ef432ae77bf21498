"""
Rows of a pipe for a running session: taken as they come, and sent before the last of them is there.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any, BinaryIO, Final, Generic, TypeVar, final

from chatmark.jobs.grouping.units import Unit
from chatmark.jobs.sources.files import ChangeFile
from chatmark.jobs.sources.row import FileError, Row, RowError, set_aside_row

T = TypeVar("T")

_MOST_WAITING: Final = 10_000


@final
class ChangeStream:
    """
    The units of a stream: each change is one, because later changes are not known yet.

    Args:
        file: Its name, and how it is read.
        stream: The open stream.
        max_errors: How many bad rows are set aside; one more is the end of it.

    Attributes:
        set_aside: Called with a note on each row that is set aside.
        rows: How many rows have been read, those that were set aside among them.
        changes: How many changes were in the others.
        bad: How many rows were set aside.
        error: The bad row that ended it, if one did.
    """

    def __init__(self, file: ChangeFile, stream: BinaryIO, *, max_errors: int = 0) -> None:
        self._file = file
        self._stream = stream
        self._max_errors = max_errors
        self.set_aside: Callable[[dict[str, Any]], object] = bool
        self.rows = 0
        self.changes = 0
        self.bad = 0
        self.error: RowError | None = None

    @property
    def name(self) -> str:
        """The name in messages."""
        return self._file.name

    async def units(self) -> AsyncGenerator[Unit]:
        """Yield each change as it comes."""
        async with contextlib.aclosing(_from_thread(self._file.read(self._stream))) as rows:
            async for row in rows:
                if isinstance(row, Row):
                    self.rows += 1
                    for change in row.changes:
                        self.changes += 1
                        yield Unit(self.changes - 1, change, 1, row.line, contradicts=False)
                elif self.bad >= self._max_errors or isinstance(row, FileError):
                    self.error = row
                    return
                else:
                    self.rows += 1
                    self.bad += 1
                    self.set_aside(set_aside_row(row))


async def _from_thread(items: Iterator[T]) -> AsyncGenerator[T]:
    """Yield items that may be long in coming, which a thread waits for."""
    pump = _Pump(items, asyncio.get_running_loop())
    # A read that never ends must not keep the process from ending: the thread is a daemon.
    threading.Thread(target=pump.run, name="chatmark-stream", daemon=True).start()
    try:
        async for item in pump:
            yield item
    finally:
        pump.stop()


@final
class _Pump(Generic[T]):
    """
    A bounded queue from a thread to an event loop, which is woken only when it has nothing to do.
    """

    def __init__(self, items: Iterator[T], loop: asyncio.AbstractEventLoop) -> None:
        self._items = items
        self._loop = loop
        self._wake = asyncio.Event()
        self._changed = threading.Condition()
        # The condition guards all of these.
        self._ready: deque[T] = deque()
        self._idle = False
        self._done = False
        self._error: Exception | None = None

    def run(self) -> None:
        error: Exception | None = None
        try:
            for item in self._items:
                with self._changed:
                    while len(self._ready) >= _MOST_WAITING and not self._done:
                        self._changed.wait()
                    if self._done:
                        return
                    self._ready.append(item)
                    self._rouse()
        except Exception as caught:  # noqa: BLE001 - raised where the items are awaited.
            error = caught
        with self._changed:
            self._error, self._done = error, True
            self._rouse()

    def stop(self) -> None:
        with self._changed:
            self._done = True
            self._changed.notify()

    def _rouse(self) -> None:
        if self._idle:
            self._idle = False
            # The loop may be gone by the time that a line comes.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._wake.set)

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            self._wake.clear()
            with self._changed:
                batch = list(self._ready)
                self._ready.clear()
                self._idle = not batch
                self._changed.notify()
                done, error = self._done, self._error
            for item in batch:
                yield item
            if batch:
                continue
            if done:
                if error is not None:
                    raise error
                return
            await self._wake.wait()
