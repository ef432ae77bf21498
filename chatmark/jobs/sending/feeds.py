"""Units on their way to the sender: in batches, compared with the server, or from a pipe."""

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from typing import Any, BinaryIO, Final, TypeVar, final

from chatmark import MarkedConversation, MarkResult, RefusedError
from chatmark.jobs.grouping import Unit, parts_of
from chatmark.jobs.sending.accounts import UnitOutcome
from chatmark.jobs.sending.sender import Sender
from chatmark.jobs.sending.undo import UndoFile
from chatmark.jobs.server import Found
from chatmark.jobs.sources.files import ChangeFile, ChangeFiles
from chatmark.jobs.sources.row import FileError, Row, RowError, set_aside_row

T = TypeVar("T")

# Rows of a pipe that are read ahead.
_MOST_WAITING: Final = 10_000
# Seconds from one time that rows of an undo reach the disk to the next.
_SYNCED_EVERY: Final = 0.05


async def batches_of(units: Iterable[Unit]) -> AsyncGenerator[list[Unit]]:
    """Yield the units of one user together, as many as a request holds."""
    for batch in parts_of(units):
        yield batch


async def batches_to_send(
    reading: AsyncGenerator[list[tuple[Unit, Found]]],
    is_to_send: Callable[[Unit, Found], bool],
    undo: UndoFile | None,
) -> AsyncGenerator[list[Unit]]:
    """Yield the units of one user together that are to be sent, behind the rows of *undo*."""
    waiting: list[Unit] = []
    synced = time.monotonic()
    async with contextlib.aclosing(reading):
        async for part in reading:
            waiting += [unit for unit, found in part if is_to_send(unit, found)]
            if undo is not None:
                if not waiting or time.monotonic() - synced < _SYNCED_EVERY:
                    continue
                await asyncio.to_thread(undo.sync)
                synced = time.monotonic()
            batches = [*parts_of(waiting)]
            waiting = []
            # The next answer may fill a batch of the same user. Other users may have nothing to
            # send for hours.
            if batches and _account(batches[-1][0]) == _account(part[0][0]):
                waiting = batches.pop()
            for batch in batches:
                yield batch
    if undo is not None:
        await asyncio.to_thread(undo.sync)
    for batch in parts_of(waiting):
        yield batch


def _account(unit: Unit) -> str:
    return unit.change.from_account


def is_to_send(
    sender: Sender, undo: UndoFile | None, skip_unchanged: bool, unit: Unit, found: Found
) -> bool:
    """
    Return whether a unit is to be sent; enter it otherwise.

    With *undo*, which gets the row that brings back what is there, a unit that cannot be read is
    not to be sent.
    """
    if isinstance(found, MarkedConversation):
        if skip_unchanged and found.satisfies(unit.change):
            result = MarkResult(unit.change, 0, "unchanged", 0, sent=False)
            sender.enter(unit, UnitOutcome.UNCHANGED, result)
            return False
        if undo is not None:
            undo.add(unit.change, found)
    elif undo is not None:
        if not isinstance(found, RefusedError):
            raise found
        # A user is read, not a conversation.
        found.names_peer = False
        result = MarkResult(unit.change, found.code, found.info, 0, found, sent=False)
        sender.enter(unit, UnitOutcome.REJECTED, result)
        return False
    return True


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
        # Rows are those that were read, the bad ones that were set aside among them.
        self.rows = self.changes = self.bad = 0
        self.error: RowError | None = None

    async def batches(
        self, set_aside: Callable[[dict[str, Any]], object]
    ) -> AsyncGenerator[list[Unit]]:
        """Yield each unit by itself; *set_aside* gets a note on each row that is."""
        async with contextlib.aclosing(_read_ahead(self._source)) as rows:
            async for row in rows:
                if isinstance(row, Row):
                    self.rows += 1
                    for change in row.changes:
                        self.changes += 1
                        yield [Unit(self.changes - 1, change, 1, row.line)]
                elif self.bad >= self._max_errors or isinstance(row, FileError):
                    self.error = row
                    return
                else:
                    self.rows += 1
                    self.bad += 1
                    set_aside(set_aside_row(row))


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
