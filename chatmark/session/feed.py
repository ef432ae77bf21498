"""
Many changes at once: read no faster than they can be sent, and told apart from single marks.

While a job reads its rows, lanes that hold only its rows wait until they are full, so that rows
which are scattered over many users still fill requests. A job that waits, for a slow source or a
slow consumer, lets them go.
"""

import asyncio
import collections
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from typing import Final, cast

from chatmark.changes import CHANGE_EXAMPLE, MarkChange, check_source
from chatmark.core.pending import WITHDRAWN, Entry
from chatmark.errors import InputError
from chatmark.results import MarkResult
from chatmark.session.dispatcher import Dispatcher
from chatmark.session.many import Sums

Changes = (
    Iterable[MarkChange | Sequence[MarkChange]] | AsyncIterable[MarkChange | Sequence[MarkChange]]
)

# Rows of a plain iterable that are read before requests get their turn.
_ROWS_A_TURN: Final = 250
# A source that gives no row for so many seconds is slow: what was read is sent.
_SLOW: Final = 0.05


def _flattened(source: Iterable[MarkChange | Sequence[MarkChange]]) -> Iterator[MarkChange]:
    """Yield changes, one after another, of changes and sequences of changes."""
    for some in source:
        if isinstance(some, MarkChange | str) or not isinstance(some, Sequence):
            yield some
        else:
            yield from some


def _is_change(value: object) -> bool:
    return isinstance(value, MarkChange)


class _Feed(ABC):
    """Reads changes in a task of its own and submits them."""

    is_urgent = False

    def __init__(self, dispatcher: Dispatcher, changes: Changes) -> None:
        check_source("changes", changes)
        self._dispatcher = dispatcher
        self._changes = changes
        self.caller = dispatcher.hooks.caller()
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._space = asyncio.Event()
        self._unsettled: int = 0
        self._rows_read = 0
        self._rows_seen = -1
        self._is_reading = False
        self._is_waiting = False
        self._watch = self._loop.call_later(_SLOW, self._look)
        self._reader = self._loop.create_task(self._read_all(), name="chatmark-reader")
        self._reader.add_done_callback(self._reading_ended)

    @abstractmethod
    def settled(self, row: Entry) -> None:
        """Take note of a row that has its outcome; raise nothing."""

    @abstractmethod
    def confirmed(self, changes: Sequence[MarkChange]) -> None:
        """Take note of rows that took effect at their first attempt; raise nothing."""

    def accept(self, changes: Sequence[MarkChange]) -> None:
        self._dispatcher.accept_many(changes, self)

    async def admit(self, change: MarkChange) -> None:
        """Submit a row as soon as there is room."""
        await self._dispatcher.admit(Entry(change, self))

    def not_accepted(self, changes: Sequence[MarkChange]) -> None:  # noqa: B027 - few care.
        """
        Take note of rows that were read, and that the session did not take before the job ended.
        """

    def space(self) -> float:
        """How many rows may be read on, infinity where there is no limit but the session's."""
        return math.inf

    async def aclose(self) -> None:
        """Stop reading, and withdraw what was read and not sent."""
        self._reader.cancel()
        try:
            await asyncio.wait([self._reader])
        finally:
            # The task that closes it may be cancelled once more.
            if self._unsettled:
                self._dispatcher.withdraw_many(self)

    def is_over(self) -> bool:
        """Whether all is read, and all that was read has its outcome."""
        return self._reader.done() and self._unsettled == 0

    async def _read_all(self) -> None:
        try:
            # A loop with eager tasks runs this before the job is whole.
            await asyncio.sleep(0)
            if isinstance(self._changes, AsyncIterable):
                async for some in self._changes:
                    await self._submit([some])
            else:
                for changes in _by_turns(self._changes, self._turn):
                    await self._submit(changes)
                    await asyncio.sleep(0)
        finally:
            self._watch.cancel()
            self._set_reading(reading=False)

    def _reading_ended(self, reader: asyncio.Task[None]) -> None:
        if not reader.cancelled():
            # The task that waits for the job raises it; without one it is not news.
            reader.exception()
        self._news.set()

    async def _submit(self, source: Sequence[MarkChange | Sequence[MarkChange]]) -> None:
        """Submit changes, as many at once as there is room for."""
        # Of millions the types are looked at together; a subclass is as good.
        if {MarkChange} >= set(map(type, source)):
            good = changes = cast("Sequence[MarkChange]", source)
        else:
            changes = list(_flattened(source))
            good = list(itertools.takewhile(_is_change, changes))
        self._rows_read += len(changes)
        start = 0
        try:
            while start < len(good):
                await self._wait_for_space()
                room = self._dispatcher.admission.room()
                some = good[start : start + int(max(1, min(room, self.space())))]
                await self._give(some, has_room=room > 0)
                start += len(some)
                if not self._dispatcher.admission.has_demand:
                    # Another job that waits for it to read on goes first.
                    await asyncio.sleep(0)
        except BaseException:
            self.not_accepted(good[start:])
            raise
        if len(good) < len(changes):
            wrong = changes[len(good)]
            raise InputError(
                "changes", f"must hold MarkChange objects only, {CHANGE_EXAMPLE}", wrong
            )

    async def _give(self, changes: Sequence[MarkChange], *, has_room: bool) -> None:
        # Counted before they are accepted: a refused application settles them at once.
        self._unsettled += len(changes)
        try:
            if has_room:
                self.accept(changes)
            else:
                await self.admit(changes[0])
        except BaseException:
            self._unsettled -= len(changes)
            raise

    def _turn(self) -> int:
        """Return how many rows to read before requests get their turn."""
        return int(max(1, min(_ROWS_A_TURN, self.space(), self._dispatcher.admission.room())))

    async def _wait_for_space(self) -> None:
        while self.space() <= 0:
            self._set_reading(reading=False)
            self._space.clear()
            await self._space.wait()
        self._set_reading(reading=True)
        # A feed that waits here is not slow: lanes that are not full wait on.
        self._is_waiting = True
        try:
            await self._dispatcher.admission.wait_for_demand()
        finally:
            self._is_waiting = False

    def _look(self) -> None:
        if self._rows_seen == self._rows_read and not self._is_waiting:
            self._set_reading(reading=False)
        self._rows_seen = self._rows_read
        self._watch = self._loop.call_later(_SLOW, self._look)

    def _set_reading(self, *, reading: bool) -> None:
        if reading != self._is_reading:
            self._is_reading = reading
            self._dispatcher.engine.scheduler.readers += 1 if reading else -1
            self._dispatcher.wake()


