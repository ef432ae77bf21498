"""
A file of an export that survives its process: a later run continues it.

Until it is complete it is called `<name>.part`, and `<name>.progress` beside it, an SQLite
database, says of how many users it holds all rows, and how many bytes those are. What comes after
them is cut off when the export goes on. The part reaches the disk before the progress that speaks
of it does, so that neither a dead process nor a dead machine leaves a gap.
"""

import contextlib
import os
import pathlib
import sqlite3
from collections.abc import Generator, Iterable, Iterator
from typing import BinaryIO, Final, Self, final

import attrs

from chatmark.errors import InputError
from chatmark.jobs.exporting.encoding import csv_header, write_parquet
from chatmark.jobs.output_files import open_part, publish
from chatmark.jobs.sources.formats import FileFormat
from chatmark.jobs.sources.parquet import load_arrow

_SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS progress (digest TEXT, users INTEGER, rows INTEGER, bytes INTEGER);
    CREATE TABLE IF NOT EXISTS failures (account TEXT PRIMARY KEY, code INTEGER, error TEXT)
"""


@attrs.frozen
class FailedUser:
    """
    A user that could not be read.

    Args:
        account: The user.
        code: The vendor's code, if there is one.
        error: Why.
    """

    account: str
    code: int | None
    error: str


@attrs.frozen
class Position:
    """
    How far an export is.

    Args:
        users: Of how many users everything is written or known to be impossible.
        rows: How many rows that are.
        bytes: How many bytes.
    """

    users: int = 0
    rows: int = 0
    bytes: int = 0


@final
class ExportFile:
    """
    The output of an export, locked while it is open.

    Args:
        path: Where it is to be.
        format: How it is written.
        digest: Identifies the users, the application and the server.
        restart: Whether to begin anew where an export of other users was begun.

    Attributes:
        begun: How far it was when it was opened.

    Raises:
        InputError: It was begun for other users, or another process writes it.
        OSError: It cannot be written.
    """

    def __init__(
        self, path: str, format_: FileFormat, digest: str, *, restart: bool = False
    ) -> None:
        if format_ is FileFormat.PARQUET:
            load_arrow()
        self._path = pathlib.Path(os.path.realpath(path))
        if self._path.is_dir():
            raise IsADirectoryError(21, "Is a directory", path)
        self._format = format_
        self._part = self._path.with_name(f"{self._path.name}.part")
        self._beside = self._path.with_name(f"{self._path.name}.progress")
        self._digest = f"{format_.value}:{digest}"
        self._database = self._open_database()
        try:
            self.begun = self._begin(restart=restart)
            self._file = self._open_part()
        except BaseException:
            self._database.close()
            raise
        self._is_complete = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._database.close()
        if self._is_complete:
            self._beside.unlink(missing_ok=True)

    def write(self, rows: bytes) -> None:
        """
        Append rows.
        """
        self._file.write(rows)

    def save(self, users: int, rows: int, failed: Iterable[FailedUser]) -> None:
        """
        Make the rows written so far durable.

        Args:
            users: Of how many users everything was written.
            rows: How many rows that are.
            failed: Which of them could not be read, of those since the last time.
        """
        self._file.flush()
        os.fsync(self._file.fileno())
        with self._explained():
            self._database.execute("BEGIN")
            self._database.executemany(
                "INSERT OR REPLACE INTO failures VALUES (?,?,?)",
                ((each.account, each.code, each.error) for each in failed),
            )
            self._database.execute(
                "UPDATE progress SET users = ?, rows = ?, bytes = ?",
                (users, rows, self._file.tell()),
            )
            self._database.execute("COMMIT")

    def failures(self) -> Iterator[FailedUser]:
        """
        Yield the users that could not be read, in earlier runs too.
        """
        found = self._database.execute("SELECT account, code, error FROM failures ORDER BY rowid")
        for record in found:
            yield FailedUser(*record)

    def complete(self) -> None:
        """
        Give the file its name.
        """
        self._file.close()
        if self._format is FileFormat.PARQUET:
            made = self._path.with_name(f"{self._path.name}.making")
            write_parquet(self._part, made)
            publish(made, self._path)
            self._part.unlink()
        else:
            publish(self._part, self._path)
        self._is_complete = True

    def _open_database(self) -> sqlite3.Connection:
        with self._explained():
            database = sqlite3.connect(self._beside, timeout=0, isolation_level=None)
            try:
                database.execute("PRAGMA locking_mode = EXCLUSIVE")
                database.execute("PRAGMA synchronous = FULL")
                # Takes the lock, and keeps it.
                database.execute("BEGIN EXCLUSIVE")
                database.execute("COMMIT")
                database.executescript(_SCHEMA)
            except BaseException:
                database.close()
                raise
        return database

    def _begin(self, *, restart: bool) -> Position:
        found = self._database.execute("SELECT * FROM progress").fetchone()
        if found is not None and self._part.exists() and not restart:
            digest, *numbers = found
            if digest != self._digest:
                raise InputError(
                    "output",
                    "an export of other users, of another application or in another format, was "
                    "begun there: finish it with the same arguments, or begin anew with "
                    "--restart",
                    str(self._path),
                )
            begun = Position(*numbers)
            if self._part.stat().st_size < begun.bytes:
                raise InputError(
                    "output",
                    "is too short: begin anew with --restart",
                    str(self._part),
                )
            return begun
        self._part.unlink(missing_ok=True)
        self._database.execute("DELETE FROM progress")
        self._database.execute("DELETE FROM failures")
        self._database.execute("INSERT INTO progress VALUES (?, 0, 0, 0)", (self._digest,))
        return Position()

    def _open_part(self) -> BinaryIO:
        file = open_part(self._part, keep=True)
        # The bytes behind those that are known to be whole may be half a user's.
        file.truncate(self.begun.bytes)
        file.seek(self.begun.bytes)
        if not self.begun.bytes and self._format is FileFormat.CSV:
            file.write(csv_header())
        return file

    @contextlib.contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise InputError("output", "another export writes it", str(self._path)) from None
            raise OSError(0, str(error), str(self._beside)) from error
        except sqlite3.DatabaseError:
            raise InputError("output", "is not of an export", str(self._beside)) from None
