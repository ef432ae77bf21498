"""
Lists of users: one id a line, or the column `from_account` of CSV or JSON Lines.
"""

import csv
import enum
import hashlib
import json
import pathlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, Final, cast, final

from chatmark.errors import InputError
from chatmark.jobs.sources.compression import decompressed, split_name
from chatmark.jobs.sources.lines import decode_line, numbered_lines
from chatmark.jobs.sources.rows import RowError
from chatmark.models import MAX_USER_ID_BYTES, check_id

_FIELD: Final = "from_account"
_AT_ONCE: Final = 1_000
_CACHE_KIB: Final = 16 * 1024
_DIGEST_BYTES: Final = 16


class UsersFormat(enum.Enum):
    """
    How users are listed.
    """

    LINES = "lines"
    JSON_LINES = "jsonl"
    CSV = "csv"

    @classmethod
    def of(cls, path: str) -> "UsersFormat":
        """
        Return what a file's name tells; ids, one a line, where it tells nothing.

        >>> UsersFormat.of("users.csv.gz")
        <UsersFormat.CSV: 'csv'>
        """
        name, _ = split_name(path)
        return _SUFFIXES.get(pathlib.PurePath(name).suffix.lower(), cls.LINES)


_SUFFIXES: Final = {
    ".jsonl": UsersFormat.JSON_LINES,
    ".ndjson": UsersFormat.JSON_LINES,
    ".json": UsersFormat.JSON_LINES,
    ".csv": UsersFormat.CSV,
}


@final
class UserList:
    """
    Users, each once, in the order in which they are first named; SQLite keeps what memory cannot.

    Attributes:
        digest: What tells them from other users, or from another order, in hexadecimal.

    >>> with UserList(["zoe", "amy", "zoe"]) as users:
    ...     list(users.read()), len(users)
    (['zoe', 'amy'], 2)
    """

    def __init__(self, users: Iterable[str]) -> None:
        # SQLite's cache has the list while that is short, and a file that nobody sees later.
        self._database = sqlite3.connect("", isolation_level=None)
        try:
            self._fill(users)
        except BaseException:
            self._database.close()
            raise
        self._count: int = self._database.execute("SELECT count(*) FROM users").fetchone()[0]
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        for user in self.read():
            digest.update(f"{user}\n".encode())
        self.digest = digest.hexdigest()

    def __enter__(self) -> "UserList":
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def _fill(self, users: Iterable[str]) -> None:
        execute = self._database.execute
        execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        execute("BEGIN")
        execute("CREATE TABLE users (position INTEGER PRIMARY KEY, id TEXT UNIQUE)")
        for user in users:
            execute("INSERT OR IGNORE INTO users (id) VALUES (?)", (user,))

    def __len__(self) -> int:
        return self._count

    def read(self, start: int = 0) -> Iterator[str]:
        """
        Yield the users but the first *start* ones.
        """
        # Positions have gaps where a user was named again.
        users = self._database.execute(
            "SELECT id FROM users ORDER BY position LIMIT -1 OFFSET ?", (start,)
        )
        while some := users.fetchmany(_AT_ONCE):
            for (user,) in some:
                yield user


def read_users(
    stream: BinaryIO, file: str, format_: UsersFormat, column: str = _FIELD
) -> Iterator[str]:
    """
    Yield the users of an open stream, which may be compressed; the same may come often.

    Args:
        stream: What to read.
        file: What messages call it.
        format_: How users are listed.
        column: The column that has them.

    Raises:
        RowError: A line names no user.
        OSError: It cannot be read.
    """
    _, claimed = split_name(file)
    lines: _Lines | None = None
    try:
        lines = _Lines(decompressed(stream, claimed))
        for user in _READERS[format_](lines, column):
            check_id(column, user, MAX_USER_ID_BYTES)
            yield user
    except InputError as error:
        raise RowError.of(file, 1 if lines is None else lines.number, error) from None


class _Lines(Iterator[str]):
    """
    Lines of text, of which the number of the last one is known.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._lines = numbered_lines(stream)
        self.number = 1

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        return decode_line(line)


def _plain(lines: Iterator[str], column: str) -> Iterator[str]:
    del column
    for line in lines:
        if line.strip():
            yield line.strip()


def _objects(lines: Iterator[str], column: str) -> Iterator[str]:
    for line in lines:
        if line.strip():
            yield _field_of(line, column)


def _field_of(line: str, column: str) -> Any:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise InputError("row", "is no JSON") from None
    if type(row) is not dict:
        raise InputError("row", "is no JSON object")
    fields = cast("dict[str, Any]", row)
    # A request body has the vendor's name for it.
    user = fields.get(column, fields.get("From_Account"))
    if user is None:
        raise InputError(column, "is missing")
    return user


def _cells(lines: Iterator[str], column: str) -> Iterator[str]:
    records = csv.reader(lines, strict=True)
    try:
        first: list[str] = []
        header = [cell.strip() for cell in next(records, first)]
        if column not in header:
            raise InputError(column, "is no column of the header")
        place = header.index(column)
        for cells in records:
            if any(cells):
                yield cells[place] if place < len(cells) else ""
    except csv.Error as error:
        raise InputError("row", f"is no CSV: {error}") from None


_READERS: Final[dict[UsersFormat, Callable[[Iterator[str], str], Iterator[str]]]] = {
    UsersFormat.LINES: _plain,
    UsersFormat.JSON_LINES: _objects,
    UsersFormat.CSV: _cells,
}
