import asyncio
import errno
import pathlib
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import attrs
import pytest

from chatmark.jobs.fates import BLOCK, Fate
from chatmark.jobs.journal import JobKey, Journal, Refusal, Run
from chatmark.jobs.keeper import Keeper

KEY = JobKey("here", "00", 2 * BLOCK, 2 * BLOCK, "rows")
FULL = OSError(errno.ENOSPC, "No space left on device", "journal")


@attrs.define
class Spied:
    """
    A journal that remembers its writes, and can be slow or full.
    """

    journal: Journal
    writes: list[tuple[dict[int, bytes], bool]] = attrs.field(factory=list)
    gate: threading.Event = attrs.field(factory=threading.Event)
    error: OSError | None = None

    def write(
        self, blocks: Mapping[int, bytes], refusals: Sequence[Refusal], run: Run, *, sync: bool
    ) -> None:
        """
        Write as a journal does, when the gate is open.
        """
        self.gate.wait(5)
        if self.error is not None:
            raise self.error
        self.writes.append((dict(blocks), sync))
        self.journal.write(blocks, refusals, run, sync=sync)


@pytest.fixture
async def spied(tmp_path: pathlib.Path) -> AsyncIterator[Spied]:
    """
    Give a journal whose gate is open.
    """
    with Journal(str(tmp_path / "journal")) as journal:
        journal.begin(KEY, [])
        spied = Spied(journal)
        spied.gate.set()
        yield spied


def keeper_of(spied: Spied, *, sync: float = 3600.0, **options: Any) -> Keeper:
    """
    Return a keeper that is not expected to fail.
    """
    options.setdefault("on_failure", pytest.fail)
    return Keeper(spied, sync=sync, run=Run, **options)  # type: ignore[arg-type]


def known(_: int) -> bytes:
    """
    Return the fates of a block in which nothing is settled.
    """
    return bytes(BLOCK)


def settle(keeper: Keeper, *positions: int) -> None:
    """
    Let units take effect.
    """
    for position in positions:
        keeper.begin(position, known)
    for position in positions:
        keeper.end(position, Fate.APPLIED)


async def until(spied: Spied, writes: int) -> None:
    """
    Wait for so many writes.
    """
    while len(spied.writes) < writes:
        await asyncio.sleep(0)


class TestWriting:
    async def test_without_delay(self, spied: Spied) -> None:
        """
        What is settled is written at once, and what was settled before it stays.
        """
        keeper = keeper_of(spied)
        settle(keeper, 3)
        await until(spied, 1)
        settle(keeper, 5, BLOCK)
        await until(spied, 2)
        await keeper.aclose()
        blocks = dict(spied.journal.fates())

        assert [3, 5] == [place for place in range(BLOCK) if blocks[0][place]]
        assert 1 == blocks[1][0]
        assert 0 == keeper.unwritten

    async def test_slow_disk(self, spied: Spied) -> None:
        """
        The loop does not wait for the disk; what is settled meanwhile goes into one write.
        """
        keeper = keeper_of(spied)
        spied.gate.clear()
        settle(keeper, 0)
        await asyncio.sleep(0)
        for position in range(1, 200):
            settle(keeper, position)
            await asyncio.sleep(0)
        spied.gate.set()
        await until(spied, 2)
        await keeper.aclose()

        assert [1, 200] == [sum(blocks[0]) for blocks, _ in spied.writes[:2]]

    async def test_synced_in_time(self, spied: Spied) -> None:
        """
        What was written reaches the disk after the interval, though nothing more is settled.
        """
        keeper = keeper_of(spied, sync=0.05)
        settle(keeper, 0)
        await until(spied, 2)
        await asyncio.sleep(0)
        synced = [sync for _, sync in spied.writes]
        await keeper.aclose()

        assert [False, True] == synced

    async def test_synced_at_the_end(self, spied: Spied) -> None:
        """
        When it is closed everything is on the disk.
        """
        keeper = keeper_of(spied)
        settle(keeper, 7)
        await keeper.aclose()

        assert spied.writes[-1][1]
        assert 1 == dict(spied.journal.fates())[0][7]

    async def test_known_fates(self, spied: Spied) -> None:
        """
        What an earlier run settled stays in its block.
        """
        keeper = keeper_of(spied)
        keeper.begin(5, lambda number: b"\1\2\3".ljust(BLOCK, b"\0") if number == 0 else b"")
        keeper.end(5, Fate.UNCHANGED)
        await keeper.aclose()

        assert bytes([1, 2, 3, 0, 0, 2, 0]) == dict(spied.journal.fates())[0][:7]

    async def test_not_final(self, spied: Spied) -> None:
        """
        What a later run is to send again is not noted; a refusal is, with its reason.
        """
        keeper = keeper_of(spied)
        for position, fate in enumerate((Fate.UNCONFIRMED, Fate.NOT_SENT, Fate.REJECTED)):
            keeper.begin(position, known)
            keeper.end(position, fate)
        refusal = Refusal(3, 50001, "no such user", 1)
        keeper.begin(3, known)
        keeper.end(3, Fate.REFUSED, refusal)
        await keeper.aclose()

        assert bytes([0, 0, 0, 3, 0]) == dict(spied.journal.fates())[0][:5]
        assert [refusal] == list(spied.journal.refusals())

    async def test_memory(self, spied: Spied) -> None:
        """
        Only blocks that were begun and are not over are held.
        """
        keeper = keeper_of(spied)
        for number in range(5):
            settle(keeper, *range(number * BLOCK, (number + 1) * BLOCK))
            await until(spied, number + 1)
        keeper.begin(5 * BLOCK, known)
        await asyncio.sleep(0)

        assert len(keeper._blocks) <= 2
        keeper.end(5 * BLOCK, Fate.NOT_SENT)
        await keeper.aclose()
        assert [5] == list(keeper._blocks)

    async def test_units_one_at_a_time(self, spied: Spied) -> None:
        """
        What was settled and written stays when the next unit of its block begins after the write.
        """
        keeper = keeper_of(spied)
        for position in range(4):
            settle(keeper, position)
            await until(spied, position + 1)
        await keeper.aclose()

        assert bytes([1, 1, 1, 1, 0]) == dict(spied.journal.fates())[0][:5]


