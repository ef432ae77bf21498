"""
The journal of a job: the settled units, in an SQLite file that outlives the process.

Every write reaches the operating system at once, which outlives the process; at intervals a write
reaches the disk, which outlives the machine. A torn write is left out, a full disk leaves earlier
writes, and the lock goes with the process that held it.

A settled unit is a row of some ten bytes. Units have the same positions in every run (see
`grouping`), and each conversation is one unit, so units that are sent again cannot overtake newer
ones.
"""

import asyncio
import concurrent.futures
import contextlib
import errno
import os
import pathlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, final

import attrs

from chatmark import InputError
from chatmark.jobs.counting import Addable, counted
from chatmark.jobs.databases import (
    DATABASE_ERRORS,
    DatabaseFormat,
    open_locked,
    reason_of,
    transaction,
)
from chatmark.jobs.grouping import UserUnits
from chatmark.jobs.output_files import sync_directory

_CACHED_PAGES: Final = 64
# Seconds from one write to the next: the units of so much time may be lost with the process.
_SPACING: Final = 0.02
# Units that wait to be written before a job waits, too.
_MOST_UNWRITTEN: Final = 20_000
_FORMAT: Final = DatabaseFormat(
    "a journal",
    "move it away, and run the same command: it sends everything again, which does no harm",
    0x63686D6B,
    2,
    """
    CREATE TABLE job (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE TABLE users (first INTEGER PRIMARY KEY, count INTEGER, digest BLOB);
    CREATE TABLE settled (
        position INTEGER PRIMARY KEY, outcome INTEGER, code TEXT, info TEXT, attempts INTEGER
    );
    CREATE TABLE runs (
        number INTEGER PRIMARY KEY, calls INTEGER, items INTEGER, retries INTEGER, seconds REAL
    )
""",
)
# Keep the settled units of users whose units are the same in another job. The digest of a user
# covers all units of that user, in their order; only their positions may differ. All units of other
# users are open again: a conversation of theirs may have a newer change than the one that was sent.
_ADOPT: Final = """
    CREATE TEMP TABLE kept AS
        SELECT position + moved.first - users.first AS position, outcome, code, info, attempts
        FROM moved
        JOIN users ON users.digest = moved.digest AND users.count = moved.count
        JOIN settled ON position BETWEEN users.first AND users.first + users.count - 1;
    DELETE FROM settled;
    INSERT OR REPLACE INTO settled SELECT * FROM kept;
    DELETE FROM users;
    INSERT INTO users SELECT * FROM moved;
    DROP TABLE kept;
    DROP TABLE moved
"""


class JournalError(InputError):
    """A journal that cannot be used for this job."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__("journal", f"{path} {reason}")


class ChangedInputError(JournalError):
    """A journal of other rows."""


@attrs.frozen
class JobKey:
    """The job that a journal belongs to. The input's name is for messages, *undo* is a path."""

    target: str
    digest: str
    units: int
    changes: int
    input: str
    undo: bytes = b""

    def check(self, path: str, known: "JobKey", *, accept_changed_input: bool) -> None:
        """Refuse the journal of a known job if it is not this one; the errors are of `claim`."""
        if known.target != self.target:
            other = f"is of a job for {known.target}, not for {self.target}: give another name"
            raise JournalError(path, other)
        if known.undo != self.undo:
            undo = os.fsdecode(known.undo)
            without = "is of a job without --undo: what it has replaced cannot be brought back"
            raise JournalError(
                path, f"is of a job with --undo {undo}: give it again" if undo else without
            )
        if known.digest != self.digest and not accept_changed_input:
            raise ChangedInputError(
                path,
                f"is of other rows: {counted(known.changes, 'change')} of "
                f"{counted(known.units, 'conversation')} from {known.input}; now it is "
                f"{self.changes:,} of {self.units:,} from {self.input}",
            )


@attrs.frozen
class Settled:
    """A unit that no later run sends again, and the answer if the server refused it."""

    position: int
    outcome: int
    code: int | None = None
    info: str = ""
    attempts: int = 1
    subject: str = ""


@attrs.frozen
class Run(Addable):
    """Counters of a run, or of several; items are units sent, retries those sent again."""

    calls: int = 0
    items: int = 0
    retries: int = 0
    seconds: float = 0.0


