"""Rows: the changes of a row or its error, and rows as a job writes them."""

import functools
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar, final

import attrs

from chatmark import Conversation, ConversationMark, InputError, MarkChange, MarkResult
from chatmark.jobs.sources.formats import MAX_LINE_BYTES, decoded
from chatmark.marks import VENDOR

T = TypeVar("T")

TARGETS: Final = ("to_account", "to_group_id")
MARK_FIELDS: Final = ("set_mark", "clear_mark")
OWN_FIELDS: Final = ("from_account", *TARGETS, *MARK_FIELDS, "custom_mark")
# Fields that a job adds to the rows that it writes, and MongoDB's own; readers ignore them.
NOTES: Final = frozenset(
    (
        *("_code", "_info", "_attempts", "_error", "_line", "_raw", "_rows", "_file", "_id"),
        *("_group_ids", "_group_names", "_updated_at", "_reserved_bits"),
        *("_found_bits", "_found_custom_mark", "_cleared_by_clients"),
    )
)
FIELDS: Final = NOTES.union(OWN_FIELDS)
_MOST_FIELD: Final = 80
_MOST_ERROR: Final = 1_000
# The most bytes of a line for the text of a row, and the length that fits however it is escaped.
_MOST_RAW_BYTES: Final = MAX_LINE_BYTES - 10_000
_MOST_RAW: Final = 1 << 17

#: A change as values: user, "1" and a peer or "2" and a group, bits as integers of SQLite, which
#: have a sign, custom mark, whether Chat's own bits are allowed, and the line.
Record = tuple[str, str, int, int, str | None, bool, int]


def record_of(change: MarkChange, line: int) -> Record:
    name = f"{change.conversation.type:d}{change.conversation.id}"
    bits = signed(change.set_mark), signed(change.clear_mark)
    return change.from_account, name, *bits, change.custom_mark, change.allow_reserved, line


def change_of(record: Record) -> MarkChange:
    account, name, to_set, to_clear, custom_mark, allow_reserved, _ = record
    make = Conversation.one_to_one if name[0] == "1" else Conversation.group
    marks = mark_of(to_set), mark_of(to_clear)
    conversation, is_reserved = make(name[1:]), bool(allow_reserved)
    return MarkChange(account, conversation, *marks, custom_mark, allow_reserved=is_reserved)


def signed(mark: ConversationMark) -> int:
    """Return the bits of a mark as an integer of SQLite."""
    return mark.value - (mark.value >> 63 << 64)


# A file repeats few marks.
@functools.lru_cache(4_096)
def mark_of(bits: int) -> ConversationMark:
    return ConversationMark(bits % (1 << 64))


# Not frozen: that would double the cost of each of millions.
@final
@attrs.define(eq=False)
class Row:
    """
    The changes of one row, which starts on *line*; of Parquet that is the number of the row.

    A row with a *record* makes its change of it when it is asked: a file that is only checked and
    grouped needs none.
    """

    line: int
    _changes: list[MarkChange] | None = None
    record: Record | None = None

    @property
    def changes(self) -> list[MarkChange]:
        if self._changes is None:
            self._changes = [] if self.record is None else [change_of(self.record)]
        return self._changes


class SetAsideError(InputError):
    """A row that was set aside by an earlier job and was not repaired; *notes* is the row."""

    def __init__(self, notes: dict[str, Any]) -> None:
        super().__init__("row", f"was set aside before: {str(notes['_error'])[:_MOST_ERROR]}")
        self.notes = notes


class RowError(InputError):
    """
    A row that cannot be applied.

    Attributes:
        file: The file's name.
        line: The line on which the row starts, from 1; of Parquet the number of the row.
        field: The field at fault, "row" for the whole.
        reason: The fault.
        raw: The row's text in the file, of Parquet as JSON.
        before: The notes of a row that was set aside before.
    """

    def __init__(self, file: str, line: int, field: str, reason: str, raw: str = "") -> None:
        field = field if len(field) <= _MOST_FIELD else f"{field[: _MOST_FIELD - 1]}…"
        super().__init__(field, reason)
        self.args = (f"{file}:{line}: {field}: {reason}",)
        self.file = file
        self.line = line
        self.raw = raw
        self.before: dict[str, Any] | None = None


class FileError(RowError):
    """The error of a whole file, or of the rest of it from a line on: no row can be set aside."""


#: What a reader finds: a line, the bytes of a row or a function that returns them, and the row, a
#: value to parse, or the error of the row.
Found = tuple[int, bytes | Callable[[], bytes], Any]
Rows = Iterator[Row | RowError]


def rows_of(
    read: Callable[[], Iterable[Found]], parse: Callable[[Any, int], T], file: str
) -> Iterator[T | RowError]:
    """
    Yield each row, or its error, that a reader finds in a file.

    What the reader raises is a FileError, the last item: the rows after it are unknown.
    """
    line = 0
    try:
        for line, raw, value in read():
            try:
                if isinstance(value, InputError):
                    raise value
                yield parse(value, line)
            except InputError as error:
                yield _row_error(file, line, error, raw if isinstance(raw, bytes) else raw())
    except InputError as error:
        line = getattr(error, "line", 0) or line + 1
        yield FileError(file, line, error.field, error.reason)


def _row_error(file: str, line: int, error: InputError, raw: bytes) -> RowError:
    try:
        # Bytes that are not UTF-8 are the cause of what else is wrong.
        decoded(raw)
    except InputError as cause:
        error = cause
    text = raw.decode("utf-8", "backslashreplace").rstrip("\r\n")
    made = RowError(file, line, error.field, error.reason, text)
    made.before = error.notes if isinstance(error, SetAsideError) else None
    return made


def row_of(change: MarkChange) -> dict[str, Any]:
    """Return the row that a `RowParser` reads as *change*; ids with blanks at edges are literal."""
    conversation = change.conversation
    row: dict[str, Any] = {
        "from_account": change.from_account,
        TARGETS[conversation.type - 1]: conversation.id,
    }
    for field, mark in zip(MARK_FIELDS, (change.set_mark, change.clear_mark), strict=True):
        if mark:
            bits = [(each.name or "").lower() if each in VENDOR else each.bits[0] for each in mark]
            row[field] = bits
    if change.custom_mark is not None:
        row["custom_mark"] = change.custom_mark
    return row


def failed_row(result: MarkResult) -> dict[str, Any]:
    """Return the row of a change that failed, with notes on why, which reading leaves aside."""
    notes = {"_code": result.code, "_info": result.info, "_attempts": result.attempts}
    return row_of(result.change) | notes


def set_aside_row(error: RowError) -> dict[str, Any]:
    """
    Return notes in place of a row that could not be read.

    Read again, they are an error that says so and is written as the same notes. A row with a field
    of its own is read, notes or not.
    """
    if error.before is not None:
        return error.before
    raw = error.raw
    if len(raw) > _MOST_RAW:
        written = json.dumps(raw, ensure_ascii=False).encode("utf-8", "replace")
        raw = raw if len(written) <= _MOST_RAW_BYTES else f"{raw[:_MOST_RAW]}…"
    return {"_error": str(error)[:_MOST_ERROR], "_line": error.line, "_raw": raw}