def _by_turns(
    source: Iterable[MarkChange | Sequence[MarkChange]], most: Callable[[], int]
) -> Iterator[list[MarkChange | Sequence[MarkChange]]]:
    """
    Yield the elements in lists; those that came before the source raised come before its error.

    Args:
        source: The source.
        most: Returns how many changes to take next. Sequences are taken one by one.
    """
    elements = iter(source)
    # The first element shows whether the source holds changes or sequences of them.
    count = 1
    while True:
        turn: list[MarkChange | Sequence[MarkChange]] = []
        try:
            turn.extend(itertools.islice(elements, count))
        except BaseException:
            yield turn
            raise
        if not turn:
            return
        yield turn
        count = most() if isinstance(turn[-1], MarkChange) else 1


class Stream(_Feed):
    """
    Gives the result of each change.

    Args:
        dispatcher: Where the changes go.
        changes: The source.
        ordered: Whether results come in the order of the changes, else as they settle.
    """

    def __init__(self, dispatcher: Dispatcher, changes: Changes, *, ordered: bool) -> None:
        self._ordered = ordered
        # Rows in their order, where that is asked for; results as they came, where it is not.
        self._rows: collections.deque[Entry] = collections.deque()
        self._results: collections.deque[MarkResult] = collections.deque()
        super().__init__(dispatcher, changes)

    def accept(self, changes: Sequence[MarkChange]) -> None:
        if not self._ordered:
            super().accept(changes)
            return
        rows = [Entry(change, self) for change in changes]
        self._rows.extend(rows)
        self._dispatcher.accept(rows)

    async def admit(self, change: MarkChange) -> None:
        """Submit a row as soon as there is room, and keep its place."""
        if not self._ordered:
            await super().admit(change)
            return
        row = Entry(change, self)
        self._rows.append(row)
        try:
            await self._dispatcher.admit(row)
        except BaseException:
            self._rows.remove(row)
            raise

    def space(self) -> float:
        """How many rows may be read on: results that were not taken yet count, too."""
        held = len(self._rows) if self._ordered else len(self._results) + self._unsettled
        return self._dispatcher.admission.max_pending - held

    def settled(self, row: Entry) -> None:
        self._unsettled -= 1
        if not self._ordered:
            self._results.append(row.report())
        self._news.set()

    def confirmed(self, changes: Sequence[MarkChange]) -> None:
        """Pass results on, where they are not waited for in their order."""
        self._unsettled -= len(changes)
        self._results.extend(MarkResult(change, 0) for change in changes)
        self._news.set()

    async def results(self) -> AsyncGenerator[MarkResult, None]:
        """Yield each result; raise at the end what the source raised."""
        try:
            while not self._is_empty():
                self._news.clear()
                while (result := self._next()) is not None:
                    self._space.set()
                    yield result
                if not self._is_empty():
                    await self._news.wait()
            self._reader.result()
        finally:
            await self.aclose()

    def _is_empty(self) -> bool:
        return self.is_over() and not self._rows and not self._results

    def _next(self) -> MarkResult | None:
        if self._results:
            return self._results.popleft()
        if self._rows and self._rows[0].outcome is not None:
            return self._rows.popleft().report()
        return None


class Tally(_Feed):
    """
    Counts what became of many changes.

    Args:
        dispatcher: Where the changes go.
        changes: The source.
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
        self.sums = Sums()
        super().__init__(dispatcher, changes)

    def settled(self, row: Entry) -> None:
        self._unsettled -= 1
        self.sums.add(row)
        if self._on_result is not None:
            self._pass_on(row.report())
        self._look_for_end()

    def confirmed(self, changes: Sequence[MarkChange]) -> None:
        self._unsettled -= len(changes)
        self.sums.succeeded += len(changes)
        if self._on_result is not None:
            for change in changes:
                self._pass_on(MarkResult(change, 0))
        self._look_for_end()

    def not_accepted(self, changes: Sequence[MarkChange]) -> None:
        for change in changes:
            self.sums.withdrawn += 1
            self._pass_on(MarkResult(change, None, WITHDRAWN.info, 0, WITHDRAWN.error))

    def _pass_on(self, result: MarkResult) -> None:
        if self._on_result is not None and self._error is None:
            try:
                self._on_result(result)
            except BaseException as error:  # noqa: BLE001 - it is raised where apply is awaited.
                self._error = error

    def _look_for_end(self) -> None:
        if self._unsettled == 0 or self._error is not None:
            self._news.set()

    async def wait(self) -> None:
        """Wait for the end; raise what the source or *on_result* raised."""
        try:
            while self._error is None and not self.is_over():
                self._news.clear()
                await self._news.wait()
            if self._error is not None:
                raise self._error
            self._reader.result()
        finally:
            await self.aclose()
