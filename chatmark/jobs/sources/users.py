"""Lists of users: one id a line, or the column `from_account` of CSV or JSON Lines."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Final, cast, final

from chatmark import InputError
from chatmark.conversations import check_id
from chatmark.jobs.databases import open_private
from chatmark.jobs.sources.compression import decompressed
from chatmark.jobs.sources.csv_rows import CsvRecords
from chatmark.jobs.sources.formats import USER_FORMATS, FileFormat, compression_of, format_of
from chatmark.jobs.sources.json_lines import load_json
from chatmark.jobs.sources.lines import decode_line, numbered_lines
from chatmark.jobs.sources.row import RowError
from chatmark.limits import MAX_USER_ID_BYTES

_FIELD: Final = "from_account"
_SCHEMA: Final = "CREATE TABLE users (position INTEGER PRIMARY KEY, id TEXT UNIQUE)"
_CACHE_KIB: Final = 16 * 1024
_DIGEST_BYTES: Final = 16


@final
class UserList:
    """
    Users, each once, in the order in which they are first named, kept by SQLite.

    Attributes:
        digest: Identifies the users and their order, in hexadecimal.

    >>> with UserList(["zoe", "amy", "zoe"]) as users:
    ...     list(users.read()), len(users)
    (['zoe', 'amy'], 2)
    """

    def __init__(self, users: Iterable[str]) -> None:
        self._database = open_private(_SCHEMA, _CACHE_KIB)
        try:
            insert = "INSERT OR IGNORE INTO users (id) VALUES (?)"
            self._database.executemany(insert, ((user,) for user in users))
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

    def __len__(self) -> int:
        return self._count

    def read(self, start: int = 0) -> Iterator[str]:
        """Yield the users but the first *start* ones."""
        # Positions have gaps where a user was named again.
        users = self._database.execute(
            "SELECT id FROM users ORDER BY position LIMIT -1 OFFSET ?", (start,)
        )
        for (user,) in users:
            yield user


def read_users(
    stream: BinaryIO, file: str, format_: FileFormat | None = None, column: str = _FIELD
) -> Iterator[str]:
    """
    Yield the users of an open stream, which may be compressed; the same may come often.

    Without a format the name of the file tells it, and one id a line is the default.
    """
    if format_ is None:
        format_ = format_of(file, USER_FORMATS, FileFormat.LINES)
    lines: _Lines | CsvRecords | None = None
    try:
        stream = decompressed(stream, compression_of(file))
        if format_ is FileFormat.CSV:
            lines = CsvRecords(stream)
            users = _cells(lines, column)
        else:
            lines = _Lines(stream)
            users = _fields(lines, column) if format_ is FileFormat.JSON_LINES else iter(lines)
        for user in users:
            check_id(column, user, MAX_USER_ID_BYTES)
            yield user
    except InputError as error:
        raise RowError.of(file, 1 if lines is None else lines.line, error) from None


class _Lines:
    """The lines that are not blank, stripped; `line` is the number of the last one."""

    def __init__(self, stream: BinaryIO) -> None:
        self._lines = numbered_lines(stream)
        self.line = 1

    def __iter__(self) -> Iterator[str]:
        for number, line in self._lines:
            self.line = number
            if text := decode_line(line).strip():
                yield text


def _fields(lines: Iterable[str], column: str) -> Iterator[Any]:
    for line in lines:
        row = load_json(line)
        if type(row) is not dict:
            raise InputError("row", "must be a JSON object")
        fields = cast("dict[str, Any]", row)
        # A request body has the vendor's name for it.
        user = fields.get(column, fields.get("From_Account"))
        if user is None:
            raise InputError(column, "is missing")
        yield user


def _cells(records: CsvRecords, column: str) -> Iterator[str]:
    header = [cell.strip() for cell in records.read() or ()]
    if column not in header:
        raise InputError(column, "is not a column of the header")
    place = header.index(column)
    while (cells := records.read()) is not None:
        if any(cells):
            yield cells[place] if place < len(cells) else ""
