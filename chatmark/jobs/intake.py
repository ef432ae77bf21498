"""
Rows for a running session: pulled from a file as they are sent, or from a pipe as they come.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import BinaryIO, Final, Generic, TypeVar, final

from chatmark.jobs.files import ChangeFile
from chatmark.jobs.rows import RowError
from chatmark.models import MarkChange

T = TypeVar("T")

_MOST_WAITING: Final = 10_000
_ROWS_AT_ONCE: Final = 200


@final
class Intake:
    """
    The changes of a file for a session that sends while it is read; a bad row is the end of it.

    Args:
        file: The file.
        stream: What to read it from where it can be read only once; the file is opened otherwise.

    Attributes:
        rows: How many rows have been read.
        changes: How many changes have been handed out.
        error: The bad row that ended it, if one did.
    """

    def __init__(self, file: ChangeFile, stream: BinaryIO | None = None) -> None:
        self._file = file
        self._stream = stream
        self.rows = 0
        self.changes = 0
        self.error: RowError | None = None

    async def __aiter__(self) -> AsyncGenerator[MarkChange]:
        if self._stream is None:
            rows = _by_turns(self._file.rows())
        else:
            rows = _from_thread(self._file.read(self._stream))
        async with contextlib.aclosing(rows):
            async for row in rows:
                if isinstance(row, RowError):
                    self.error = row
                    return
                self.rows += 1
                for change in row.changes:
                    self.changes += 1
                    yield change


async def _by_turns(items: Iterator[T]) -> AsyncGenerator[T]:
    """
    Yield items that are at hand, and let the event loop have its turn between them.
    """
    for number, item in enumerate(items, 1):
        yield item
        if number % _ROWS_AT_ONCE == 0:
            await asyncio.sleep(0)


async def _from_thread(items: Iterator[T]) -> AsyncGenerator[T]:
    """
    Yield items that may be long in coming, which a thread waits for.
    """
    pump = _Pump(items, asyncio.get_running_loop())
    # A read that never ends must not keep the process from ending: the thread is a daemon.
    threading.Thread(target=pump.run, name="chatmark-intake", daemon=True).start()
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
        # All of these belong to whoever holds the condition.
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
