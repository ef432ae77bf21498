"""
SQLite databases of a job: private ones without a name, and files that one process opens at a time.
"""

import contextlib
import errno
import os
import pathlib
import sqlite3
from collections.abc import Callable, Generator
from typing import Final

import attrs

_MAGIC: Final = b"SQLite format 3\0"
# SQLite moves the log into the database at this size: a megabyte.
_LOG_PAGES: Final = 256
# Python cannot decode the message of some.
DATABASE_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)
_DAMAGED: Final = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


@attrs.frozen
class DatabaseFormat:
    """A kind of database file, with its name in messages, and the advice if it cannot be used."""

    name: str
    remedy: str
    application: int
    version: int
    schema: str


def open_private(schema: str, cache_kib: int) -> sqlite3.Connection:
    """
    Return a database that stays in SQLite's cache while it is small, else in a temporary file.

    One transaction stays open. One thread may fill the database and another read it.
    """
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    database.executescript(f"""
        PRAGMA cache_size = -{cache_kib};
        PRAGMA journal_mode = OFF;
        PRAGMA synchronous = OFF;
        PRAGMA temp_store = FILE;
        {schema};
        BEGIN
    """)
    return database


def open_locked(
    path: str, format_: DatabaseFormat, refuse: Callable[[str], Exception]
) -> sqlite3.Connection:
    """
    Open a database file, or create it, and lock it until it is closed.

    A file of another format is left as it is. *refuse* returns the error for a reason.
    """
    file = pathlib.Path(path)
    if file.exists() and not file.is_file():
        raise refuse("must be a file")
    try:
        # SQLite would let others read it, and take a short file for an empty database.
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "rb") as stream:
            if stream.read(len(_MAGIC)) not in (b"", _MAGIC):
                raise refuse(f"is not {format_.name} of chatmark: give another name")
    except OSError as error:
        raise refuse(f"cannot be used: {error.strerror}") from None
    try:
        database = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            _claim(database, format_, refuse)
        except BaseException:
            database.close()
            raise
    except DATABASE_ERRORS as error:
        raise refuse(reason_of(error, format_)) from error
    return database


@contextlib.contextmanager
def transaction(database: sqlite3.Connection, path: str, *, sync: bool = True) -> Generator[None]:
    """
    Write all or nothing of the block into a database of `open_locked`.

    With *sync* the writes, and all before them, are on the disk when the block ends.

    Raises:
        OSError: There is no room (ENOSPC), or the disk fails (EIO).
    """
    try:
        # SQLite syncs its log with a commit in the mode FULL, the records before it too; in
        # the mode NORMAL only when it moves the log into the database.
        database.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("COMMIT")
    except BaseException as error:
        # A full disk may have rolled it back already.
        if database.in_transaction:
            database.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            number = errno.ENOSPC if _code_of(error) == sqlite3.SQLITE_FULL else errno.EIO
            raise OSError(number, str(error), path) from error
        raise


def _claim(
    database: sqlite3.Connection, format_: DatabaseFormat, refuse: Callable[[str], Exception]
) -> None:
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    is_new = not application and not tables
    if not is_new and application != format_.application:
        raise refuse(f"is not {format_.name} of chatmark: give another name")
    if not is_new and version != format_.version:
        reason = f"is of version {version}, this program's is {format_.version}"
        raise refuse(f"{reason}: {format_.remedy}")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    # Takes the lock now, not with the first write.
    database.execute("BEGIN IMMEDIATE")
    if is_new:
        database.execute(f"PRAGMA application_id = {format_.application}")
        database.execute(f"PRAGMA user_version = {format_.version}")
        for statement in format_.schema.split(";"):
            database.execute(statement)
    database.execute("COMMIT")
    (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise refuse(f"is damaged ({verdict}): {format_.remedy}")
    # Free the space of the log of a killed process.
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def reason_of(error: Exception, format_: DatabaseFormat) -> str:
    code = _code_of(error)
    if code == sqlite3.SQLITE_BUSY:
        return "is in use by another process: wait until that has ended"
    is_damaged = code in _DAMAGED or not isinstance(error, sqlite3.Error)
    how = "is damaged" if is_damaged else "cannot be used"
    return f"{how} ({error}): {format_.remedy}"


def _code_of(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