@final
class Journal(contextlib.AbstractContextManager["Journal"]):
    """The journal of one job, locked while it is open. One thread uses it at a time."""

    def __init__(self, path: str) -> None:
        if path in ("", ":memory:") or path.startswith("file:"):
            raise JournalError(repr(path), "must be the path of a file")
        self.path = path
        # Whether an earlier run of the job has claimed it.
        self.is_continued = False
        self._run: int | None = None
        self._db = open_locked(path, _FORMAT, self._refused)
        self._db.execute(f"PRAGMA cache_size = {_CACHED_PAGES}")

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refused(self, reason: str) -> JournalError:
        return JournalError(self.path, reason)

    def _select(self, query: str) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._db.execute(query)
        except DATABASE_ERRORS as error:
            raise self._refused(reason_of(error, _FORMAT)) from error

    def claim(
        self, key: JobKey, users: Iterable[UserUnits], *, accept_changed_input: bool = False
    ) -> None:
        """
        Assign a new journal to a job, or make sure that the journal belongs to it.

        Raises:
            ChangedInputError: It is of other rows, which are not accepted.
            JournalError: It is of another application or server.
            OSError: It cannot be written.
        """
        rows = ((user.first, user.count, user.digest) for user in users)
        found = dict(self._select("SELECT name, value FROM job"))
        if not found:
            with transaction(self._db, self.path):
                self._db.executemany("INSERT INTO users VALUES (?,?,?)", rows)
                self._write_key(key)
            sync_directory(pathlib.Path(self.path).resolve())
            return
        self.is_continued = True
        try:
            known = JobKey(**found)
        except TypeError:
            raise self._refused(f"is damaged: {_FORMAT.remedy}") from None
        key.check(self.path, known, accept_changed_input=accept_changed_input)
        if known.digest == key.digest:
            return
        with transaction(self._db, self.path):
            self._db.execute("CREATE TEMP TABLE moved (first, count, digest BLOB)")
            self._db.executemany("INSERT INTO moved VALUES (?,?,?)", rows)
            for statement in _ADOPT.split(";"):
                self._db.execute(statement)
            self._write_key(key)

    def outcomes(self) -> Iterator[tuple[int, int]]:
        yield from self._select("SELECT position, outcome FROM settled ORDER BY position")

    def refusals(self) -> Iterator[Settled]:
        for position, outcome, code, info, attempts in self._select(
            "SELECT * FROM settled WHERE code IS NOT NULL ORDER BY position"
        ):
            number, _, subject = str(code).partition(" ")
            if not number.isdecimal():
                raise self._refused(f"is damaged: {_FORMAT.remedy}")
            yield Settled(position, outcome, int(number), info, attempts, subject)

    def runs(self) -> list[Run]:
        return [
            Run(*row) for row in self._select("SELECT calls, items, retries, seconds FROM runs")
        ]

    def write(self, settled: Sequence[Settled], run: Run, *, sync: bool) -> None:
        """Write units, which may be written twice, and the run, all or nothing: `transaction`."""
        try:
            self._write(settled, run, sync=sync)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            # The log holds many versions of few pages: folding it up may make room.
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._write(settled, run, sync=sync)

    def close(self, *, remove: bool = False) -> None:
        self._db.close()
        if remove:
            pathlib.Path(self.path).unlink(missing_ok=True)

    def _write_key(self, key: JobKey) -> None:
        self._db.execute("DELETE FROM job")
        self._db.executemany("INSERT INTO job VALUES (?,?)", attrs.asdict(key).items())

    def _write(self, settled: Sequence[Settled], run: Run, *, sync: bool) -> None:
        with transaction(self._db, self.path, sync=sync):
            rows = map(_settled_row, settled)
            self._db.executemany("REPLACE INTO settled VALUES (?,?,?,?,?)", rows)
            row = (self._run, run.calls, run.items, run.retries, run.seconds)
            cursor = self._db.execute("REPLACE INTO runs VALUES (?,?,?,?,?)", row)
            number = cursor.lastrowid
        self._run = number


def _settled_row(unit: Settled) -> tuple[int, int, str | None, str, int]:
    # A code may be a larger number than SQLite has.
    code = None if unit.code is None else f"{unit.code} {unit.subject}".rstrip()
    return unit.position, unit.outcome, code, unit.info, unit.attempts


@final
class JournalWriter:
    """
    Writes a journal from an event loop, which never waits for the disk.

    Units that settle during a write go into the next one: a slow disk makes writes larger, not
    more. If too many wait for it, the job sends no more meanwhile.

    Args:
        sync: Seconds from one write that reaches the disk to the next.
        on_failure: Called when the journal cannot be written. One more attempt follows at the end.
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
        self._written = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._synced_at = self._loop.time()
        self._is_synced = True
        # One thread: writes take turns, and a cancelled task does not leave one beside the next.
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "chatmark-journal")
        self._task = self._loop.create_task(self._write_on(), name="chatmark-journal")
        # The reason that the journal is not complete.
        self.error: Exception | None = None

    @property
    def unwritten(self) -> int:
        return len(self._settled)

    def add(self, unit: Settled) -> None:
        self._settled.append(unit)
        self._added.set()

    async def wait_for_room(self) -> None:
        """Wait while too many units are unwritten; a journal that failed ends the job anyway."""
        while len(self._settled) >= _MOST_UNWRITTEN and self.error is None:
            self._written.clear()
            await self._written.wait()

    async def aclose(self) -> None:
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
        finally:
            self._written.set()

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
        self._written.set()
        if sync:
            self._is_synced, self._synced_at = True, self._loop.time()
