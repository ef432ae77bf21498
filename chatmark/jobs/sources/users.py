"""Lists of users: one id a line, or the column `from_account` of CSV or JSON Lines."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Final, cast, final

from chatmark import InputError
from chatmark.conversations import check_id
from chatmark.jobs.databases import open_private
from chatmark.jobs.sources.csv_rows import CsvRecords
from chatmark.jobs.sources.dialect import Dialect
from chatmark.jobs.sources.formats import (
    DELIMITERS,
    USER_FORMATS,
    FileFormat,
    decode_line,
    format_of,
    numbered_lines,
    text_of,
)
from chatmark.jobs.sources.json_rows import load_json, read_json
from chatmark.jobs.sources.parser import as_id, refuse_suspicious
from chatmark.jobs.sources.row import Found, RowError, rows_of
from chatmark.limits import MAX_USER_ID_BYTES

_SCHEMA: Final = "CREATE TABLE users (position INTEGER PRIMARY KEY, id TEXT UNIQUE)"


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
        self._database = open_private(_SCHEMA, cache_kib=16 * 1024)
        try:
            insert = "INSERT OR IGNORE INTO users (id) VALUES (?)"
            self._database.executemany(insert, ((user,) for user in users))
        except BaseException:
            self._database.close()
            raise
        self._count = 0
        digest = hashlib.blake2b(digest_size=16)
        for user in self.read():
            self._count += 1
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
        select = "SELECT id FROM users ORDER BY position LIMIT -1 OFFSET ?"
        return (user for (user,) in self._database.execute(select, (start,)))


def read_users(
    stream: BinaryIO, file: str, format_: FileFormat | None = None, column: str = "from_account"
) -> Iterator[str]:
    """
    Yield the ids of an open stream, which may be compressed; the same may come often.

    Without a format the name of the file tells it, and one id a line is the default. Blanks at the
    edges are stripped, and suspicious ids refused, as in a file of changes.

    Raises:
        RowError: An id, or the file, cannot be read.
    """
    form = format_ or format_of(file, USER_FORMATS, FileFormat.LINES)

    def found() -> Iterator[Found]:
        text = text_of(stream, file, None)
        if form is FileFormat.JSON_LINES:
            return read_json(text)
        if form in DELIMITERS:
            return _in_column(CsvRecords(text, Dialect(), DELIMITERS[form]), column)
        return ((number, line, line) for number, line in numbered_lines(text))

    def parsed(value: Any, _: int) -> str:
        if form is FileFormat.JSON_LINES:
            user = _in_json(load_json(value) if isinstance(value, bytes) else value, column)
        else:
            user = (decode_line(value) if isinstance(value, bytes) else value).strip()
            refuse_suspicious(column, user)
        check_id(column, user, MAX_USER_ID_BYTES)
        return cast("str", user)

    for user in rows_of(found, parsed, file):
        if isinstance(user, RowError):
            raise user
        yield user


def _in_json(value: Any, column: str) -> Any:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        raise InputError("row", "must be a JSON object or an id", value)
    # A request body has the vendor's name for it.
    row = cast("dict[str, Any]", value)
    user = row.get(column, row.get("From_Account"))
    if user is None:
        raise InputError(column, "is missing")
    return as_id(user)


def _in_column(records: CsvRecords, column: str) -> Iterator[Found]:
    header = [cell.strip() for cell in records.read() or ()]
    if column not in header:
        raise InputError(column, "is not a column of the header")
    place = header.index(column)
    for line, raw, cells in records.read_all(records.read):
        if isinstance(cells, InputError):
            yield line, raw, cells
        elif any(cells) and [cell.strip() for cell in cells] != header:
            yield line, raw, cells[place] if place < len(cells) else ""
