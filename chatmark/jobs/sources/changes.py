"""Changes that a program has: in sequences, in async iterables, or in Arrow tables."""

import asyncio
import concurrent.futures
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from typing import Any, Final, cast, final

from chatmark import InputError, MarkChange
from chatmark.changes import check_source
from chatmark.jobs.sources.arrow_rows import read_table
from chatmark.jobs.sources.parser import RowParser
from chatmark.jobs.sources.row import Row, RowError, rows_of

Some = MarkChange | Sequence[MarkChange]
Changes = Iterable[Some] | AsyncIterable[Some]

#: The name of such a source in messages.
NAME: Final = "changes"
_AT_ONCE: Final = 1_000


@final
class ChangeRows(Iterable[Row | RowError]):
    """
    The rows of such a source, each a change; a thread reads them while the event loop runs.

    *kept* are the changes in the order of their lines, if they are to be kept.
    """

    def __init__(self, source: Changes | Any, *, keep: bool = False) -> None:
        if not hasattr(source, "__arrow_c_stream__"):
            check_source("source", source)
        self._source = source
        self._keep = keep
        self.kept: list[MarkChange] = []
        self._loop = asyncio.get_running_loop()
        self._waiting: concurrent.futures.Future[list[Some]] | None = None
        self._is_cancelled = False

    def cancel(self) -> None:
        """End a wait for an async source."""
        self._is_cancelled = True
        if self._waiting is not None:
            self._waiting.cancel()

    def __iter__(self) -> Iterator[Row | RowError]:
        if hasattr(self._source, "__arrow_c_stream__"):
            parser = RowParser()
            yield from rows_of(lambda: read_table(self._source, parser), parser.cells, NAME)
            return
        number = 0
        for some in self._somes():
            is_several = isinstance(some, Sequence) and not isinstance(some, str)
            for change in cast("Sequence[MarkChange]", some if is_several else (some,)):
                number += 1
                if not isinstance(change, MarkChange):
                    raise InputError("source", "must hold MarkChange objects only", change)
                if self._keep:
                    self.kept.append(change)
                yield Row(number, [change])

    def _somes(self) -> Iterator[Some]:
        if not isinstance(self._source, AsyncIterable):
            yield from self._source
            return
        iterator = aiter(cast("AsyncIterable[Some]", self._source))
        while not self._is_cancelled:
            self._waiting = asyncio.run_coroutine_threadsafe(_next_of(iterator), self._loop)
            some = self._waiting.result()
            if not some:
                return
            yield from some


async def _next_of(iterator: AsyncIterator[Some]) -> list[Some]:
    # A call for each would take longer than all else.
    some: list[Some] = []
    async for each in iterator:
        some.append(each)
        if len(some) >= _AT_ONCE:
            break
    return some
