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


def users_of(**job: tuple[int, int]) -> list[UserUnits]:
    """Return users with so many units each; the second number stands for what these say."""
    users: list[UserUnits] = []
    first = 0
    for account, (count, content) in sorted(job.items()):
        users.append(UserUnits(account, first, count, f"{account:>6}{content}".encode()))
        first += count
    return users


@contextlib.contextmanager
def begun(path: str, users: list[UserUnits] | None = None) -> Iterator[Journal]:
    """Give a journal that belongs to a job."""
    with Journal(path) as journal:
        journal.claim(KEY, USERS if users is None else users)
        yield journal


def log_of(path: str) -> pathlib.Path:
    """Return where SQLite writes first."""
    return pathlib.Path(f"{path}-wal")


def applied(*positions: int) -> list[Settled]:
    """Return units that took effect."""
    return [Settled(position, 1) for position in positions]


class TestContent:
    def test_round_trip(self, path: str) -> None:
        """What was written is there when the journal is opened again; a code may be any number."""
        refused = [Settled(1, 3, 50001, "no such user", 2), Settled(2, 3, 2**70, "", 1)]
        with begun(path) as journal:
            journal.write([*applied(0), *refused], Run(5, 250, 3, 1.5), sync=False)
        with Journal(path) as again:
            again.claim(KEY, USERS)
            assert [(0, 1), (1, 3), (2, 3)] == list(again.outcomes())
            assert refused == list(again.refusals())
            assert [Run(5, 250, 3, 1.5, 1)] == again.runs()

    def test_newest_counts(self, path: str) -> None:
        """A unit and the run's own record take the place of what was written before."""
        with begun(path) as journal:
            journal.write([Settled(1, 3, 51008)], Run(1, 1, 0, 1.0), sync=False)
            journal.write([Settled(1, 3, 51008), *applied(0)], Run(2, 3, 0, 2.0), sync=True)

            assert [(0, 1), (1, 3)] == list(journal.outcomes())
            assert [Settled(1, 3, 51008)] == list(journal.refusals())
            assert [Run(2, 3, 0, 2.0, 1)] == journal.runs()

    def test_runs_add_up(self, path: str) -> None:
        """Each time that the journal is opened is a run of its own."""
        with begun(path) as journal:
            journal.write([], Run(5, 250, 3, 1.5), sync=False)
        with Journal(path) as again:
            again.write([], Run(1, 50, 0, 0.5), sync=False)

            assert Run(6, 300, 3, 2.0, 2) == sum(again.runs(), Run(number=0))

    def test_small(self, path: str) -> None:
        """A unit that took effect needs some ten bytes."""
        with begun(path) as journal:
            journal.write(applied(*range(100_000)), Run(), sync=False)

        assert pathlib.Path(path).stat().st_size <= 14 * 100_000


class TestBelonging:
    def test_same(self, path: str) -> None:
        """A job's own journal is taken, whatever its input is called now."""
        with begun(path) as journal:
            journal.claim(attrs.evolve(KEY, input="moved.jsonl"), USERS)

    def test_other_rows(self, path: str) -> None:
        """A journal of other rows is refused, and it is said what differs."""
        other = attrs.evolve(KEY, digest="ff00", units=5, changes=6, input="new.csv")
        with begun(path) as journal, pytest.raises(ChangedInputError) as caught:
            journal.claim(other, USERS)

        assert (
            f"journal: {path} is of other rows: 4 changes of 3 conversations from rows.jsonl; "
            "now it is 6 of 5 from new.csv"
        ) == str(caught.value)

    def test_other_target(self, path: str) -> None:
        """So is a journal of another application or server."""
        with begun(path) as journal, pytest.raises(JournalError, match="not for elsewhere"):
            journal.claim(attrs.evolve(KEY, target="elsewhere"), USERS, accept_changed_input=True)

    def test_empty_file(self, path: str) -> None:
        """An empty file becomes a journal."""
        pathlib.Path(path).touch()
        with begun(path) as journal:
            assert [] == list(journal.outcomes())

    @pytest.mark.parametrize("content", [b"from_account,to_account\n" * 100, b"x", None])
    def test_foreign(self, path: str, content: bytes | None) -> None:
        """A file that is something else, such as another database, is left as it is."""
        if content is None:
            with contextlib.closing(sqlite3.connect(path)) as other:
                other.execute("CREATE TABLE users (name)")
                other.commit()
            content = pathlib.Path(path).read_bytes()
        pathlib.Path(path).write_bytes(content)
        with pytest.raises(JournalError, match="is not a journal of chatmark"):
            Journal(path)

        assert content == pathlib.Path(path).read_bytes()

    def test_other_version(self, path: str) -> None:
        """A journal of a later version is refused."""
        with begun(path) as journal:
            journal._db.execute("PRAGMA user_version = 9")
        with pytest.raises(JournalError, match="is of version 9"):
            Journal(path)

    def test_directory(self, tmp_path: pathlib.Path) -> None:
        """What cannot be opened is one plain error."""
        with pytest.raises(JournalError, match="must be a file"):
            Journal(str(tmp_path))


class TestLock:
    def test_second_process(self, path: str) -> None:
        """A second process is told that the first has it; the lock goes with the first, however."""
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
        with begun(path) as journal:
            assert [] == list(journal.outcomes())

    def test_same_process(self, path: str) -> None:
        """Nor do two jobs of one process share a journal."""
        with begun(path), pytest.raises(JournalError, match="is in use"):
            Journal(path)


