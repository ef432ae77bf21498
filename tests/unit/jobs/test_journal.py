import asyncio
import contextlib
import errno
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import attrs
import pytest

from chatmark.jobs.grouping import UserUnits
from chatmark.jobs.journal import (
    ChangedInputError,
    JobKey,
    Journal,
    JournalError,
    JournalWriter,
    Run,
    Settled,
)

KEY = JobKey("1400000001 at https://example.com", "00ff", 3, 4, "rows.jsonl")
USERS = [UserUnits("amy", 0, 2, b"amy-----"), UserUnits("zoe", 2, 1, b"zoe-----")]


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    """Give the name of a journal."""
    return str(tmp_path / "journal")


@contextlib.contextmanager
def begun(path: str, users: list[UserUnits] | None = None) -> Iterator[Journal]:
    """Give a journal that belongs to a job."""
    with Journal(path) as journal:
        journal.claim(KEY, USERS if users is None else users)
        yield journal


def applied(*positions: int) -> list[Settled]:
    """Return units that took effect."""
    return [Settled(position, 1) for position in positions]


class TestContent:
    def test_round_trip(self, path: str) -> None:
        """
        The newest record of each unit and of each run is there when the journal is opened again.
        """
        # A code may be any number.
        refused = [Settled(1, 3, 50001, "no such user", 2), Settled(2, 3, 2**70, "", 1)]
        with begun(path) as journal:
            journal.write([Settled(1, 3, 51008)], Run(1, 1, 0, 1.0), sync=False)
            journal.write([*applied(0), *refused], Run(5, 250, 3, 1.5), sync=True)
        with begun(path) as again:
            again.write([], Run(1, 50, 0, 0.5), sync=False)

            assert [(0, 1), (1, 3), (2, 3)] == list(again.outcomes())
            assert refused == list(again.refusals())
            assert [Run(5, 250, 3, 1.5), Run(1, 50, 0, 0.5)] == again.runs()

    def test_small(self, path: str) -> None:
        """A unit that took effect needs some ten bytes."""
        with begun(path) as journal:
            journal.write(applied(*range(100_000)), Run(), sync=False)

        assert pathlib.Path(path).stat().st_size <= 14 * 100_000

    @pytest.mark.parametrize("is_removed", [False, True])
    def test_end(self, path: str, *, is_removed: bool) -> None:
        """A closed journal is one file, or none."""
        with begun(path) as journal:
            journal.write(applied(0), Run(), sync=False)
            journal.close(remove=is_removed)

        left = [each.name for each in pathlib.Path(path).parent.iterdir()]
        assert ([] if is_removed else ["journal"]) == left