class TestFailure:
    async def test_told_once(self, spied: Spied) -> None:
        """
        A journal that cannot be written is told at once; how much it does not know is counted.
        """
        told: list[Exception] = []
        keeper = keeper_of(spied, on_failure=told.append)
        spied.error = FULL
        settle(keeper, 0, 1)
        while not told:
            await asyncio.sleep(0)
        settle(keeper, 2)
        await keeper.aclose()

        assert [FULL] == told
        assert FULL is keeper.error
        assert 3 == keeper.unwritten
        assert [] == list(spied.journal.fates())

    async def test_room_at_the_end(self, spied: Spied) -> None:
        """
        Where there is room again at the end, all that was settled is written.
        """
        told: list[Exception] = []
        keeper = keeper_of(spied, on_failure=told.append)
        spied.error = FULL
        keeper.begin(1, known)
        keeper.end(1, Fate.REFUSED, Refusal(1, 50001, "", 1))
        while not told:
            await asyncio.sleep(0)
        spied.error = None
        settle(keeper, 2)
        await keeper.aclose()

        assert keeper.error is None
        assert 0 == keeper.unwritten
        assert bytes([0, 3, 1]) == dict(spied.journal.fates())[0][:3]
        assert 1 == len(list(spied.journal.refusals()))

    @pytest.mark.parametrize("fails", [False, True])
    async def test_interrupted_write(self, spied: Spied, fails: bool) -> None:
        """
        What a write that was broken off should have noted is in the last one.
        """
        keeper = keeper_of(spied, on_failure=bool)
        spied.gate.clear()
        for position in (0, 1):
            keeper.begin(position, known)
        keeper.end(0, Fate.APPLIED)
        await asyncio.sleep(0)
        after = asyncio.get_running_loop().run_in_executor(keeper._thread, spied.gate.wait)
        spied.error = FULL if fails else None
        keeper.end(1, Fate.NOT_SENT)
        keeper._writer.cancel()
        await asyncio.wait([keeper._writer])
        spied.gate.set()
        await after
        spied.error = None
        await keeper.aclose()

        assert bytes([1, 0]) == dict(spied.journal.fates())[0][:2]

    async def test_other_faults(self, spied: Spied) -> None:
        """
        No job goes on without its journal, whatever the reason.
        """
        told: list[Exception] = []

        def run() -> Run:
            raise ZeroDivisionError

        keeper = Keeper(spied, sync=1.0, run=run, on_failure=told.append)  # type: ignore[arg-type]
        settle(keeper, 0)
        while not told:
            await asyncio.sleep(0)
        with pytest.raises(ZeroDivisionError):
            await keeper.aclose()

        assert isinstance(told[0], ZeroDivisionError)

    async def test_cancelled_close(self, spied: Spied) -> None:
        """
        A close that is cancelled waits for the write under way, so that no other meets it.
        """
        keeper = keeper_of(spied)
        spied.gate.clear()
        settle(keeper, 0)
        closing = asyncio.create_task(keeper.aclose())
        for _ in range(5):
            await asyncio.sleep(0)
        closing.cancel()
        asyncio.get_running_loop().call_soon(spied.gate.set)
        spied.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await closing

        assert 1 == dict(spied.journal.fates())[0][0]
