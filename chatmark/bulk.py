"""
Many changes at once: read no faster than they can be sent, and told apart from single marks.

While a job reads its rows, lanes that hold only its rows wait until they are full, so that rows
which are scattered over many users still fill requests. A job that waits, for a slow source or a
slow consumer, lets them go.
"""

import asyncio
import collections
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from typing import Final

from chatmark.dispatch import Dispatcher
from chatmark.entries import WITHDRAWN, Entry
from chatmark.errors import InputError
from chatmark.models import MarkChange, MarkResult

Changes = Iterable[MarkChange] | AsyncIterable[MarkChange]

# Rows of a plain iterable that are read before requests get their turn.
_ROWS_A_TURN: Final = 250
# A source that gives no row for so many seconds is slow: what was read is sent.
_SLOW: Final = 0.05
_MOST_FAILURES: Final = 1000


class _Row(Entry):
    __slots__ = ("job",)

    def __init__(self, change: MarkChange, job: "_Job") -> None:
        super().__init__(change, bulk=True)
        self.job = job

    def wake(self) -> None:
        self.job.settled(self)


class _Job(ABC):
    """
    Reads changes in a task of its own and submits them.
    """

    def __init__(self, dispatcher: Dispatcher, changes: Changes) -> None:
        self._dispatcher = dispatcher
        self._changes = changes
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._space = asyncio.Event()
        self._unsettled: int = 0
        self._rows_read = 0
        self._rows_seen = -1
        self._is_reading = False
        self._watch = self._loop.call_later(_SLOW, self._look)
        self._reader = self._loop.create_task(self._read_all(), name="chatmark-reader")
        self._reader.add_done_callback(self._reading_ended)

    @abstractmethod
    def settled(self, row: _Row) -> None:
        """
        Take note of a row that has its outcome; raise nothing.
        """

    def submitting(self, row: _Row) -> None:  # noqa: B027 - not every job keeps its rows.
        """
        Take note of a row that is about to be submitted.
        """

    def not_submitted(self, row: _Row) -> None:  # noqa: B027
        """
        Take note that the row was not accepted after all.
        """

    def has_space(self) -> bool:
        """
        Whether to read on.
        """
        return True

    async def aclose(self) -> None:
        """
        Stop reading, and withdraw what was read and not sent.
        """
        self._reader.cancel()
        try:
            await asyncio.wait([self._reader])
        finally:
            # Whoever closes it may be cancelled once more.
            if self._unsettled:
                dispatcher = self._dispatcher
                waiting = dispatcher.lanes.waiting()
                dispatcher.withdraw_all(
                    [row for row in waiting if isinstance(row, _Row) and row.job is self]
                )

    def is_over(self) -> bool:
        """
        Whether all is read, and all that was read has its outcome.
        """
        return self._reader.done() and self._unsettled == 0

    async def _read_all(self) -> None:
        try:
            # A loop with eager tasks runs this before the job is whole.
            await asyncio.sleep(0)
            if isinstance(self._changes, AsyncIterable):
                async for change in self._changes:
                    await self._submit(change)
            else:
                for change in self._changes:
                    await self._submit(change)
                    if self._rows_read % _ROWS_A_TURN == 0:
                        await asyncio.sleep(0)
        finally:
            self._watch.cancel()
            self._set_reading(reading=False)

    def _reading_ended(self, reader: asyncio.Task[None]) -> None:
        if not reader.cancelled():
            # Whoever waits for the job raises it; when nobody does any more it is no news.
            reader.exception()
        self._news.set()

    async def _submit(self, change: MarkChange) -> None:
        if not isinstance(change, MarkChange):
            raise InputError("changes", "holds something that is no MarkChange", change)
        self._rows_read += 1
        while not self.has_space():
            self._set_reading(reading=False)
            self._space.clear()
            await self._space.wait()
        self._set_reading(reading=True)
        row = _Row(change, self)
        self._unsettled += 1
        self.submitting(row)
        try:
            if not self._dispatcher.try_admit(row):
                await self._dispatcher.admit(row)
        except BaseException:
            self._unsettled -= 1
            self.not_submitted(row)
            raise

    def _look(self) -> None:
        if self._rows_seen == self._rows_read:
            self._set_reading(reading=False)
        self._rows_seen = self._rows_read
        self._watch = self._loop.call_later(_SLOW, self._look)

    def _set_reading(self, *, reading: bool) -> None:
        if reading != self._is_reading:
            self._is_reading = reading
            self._dispatcher.lanes.readers += 1 if reading else -1
            self._dispatcher.wake()