class TestBelonging:
    def test_own(self, path: str) -> None:
        """An empty file becomes a journal, and is taken whatever the input is called later."""
        pathlib.Path(path).touch()
        with begun(path) as journal:
            journal.claim(attrs.evolve(KEY, input="moved.jsonl"), USERS)

    def test_other_rows(self, path: str) -> None:
        """A journal of other rows is refused with what differs, and one of another target."""
        other = attrs.evolve(KEY, digest="ff00", units=5, changes=6, input="new.csv")
        with begun(path) as journal, pytest.raises(ChangedInputError) as caught:
            journal.claim(other, USERS)
        with Journal(path) as journal, pytest.raises(JournalError, match="not for elsewhere"):
            journal.claim(attrs.evolve(KEY, target="elsewhere"), USERS, accept_changed_input=True)

        assert (
            f"journal: {path} is of other rows: 4 changes of 3 conversations from rows.jsonl; "
            "now it is 6 of 5 from new.csv"
        ) == str(caught.value)

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"from_account,to_account\n" * 100, "is not a journal of chatmark"),
            (b"x", "is not a journal of chatmark"),
            ("CREATE TABLE users (name)", "is not a journal of chatmark"),
            (f"PRAGMA user_version = 9; PRAGMA application_id = {0x63686D6B}", "is of version 9"),
        ],
    )
    def test_foreign(self, path: str, content: bytes | str, reason: str) -> None:
        """A file that is something else, or of a later version, is refused and left as it is."""
        if isinstance(content, str):
            with contextlib.closing(sqlite3.connect(path)) as other:
                other.executescript(content)
            content = pathlib.Path(path).read_bytes()
        pathlib.Path(path).write_bytes(content)
        with pytest.raises(JournalError, match=reason):
            Journal(path)
        with pytest.raises(JournalError, match="must be a file"):
            Journal(str(pathlib.Path(path).parent))

        assert content == pathlib.Path(path).read_bytes()

    def test_lock(self, path: str) -> None:
        """Only one job has a journal; the lock goes with its process, however that ends."""
        code = (
            "import sys, time\n"
            "from chatmark.jobs.journal import Journal\n"
            f"journal = Journal({path!r})\n"
            "print('open', flush=True)\n"
            "time.sleep(60)\n"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert b"open\n" == process.stdout.readline()
            with pytest.raises(JournalError, match="is in use by another process"):
                Journal(path)
            os.kill(process.pid, signal.SIGKILL)
        with begun(path), pytest.raises(JournalError, match="is in use"):
            Journal(path)


class TestSurvival:
    def torn(self, path: str, to: str) -> None:
        """Write 30 records, as a process that is killed leaves them, to another place."""
        with begun(path) as journal:
            for number in range(1, 31):
                journal.write(applied(number), Run(calls=number), sync=False)
            shutil.copy(path, to)
            shutil.copy(f"{path}-wal", f"{to}-wal")

    @pytest.mark.parametrize("seed", range(6))
    def test_torn(self, path: str, seed: int) -> None:
        """
        A killed process loses nothing; a log that ends anywhere, or in garbage, its last records.
        """
        self.torn(path, f"{path}2")
        rng = random.Random(seed)
        log = pathlib.Path(f"{path}2-wal")
        content = log.read_bytes()
        # The first records made the journal what it is: they were synced before the job began.
        cut = rng.randrange(len(content) // 2, len(content)) if seed else len(content)
        garbage = rng.randbytes(len(content) - cut) if seed % 2 else b""
        log.write_bytes(content[:cut] + garbage)
        with Journal(f"{path}2") as journal:
            number = sum(run.calls for run in journal.runs())

            assert [(each, 1) for each in range(1, number + 1)] == list(journal.outcomes())
            assert number >= 30 * cut // len(content) - (16 if seed else 0)

    def test_damaged(self, path: str) -> None:
        """A journal whose pages are garbage is said to be damaged, not believed."""
        with begun(path) as journal:
            journal.write(applied(*range(20_000)), Run(), sync=True)
        content = bytearray(pathlib.Path(path).read_bytes())
        for page in range(1, len(content) // 4096):
            content[page * 4096 : page * 4096 + 64] = os.urandom(64)
        pathlib.Path(path).write_bytes(content)
        with pytest.raises(JournalError, match="damaged"):
            Journal(path)

    def test_synced(self, path: str) -> None:
        """A record that is to reach the disk does so before the write returns, others need not."""
        said: list[str] = []
        with begun(path) as journal:
            journal._db.set_trace_callback(said.append)
            journal.write([], Run(), sync=False)
            journal.write([], Run(), sync=True)
            journal._db.set_trace_callback(None)
        modes = [line for line in said if "synchronous" in line or line == "COMMIT"]

        assert [
            *("PRAGMA synchronous = NORMAL", "COMMIT"),
            *("PRAGMA synchronous = FULL", "COMMIT"),
        ] == modes


class TestRoom:
    def fill(self, journal: Journal) -> OSError:
        """Write until there is no room; return what is raised then."""
        journal._db.execute("PRAGMA max_page_count = 40")
        for number in range(100):
            positions = range(number * 1_000, (number + 1) * 1_000)
            try:
                journal.write(applied(*positions), Run(calls=number), sync=False)
            except OSError as error:
                return error
        raise AssertionError

    def test_full_disk(self, path: str) -> None:
        """A full disk is an error of the system; the journal goes on when there is room again."""
        with begun(path) as journal:
            error = self.fill(journal)
            before = list(journal.outcomes())
        with begun(path) as journal:
            assert before == list(journal.outcomes())
            assert journal.runs()[0].calls == len(before) // 1_000 - 1
            self.fill(journal)
            journal._db.execute("PRAGMA max_page_count = 400")
            journal.write(applied(999_999), Run(), sync=True)

            assert (999_999, 1) == list(journal.outcomes())[-1]
        assert (errno.ENOSPC, path) == (error.errno, error.filename)


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
    async def test_slow_disk(self, spied: Spied) -> None:
        """
        A settled unit is written at once; the loop does not wait for the disk.

        What is settled during a write goes into the next one.
        """
        writer = writer_of(spied)
        settle(writer, 0)
        await until(spied, 1)
        spied.gate.clear()
        settle(writer, 1)
        for position in range(2, 200):
            await asyncio.sleep(0)
            settle(writer, position)
        spied.gate.set()
        await until(spied, 2)
        await writer.aclose()

        assert 3 >= len(spied.writes)
        assert list(range(200)) == spied.positions
        assert 0 == writer.unwritten
        # When the writer is closed everything is on the disk.
        assert spied.writes[-1][1]

    async def test_room(self, spied: Spied, monkeypatch: pytest.MonkeyPatch) -> None:
        """A job waits for a disk that is too slow for it, and not for one that is full."""
        monkeypatch.setattr("chatmark.jobs.journal._MOST_UNWRITTEN", 100)
        writer = writer_of(spied, on_failure=lambda _: None)
        for error, unwritten in ((None, 0), (FULL, 100)):
            spied.gate.clear()
            spied.error = error
            settle(writer, *range(99))
            await writer.wait_for_room()
            settle(writer, 99)
            waiting = asyncio.create_task(writer.wait_for_room())
            for _ in range(10):
                await asyncio.sleep(0)

            assert not waiting.done()

            spied.gate.set()
            await waiting

            assert unwritten == writer.unwritten

        spied.error = None
        await writer.aclose()

    async def test_synced_in_time(self, spied: Spied) -> None:
        """What was written reaches the disk after the interval, though nothing more is settled."""
        writer = writer_of(spied, sync=0.05)
        settle(writer, 0)
        await until(spied, 2)
        await asyncio.sleep(0)
        synced = [sync for _, sync in spied.writes]
        await writer.aclose()

        assert [False, True] == synced


class TestFailure:
    @pytest.mark.parametrize("is_room_again", [False, True])
    async def test_full_disk(self, spied: Spied, *, is_room_again: bool) -> None:
        """
        A journal that cannot be written is told once, and what it does not know is counted.

        If there is room again at the end, all that was settled is written.
        """
        told: list[Exception] = []
        writer = writer_of(spied, on_failure=told.append)
        spied.error = FULL
        writer.add(Settled(1, 3, 50001))
        while not told:
            await asyncio.sleep(0)
        settle(writer, 2)
        spied.error = None if is_room_again else FULL
        await writer.aclose()

        assert [FULL] == told
        assert ((None, 0) if is_room_again else (FULL, 2)) == (writer.error, writer.unwritten)
        assert ([1, 2] if is_room_again else []) == spied.positions
        assert is_room_again == len(list(spied.journal.refusals()))

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