class TestSurvival:
    def torn(self, path: str, to: str) -> None:
        """Write 30 records, as a process that is killed leaves them, to another place."""
        with begun(path) as journal:
            for number in range(1, 31):
                journal.write(applied(number), Run(calls=number), sync=False)
            shutil.copy(path, to)
            shutil.copy(log_of(path), log_of(to))

    def test_killed(self, path: str) -> None:
        """Every record is there after the process was killed: none waits in its memory."""
        self.torn(path, f"{path}2")
        with Journal(f"{path}2") as journal:
            assert [(number, 1) for number in range(1, 31)] == list(journal.outcomes())

    @pytest.mark.parametrize("seed", range(12))
    def test_torn(self, path: str, seed: int) -> None:
        """
        A log that ends anywhere, or whose end is garbage, is read up to its last whole record.
        """
        self.torn(path, f"{path}2")
        rng = random.Random(seed)
        log = log_of(f"{path}2")
        content = log.read_bytes()
        # The first records made the journal what it is: they were synced before the job began.
        cut = rng.randrange(len(content) // 2, len(content))
        garbage = rng.randbytes(len(content) - cut) if seed % 2 else b""
        log.write_bytes(content[:cut] + garbage)
        with Journal(f"{path}2") as journal:
            number = sum(run.calls for run in journal.runs())

            assert [(each, 1) for each in range(1, number + 1)] == list(journal.outcomes())
            assert number >= 30 * cut // len(content) - 16

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


class TestAdopt:
    def adopted(
        self, path: str, before: Sequence[UserUnits], settled: list[Settled], after: list[UserUnits]
    ) -> list[Settled]:
        """Let a journal of one job become that of another; return what is settled then."""
        with begun(path, list(before)) as journal:
            journal.write(settled, Run(), sync=True)
        other = attrs.evolve(KEY, digest="ff00")
        with Journal(path) as journal:
            journal.claim(other, after, accept_changed_input=True)
        with Journal(path) as journal:
            journal.claim(other, after)
            refused = {each.position: each for each in journal.refusals()}
            return [
                refused.get(position, Settled(position, outcome))
                for position, outcome in journal.outcomes()
            ]

    def test_moved(self, path: str) -> None:
        """What is settled of a user whose units are the same goes to where these are now."""
        before = users_of(bob=(3, 1), eve=(2, 1), zoe=(2, 1))
        settled = [*applied(0, 3, 5), Settled(1, 3, 50001, "bob"), Settled(4, 3, 51008, "eve", 2)]
        after = users_of(amy=(4, 1), bob=(3, 2), eve=(2, 1), zoe=(2, 1))

        assert [*applied(7), Settled(8, 3, 51008, "eve", 2), *applied(9)] == self.adopted(
            path, before, settled, after
        )

    def test_other_count(self, path: str) -> None:
        """Nothing is kept of users who are gone or have another number of units."""
        before = users_of(amy=(2, 1), bob=(2, 1))

        assert [] == self.adopted(path, before, applied(0, 1, 2, 3), users_of(amy=(3, 1)))


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
        """A full disk is an error of the system; what was written before is there."""
        with begun(path) as journal:
            error = self.fill(journal)
            before = list(journal.outcomes())
        with Journal(path) as again:
            assert before == list(again.outcomes())
            assert again.runs()[0].calls == len(before) // 1_000 - 1

        assert (errno.ENOSPC, path) == (error.errno, error.filename)

    def test_room_again(self, path: str) -> None:
        """The journal goes on when there is room again."""
        with begun(path) as journal:
            self.fill(journal)
            journal._db.execute("PRAGMA max_page_count = 400")
            journal.write(applied(999_999), Run(), sync=True)

            assert (999_999, 1) == list(journal.outcomes())[-1]


class TestEnd:
    def test_removed(self, path: str) -> None:
        """A journal that is done with leaves nothing behind."""
        journal = Journal(path)
        journal.claim(KEY, USERS)
        journal.write(applied(0), Run(), sync=False)
        journal.close(remove=True)

        assert [] == list(pathlib.Path(path).parent.iterdir())

    def test_kept(self, path: str) -> None:
        """One that is kept is one file."""
        with begun(path):
            pass

        assert ["journal"] == [each.name for each in pathlib.Path(path).parent.iterdir()]


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

    async def test_room(self, spied: Spied, monkeypatch: pytest.MonkeyPatch) -> None:
        """A job waits for a disk that is too slow for it, and not for one that is full."""
        monkeypatch.setattr("chatmark.jobs.journal._MOST_UNWRITTEN", 100)
        writer = writer_of(spied, on_failure=lambda _: None)
        spied.gate.clear()
        settle(writer, *range(99))
        await writer.wait_for_room()
        settle(writer, 99)
        waiting = asyncio.create_task(writer.wait_for_room())
        for _ in range(10):
            await asyncio.sleep(0)

        assert not waiting.done()

        spied.gate.set()
        await waiting

        assert 0 == writer.unwritten

        spied.gate.clear()
        spied.error = FULL
        settle(writer, *range(100, 200))
        waiting = asyncio.create_task(writer.wait_for_room())
        spied.gate.set()
        await waiting

        assert 100 == writer.unwritten

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
