"""
Writes a journal from an event loop, which never waits for the disk.

Units that settle during a write go into the next one: a slow disk makes writes larger, not more.
"""

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable
from typing import Final, final

from chatmark.jobs.journal.database import Journal, Run, Settled

# Seconds from one write to the next: the units of so much time may be lost with the process.
_SPACING: Final = 0.02


@final
class JournalWriter:
    """
    Writes the journal of a running job.

    Args:
        journal: The journal.
        sync: Seconds from one write that reaches the disk to the next.
        run: Returns the counters of this run.
        on_failure: Called when the journal cannot be written. One more attempt follows at the end.

    Attributes:
        error: The reason that the journal is not complete.
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
        self._settled: list[Settled] = []
        self._added = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._synced_at = self._loop.time()
        self._is_synced = True
        # One thread: writes take turns, and a cancelled task does not leave one beside the next.
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "chatmark-journal")
        self._task = self._loop.create_task(self._write_on(), name="chatmark-journal")
        self.error: Exception | None = None

    @property
    def unwritten(self) -> int:
        """The number of settled units that are not yet written."""
        return len(self._settled)

    def add(self, unit: Settled) -> None:
        """Write a settled unit, soon."""
        self._settled.append(unit)
        self._added.set()

    async def aclose(self) -> None:
        """Write the rest to the disk, and end the thread."""
        self._task.cancel()
        try:
            await asyncio.wait([self._task])
            await self._write(sync=True)
            self.error = None
        except OSError as error:
            self.error = error
        finally:
            # The caller closes the journal next: no write may be under way then.
            self._thread.shutdown()

    async def _write_on(self) -> None:
        try:
            while True:
                sync_at = self._synced_at + self._interval
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(None if self._is_synced else sync_at):
                        await self._added.wait()
                await self._write(sync=self._loop.time() >= sync_at)
                await asyncio.sleep(_SPACING)
        except Exception as error:  # noqa: BLE001 - no job goes on without its journal.
            self.error = error
            self._on_failure(error)

    async def _write(self, *, sync: bool) -> None:
        self._added.clear()
        settled = tuple(self._settled)
        self._is_synced = False
        run = self._run()
        # A write that is broken off is repeated: the units stay here until it has ended well.
        await self._loop.run_in_executor(
            self._thread, lambda: self._journal.write(settled, run, sync=sync)
        )
        del self._settled[: len(settled)]
        if sync:
            self._is_synced, self._synced_at = True, self._loop.time()