class Stream(_Job):
    """
    Gives the result of each change.

    Args:
        dispatcher: Where the changes go.
        changes: What is read.
        ordered: Whether results come in the order of the changes, else as they settle.
    """

    def __init__(self, dispatcher: Dispatcher, changes: Changes, *, ordered: bool) -> None:
        self._ordered = ordered
        self._rows: collections.deque[_Row] = collections.deque()
        super().__init__(dispatcher, changes)

    def submitting(self, row: _Row) -> None:
        """
        Keep the place of a row.
        """
        if self._ordered:
            self._rows.append(row)

    def not_submitted(self, row: _Row) -> None:
        """
        Give up the place of a row.
        """
        if self._ordered:
            self._rows.remove(row)

    def has_space(self) -> bool:
        """
        Whether to read on: results that nobody took yet count, too.
        """
        held = len(self._rows) if self._ordered else len(self._rows) + self._unsettled
        return held < self._dispatcher.max_pending

    def settled(self, row: _Row) -> None:
        """
        Pass a result on.
        """
        self._unsettled -= 1
        if not self._ordered:
            self._rows.append(row)
        self._news.set()

    async def results(self) -> AsyncGenerator[MarkResult, None]:
        """
        Yield each result; raise at the end what the source raised.
        """
        try:
            while not (self.is_over() and not self._rows):
                self._news.clear()
                while self._rows and self._rows[0].outcome is not None:
                    row = self._rows.popleft()
                    self._space.set()
                    yield row.result
                if not (self.is_over() and not self._rows):
                    await self._news.wait()
            self._reader.result()
        finally:
            await self.aclose()


class Tally(_Job):
    """
    Counts what became of many changes.

    Args:
        dispatcher: Where the changes go.
        changes: What is read.
        on_result: Called with each result; what it raises ends the job.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        changes: Changes,
        on_result: Callable[[MarkResult], None] | None,
    ) -> None:
        self._on_result = on_result
        self._error: BaseException | None = None
        self.succeeded = 0
        self.failed = 0
        self.withdrawn = 0
        self.failures: list[MarkResult] = []
        self.failures_by_code: collections.Counter[int | None] = collections.Counter()
        super().__init__(dispatcher, changes)

    def settled(self, row: _Row) -> None:
        """
        Count a result.
        """
        self._unsettled -= 1
        outcome = row.outcome
        if outcome is WITHDRAWN:
            self.withdrawn += 1
        elif outcome is not None and outcome.error is not None:
            self.failed += 1
            self.failures_by_code[outcome.code] += 1
            if len(self.failures) < _MOST_FAILURES:
                self.failures.append(row.result)
        else:
            self.succeeded += 1
        if self._on_result is not None and self._error is None:
            try:
                self._on_result(row.result)
            except BaseException as error:  # noqa: BLE001 - it is raised where apply is awaited.
                self._error = error
        if self._error is not None or self.is_over():
            self._news.set()

    async def wait(self) -> None:
        """
        Wait for the end; raise what the source or *on_result* raised.
        """
        try:
            while self._error is None and not self.is_over():
                self._news.clear()
                await self._news.wait()
            if self._error is not None:
                raise self._error
            self._reader.result()
        finally:
            await self.aclose()
