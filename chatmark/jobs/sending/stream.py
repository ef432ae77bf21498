"""Rows of a pipe for a running session: sent as they come, before the last of them is there."""

import asyncio
import concurrent.futures
import contextlib
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, BinaryIO, Final, TypeVar, final

from chatmark.jobs.grouping import Unit
from chatmark.jobs.sources.files import ChangeFile, ChangeFiles
from chatmark.jobs.sources.row import FileError, Row, RowError, set_aside_row

T = TypeVar("T")

_MOST_WAITING: Final = 10_000


@final
class ChangeStream:
    """
    The units of a stream: each change is one, because later changes are not known yet.

    One bad row more than *max_errors* ends it, with that row as its error.
    """

    def __init__(
        self, file: ChangeFile | ChangeFiles, stream: BinaryIO, *, max_errors: int = 0
    ) -> None:
        self.name = file.name
        self._source = file.read(stream)
        self._max_errors = max_errors
        # Called with a note on each row that is set aside.
        self.set_aside: Callable[[dict[str, Any]], object] = bool
        # Rows are those that were read, the bad ones that were set aside among them.
        self.rows = self.changes = self.bad = 0
        self.error: RowError | None = None

    async def units(self) -> AsyncGenerator[Unit]:
        async with contextlib.aclosing(_read_ahead(self._source)) as rows:
            async for row in rows:
                if isinstance(row, Row):
                    self.rows += 1
                    for change in row.changes:
                        self.changes += 1
                        yield Unit(self.changes - 1, change, 1, row.line)
                elif self.bad >= self._max_errors or isinstance(row, FileError):
                    self.error = row
                    return
                else:
                    self.rows += 1
                    self.bad += 1
                    self.set_aside(set_aside_row(row))


async def _read_ahead(source: Iterator[T]) -> AsyncGenerator[T]:
    """Yield the items of a source that a thread reads, some ahead."""
    loop, wake = asyncio.get_running_loop(), asyncio.Event()
    ready: deque[T] = deque()
    room = threading.Semaphore(_MOST_WAITING)
    ended: concurrent.futures.Future[None] = concurrent.futures.Future()
    is_closed = False

    def rouse() -> None:
        # The loop may be closed before a line comes.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(wake.set)

    def read() -> None:
        try:
            for item in source:
                room.acquire()
                if is_closed:
                    return
                ready.append(item)
                # Otherwise the loop has not come to the item before yet.
                if len(ready) <= 1:
                    rouse()
            ended.set_result(None)
        except Exception as error:  # noqa: BLE001 - raised where the items are awaited.
            ended.set_exception(error)
        rouse()

    # A read that never ends must not keep the process from ending: the thread is a daemon.
    threading.Thread(target=read, name="chatmark-stream", daemon=True).start()
    try:
        while not ended.done() or ready:
            wake.clear()
            while ready:
                yield ready.popleft()
                room.release()
            if not ended.done():
                await wake.wait()
        ended.result()
    finally:
        is_closed = True
        room.release()
