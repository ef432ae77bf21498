"""Rows of a pipe for a running session: sent as they come, before the last of them is there."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, BinaryIO, Final, Generic, TypeVar, final

from chatmark.jobs.grouping.units import Unit
from chatmark.jobs.sources.files import ChangeFile, ChangeFiles
from chatmark.jobs.sources.row import FileError, Row, RowError, set_aside_row

T = TypeVar("T")

_MOST_WAITING: Final = 10_000


@final
class ChangeStream:
    """
    The units of a stream: each change is one, because later changes are not known yet.

    One bad row more than *max_errors* ends it.

    Attributes:
        set_aside: Called with a note on each row that is set aside.
        rows: How many rows were read, those that were set aside among them.
        changes: How many changes were in the others.
        bad: How many rows were set aside.
        error: The bad row that ended it, if one did.
    """

    def __init__(
        self, file: ChangeFile | ChangeFiles, stream: BinaryIO, *, max_errors: int = 0
    ) -> None:
        self._file = file
        self._stream = stream
        self._max_errors = max_errors
        self.set_aside: Callable[[dict[str, Any]], object] = bool
        self.rows = self.changes = self.bad = 0
        self.error: RowError | None = None

    @property
    def name(self) -> str:
        """The name in messages."""
        return self._file.name

    async def units(self) -> AsyncGenerator[Unit]:
        """Yield each change as it comes."""
        rows = _ReadAhead(self._file.read(self._stream))
        # A read that never ends must not keep the process from ending: the thread is a daemon.
        threading.Thread(target=rows.run, name="chatmark-stream", daemon=True).start()
        async with contextlib.aclosing(rows.items()) as items:
            async for row in items:
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


@final
class _ReadAhead(Generic[T]):
    """A bounded queue from a thread to an event loop, which is woken only while it waits."""

    def __init__(self, source: Iterator[T]) -> None:
        self._source = source
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._changed = threading.Condition()
        # The condition guards all of these.
        self._ready: deque[T] = deque()
        self._is_idle = False
        self._is_done = False
        self._error: Exception | None = None

    def run(self) -> None:
        """Read the source; the thread runs this."""
        error: Exception | None = None
        try:
            for item in self._source:
                with self._changed:
                    self._changed.wait_for(
                        lambda: self._is_done or len(self._ready) < _MOST_WAITING
                    )
                    if self._is_done:
                        return
                    self._ready.append(item)
                    self._rouse()
        except Exception as caught:  # noqa: BLE001 - raised where the items are awaited.
            error = caught
        with self._changed:
            self._error, self._is_done = error, True
            self._rouse()

    def _rouse(self) -> None:
        if self._is_idle:
            self._is_idle = False
            # The loop may be closed before a line comes.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._wake.set)

    async def items(self) -> AsyncGenerator[T]:
        """Yield the items; end the thread when closed."""
        try:
            while True:
                self._wake.clear()
                with self._changed:
                    batch = list(self._ready)
                    self._ready.clear()
                    self._is_idle = not batch
                    self._changed.notify()
                    is_done, error = self._is_done, self._error
                for item in batch:
                    yield item
                if not batch and is_done:
                    break
                if not batch:
                    await self._wake.wait()
            if error is not None:
                raise error
        finally:
            with self._changed:
                self._is_done = True
                self._changed.notify()
