"""
Units on their way to the sender: in batches, from a pipe as they come, behind the rows of an undo.

The rows that bring back what a job replaces are on the disk before the job replaces it. A row
restores those bits that the change inverts, and the custom mark that it replaces. A job that
continues appends to the rows of its earlier runs: of two rows for one conversation the later one
was written because the change of the earlier one had not taken effect.
"""

import asyncio
import concurrent.futures
import contextlib
import json
import os
import pathlib
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from typing import Any, BinaryIO, Final, TypeVar, final

from chatmark import InputError, MarkChange, MarkedConversation
from chatmark.jobs.grouping import Unit, parts_of
from chatmark.jobs.output_files import open_owned, sync_directory
from chatmark.jobs.sources.files import ChangeFile, ChangeFiles, naming
from chatmark.jobs.sources.formats import MAX_LINE_BYTES, FileFormat, compression_of, format_of
from chatmark.jobs.sources.row import FileError, Row, RowError, row_of, set_aside_row
from chatmark.limits import MAX_ITEMS

T = TypeVar("T")

# Rows of a pipe that are read ahead.
_MOST_WAITING: Final = 10_000
# Units that wait for the disk together, and seconds from one time to the next.
_MOST_HELD: Final = 1_000
_SYNCED_EVERY: Final = 0.05


async def batches_of(units: Iterable[Unit]) -> AsyncGenerator[list[Unit]]:
    """Yield the units of one user together, as many as a request holds."""
    for batch in parts_of(units):
        yield batch


async def batches_as_read(
    units: AsyncGenerator[Unit | None], most: int = MAX_ITEMS
) -> AsyncGenerator[list[Unit]]:
    """Yield *most* units of one user together; None ends a batch, as the next may take long."""
    batch: list[Unit] = []
    async with contextlib.aclosing(units):
        async for unit in units:
            if batch and (unit is None or batch[0].change.from_account != unit.change.from_account):
                yield batch
                batch = []
            if unit is not None:
                batch.append(unit)
            if len(batch) >= most:
                yield batch
                batch = []
    if batch:
        yield batch


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


def undo_of(change: MarkChange, found: MarkedConversation) -> MarkChange | None:
    """Return the change that brings back what *change* replaces, None if it replaces nothing."""
    set_mark = change.clear_mark & found.mark
    clear_mark = change.set_mark & ~found.mark
    is_custom_kept = change.custom_mark in (None, found.custom_mark)
    if is_custom_kept and not (set_mark or clear_mark):
        return None
    return MarkChange(
        change.from_account,
        change.conversation,
        set_mark,
        clear_mark,
        None if is_custom_kept else found.custom_mark,
        allow_reserved=change.allow_reserved,
    )


@final
class UndoFile(contextlib.AbstractContextManager["UndoFile"]):
    """
    The file of these rows, which earlier runs may have begun, or need because they sent something.

    Raises:
        InputError: It holds the rows of another job, is missing, or is no file of JSON Lines.
        OSError: It cannot be written.
    """

    def __init__(self, path: str, *, is_begun: bool = False, is_needed: bool = False) -> None:
        format_of(path, (FileFormat.JSON_LINES,), is_output=True)
        if compression_of(path) is not None:
            raise InputError("undo", "must be a file of JSON Lines, not compressed", path)
        exists = os.path.lexists(path)
        if exists and not is_begun:
            reason = "is there, and may have what an earlier job replaced: give another name"
            raise InputError("undo", reason, path)
        if is_needed and not exists:
            raise InputError("undo", "is missing, and had what earlier runs replaced", path)
        self.path = path
        self._file = open_owned(pathlib.Path(path))
        # A killed process may have left half a row, whose change was not sent.
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(0, size - MAX_LINE_BYTES))
        cut = self._file.read().rpartition(b"\n")[2]
        self._file.seek(size - len(cut))
        self._file.truncate()
        sync_directory(pathlib.Path(path))

    def __exit__(self, *_: object) -> None:
        # What is not written yet belongs to changes that were not sent.
        with contextlib.suppress(OSError):
            self._file.close()

    def kept(self, *, is_needed: bool) -> str | None:
        """Return the path; None if the file is empty and not needed, and was removed."""
        # Rows that are not flushed yet count.
        if is_needed or self._file.tell():
            return self.path
        # The same command would be refused for a file that brings nothing back.
        self._file.close()
        with contextlib.suppress(OSError):
            pathlib.Path(self.path).unlink()
        return None

    def add(self, change: MarkChange, found: MarkedConversation) -> None:
        undo = undo_of(change, found)
        if undo is not None:
            with naming(self.path):
                self._file.write(json.dumps(row_of(undo)).encode() + b"\n")

    def sync(self) -> None:
        with naming(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())


async def synced(undo: UndoFile, units: AsyncGenerator[Unit | None]) -> AsyncGenerator[Unit | None]:
    """Yield the units as they come, some hundred together, when their rows are on the disk."""
    held: list[Unit | None] = []
    at = time.monotonic()
    async with contextlib.aclosing(units):
        async for unit in units:
            held.append(unit)
            is_late = unit is None and time.monotonic() - at >= _SYNCED_EVERY
            if is_late or len(held) >= _MOST_HELD:
                await asyncio.to_thread(undo.sync)
                at = time.monotonic()
                for each in held:
                    yield each
                held.clear()
    await asyncio.to_thread(undo.sync)
    for each in held:
        yield each
