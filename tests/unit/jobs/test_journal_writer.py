import asyncio
import errno
import pathlib
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import attrs
import pytest

from chatmark.jobs.journal import JobKey, Journal, JournalWriter, Run, Settled

KEY = JobKey("here", "00", 8_000, 8_000, "rows")
FULL = OSError(errno.ENOSPC, "No space left on device", "journal")


@attrs.define
class Spied:
    """A journal that remembers its writes, and can be slow or full."""

    journal: Journal
    writes: list[tuple[int, bool]] = attrs.field(factory=list)
    gate: threading.Event = attrs.field(factory=threading.Event)
    error: OSError | None = None

    def write(self, settled: Sequence[Settled], run: Run, *, sync: bool) -> None:
        """Write as a journal does, when the gate is open."""
        self.gate.wait(5)
        if self.error is not None:
            raise self.error
        self.writes.append((len(settled), sync))
        self.journal.write(settled, run, sync=sync)

    @property
    def positions(self) -> list[int]:
        """The units that are in the journal."""
        return [position for position, _ in self.journal.outcomes()]


@pytest.fixture
async def spied(tmp_path: pathlib.Path) -> AsyncIterator[Spied]:
    """Give a journal whose gate is open."""
    with Journal(str(tmp_path / "journal")) as journal:
        journal.claim(KEY, [])
        spied = Spied(journal)
        spied.gate.set()
        yield spied


def writer_of(spied: Spied, *, sync: float = 3600.0, **options: Any) -> JournalWriter:
    """Return a writer that is not expected to fail."""
    options.setdefault("on_failure", pytest.fail)
    return JournalWriter(spied, sync=sync, run=Run, **options)  # type: ignore[arg-type]


def settle(writer: JournalWriter, *positions: int) -> None:
    """Let units take effect."""
    for position in positions:
        writer.add(Settled(position, 1))


async def until(spied: Spied, writes: int) -> None:
    """Wait for so many writes."""
    while len(spied.writes) < writes:
        await asyncio.sleep(0)


class TestWriting:
    async def test_without_delay(self, spied: Spied) -> None:
        """What is settled is written at once, and what was settled before it stays."""
        writer = writer_of(spied)
        settle(writer, 3)
        await until(spied, 1)
        settle(writer, 5, 4_000)
        await until(spied, 2)
        await writer.aclose()

        assert [3, 5, 4_000] == spied.positions
        assert 0 == writer.unwritten

    async def test_slow_disk(self, spied: Spied) -> None:
        """The loop does not wait for the disk; what is settled meanwhile goes into one write."""
        writer = writer_of(spied)
        spied.gate.clear()
        settle(writer, 0)
        await asyncio.sleep(0)
        for position in range(1, 200):
            settle(writer, position)
            await asyncio.sleep(0)
        spied.gate.set()
        await until(spied, 2)
        await writer.aclose()

        assert [1, 199] == [count for count, _ in spied.writes[:2]]
        assert list(range(200)) == spied.positions

    async def test_synced_in_time(self, spied: Spied) -> None:
        """What was written reaches the disk after the interval, though nothing more is settled."""
        writer = writer_of(spied, sync=0.05)
        settle(writer, 0)
        await until(spied, 2)
        await asyncio.sleep(0)
        synced = [sync for _, sync in spied.writes]
        await writer.aclose()

        assert [False, True] == synced

    async def test_synced_at_the_end(self, spied: Spied) -> None:
        """When the writer is closed everything is on the disk."""
        writer = writer_of(spied)
        settle(writer, 7)
        await writer.aclose()

        assert spied.writes[-1][1]
        assert [7] == spied.positions


class TestFailure:
    async def test_told_once(self, spied: Spied) -> None:
        """
        A journal that cannot be written is told at once; how much it does not know is counted.
        """
        told: list[Exception] = []
        writer = writer_of(spied, on_failure=told.append)
        spied.error = FULL
        settle(writer, 0, 1)
        while not told:
            await asyncio.sleep(0)
        settle(writer, 2)
        await writer.aclose()

        assert [FULL] == told
        assert FULL is writer.error
        assert 3 == writer.unwritten
        assert [] == spied.positions

    async def test_room_at_the_end(self, spied: Spied) -> None:
        """Where there is room again at the end, all that was settled is written."""
        told: list[Exception] = []
        writer = writer_of(spied, on_failure=told.append)
        spied.error = FULL
        writer.add(Settled(1, 3, 50001))
        while not told:
            await asyncio.sleep(0)
        spied.error = None
        settle(writer, 2)
        await writer.aclose()

        assert writer.error is None
        assert 0 == writer.unwritten
        assert [1, 2] == spied.positions
        assert 1 == len(list(spied.journal.refusals()))

    @pytest.mark.parametrize("fails", [False, True])
    async def test_interrupted_write(self, spied: Spied, fails: bool) -> None:
        """What a write that was broken off should have noted is in the last one."""
        writer = writer_of(spied, on_failure=bool)
        spied.gate.clear()
        settle(writer, 0)
        await asyncio.sleep(0)
        after = asyncio.get_running_loop().run_in_executor(writer._thread, spied.gate.wait)
        spied.error = FULL if fails else None
        writer._task.cancel()
        await asyncio.wait([writer._task])
        spied.gate.set()
        await after
        spied.error = None
        await writer.aclose()

        assert [0] == spied.positions

    async def test_other_faults(self, spied: Spied) -> None:
        """No job goes on without its journal, whatever the reason."""
        told: list[Exception] = []

        def run() -> Run:
            raise ZeroDivisionError

        writer = JournalWriter(spied, sync=1.0, run=run, on_failure=told.append)  # type: ignore[arg-type]
        settle(writer, 0)
        while not told:
            await asyncio.sleep(0)
        with pytest.raises(ZeroDivisionError):
            await writer.aclose()

        assert isinstance(told[0], ZeroDivisionError)

    async def test_cancelled_close(self, spied: Spied) -> None:
        """A close that is cancelled waits for the write under way, so that no other meets it."""
        writer = writer_of(spied)
        spied.gate.clear()
        settle(writer, 0)
        closing = asyncio.create_task(writer.aclose())
        for _ in range(5):
            await asyncio.sleep(0)
        closing.cancel()
        asyncio.get_running_loop().call_soon(spied.gate.set)
        spied.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await closing

        assert [0] == spied.positions
