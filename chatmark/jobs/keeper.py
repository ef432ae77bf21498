"""
Writes a journal from an event loop, which never waits for the disk.

What is settled while one write is under way goes into the next, so that a slow disk makes writes
larger and not more. Memory holds the fates of the blocks that were begun and are not over, a byte a
unit.
"""

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable, Mapping
from typing import Final, final

import attrs

from chatmark.jobs.fates import BLOCK, FINAL, Fate
from chatmark.jobs.journal import Journal, Refusal, Run

# Seconds from one write to the next: so much may be lost with the process, beside what is in
# flight.
_SPACING: Final = 0.02


@attrs.define
class _Block:
    fates: bytearray
    open: int = 0
    is_dirty: bool = False
    is_writing: bool = False

    @property
    def is_over(self) -> bool:
        # A block that has more to come cannot be forgotten: what this run settled is known here.
        return not (self.open or self.is_dirty or self.is_writing or 0 in self.fates)


@final
class Keeper:
    """
    Keeps the journal of a running job.

    Args:
        journal: The journal.
        sync: Seconds from one write that reaches the disk to the next.
        run: Returns what this run did so far.
        on_failure: Called when the journal cannot be written; nothing more is written then, except
            for one more attempt at the end.

    Attributes:
        unwritten: How many units are settled of which the journal does not know.
        error: Why the journal could not be written.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        sync: float,
        run: Callable[[], Run],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._journal = journal
        self._interval = sync
        self._run = run
        self._on_failure = on_failure
        self._blocks: dict[int, _Block] = {}
        self._refusals: list[Refusal] = []
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._synced_at = self._loop.time()
        self._is_synced = True
        # One thread: writes take turns, and a cancelled task does not leave one beside the next.
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "chatmark-journal")
        self._writer = self._loop.create_task(self._write_on(), name="chatmark-journal")
        self.unwritten = 0
        self.error: Exception | None = None

    def begin(self, position: int, known: Callable[[int], bytes]) -> None:
        """
        Note that a unit is under way.

        Args:
            position: The unit's.
            known: Returns the fates of a block as the journal had them when the run began.
        """
        number = position // BLOCK
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = _Block(bytearray(known(number)))
        block.open += 1

    def end(self, position: int, fate: Fate, refusal: Refusal | None = None) -> None:
        """
        Note what became of a unit that was under way.
        """
        number, place = divmod(position, BLOCK)
        block = self._blocks[number]
        block.open -= 1
        if fate in FINAL:
            block.fates[place] = fate
            block.is_dirty = True
            self.unwritten += 1
            if refusal is not None:
                self._refusals.append(refusal)
            self._news.set()
        elif block.is_over:
            del self._blocks[number]

    async def aclose(self) -> None:
        """
        Write what is left, down to the disk, and end the thread.
        """
        self._writer.cancel()
        try:
            await asyncio.wait([self._writer])
            await self._write(sync=True)
            self.error = None
        except OSError as error:
            self.error = error
        finally:
            # Whoever closes the journal next must not meet a write.
            self._thread.shutdown()

    async def _write_on(self) -> None:
        try:
            while True:
                await self._wait_for_work()
                now = self._loop.time()
                await self._write(sync=now >= self._synced_at + self._interval)
                await asyncio.sleep(_SPACING)
        except Exception as error:  # noqa: BLE001 - no job goes on without its journal.
            self.error = error
            self._on_failure(error)

    async def _wait_for_work(self) -> None:
        left = self._synced_at + self._interval - self._loop.time()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if self._is_synced else max(0.0, left)):
                await self._news.wait()

    async def _write(self, *, sync: bool) -> None:
        self._news.clear()
        dirty = {number: block for number, block in self._blocks.items() if block.is_dirty}
        refusals, self._refusals = self._refusals, []
        unwritten, self.unwritten = self.unwritten, 0
        for block in dirty.values():
            block.is_dirty, block.is_writing = False, True
        self._is_synced = False
        try:
            await self._in_thread({n: bytes(b.fates) for n, b in dirty.items()}, refusals, sync)
        except BaseException:
            # Writing it twice does no harm, should the thread have gone on.
            for block in dirty.values():
                block.is_dirty, block.is_writing = True, False
            self._refusals = refusals + self._refusals
            self.unwritten += unwritten
            raise
        if sync:
            self._is_synced, self._synced_at = True, self._loop.time()
        for number, block in dirty.items():
            block.is_writing = False
            if block.is_over:
                del self._blocks[number]

    async def _in_thread(
        self, blocks: Mapping[int, bytes], refusals: list[Refusal], sync: bool
    ) -> None:
        run = self._run()
        await self._loop.run_in_executor(
            self._thread, lambda: self._journal.write(blocks, refusals, run, sync=sync)
        )
