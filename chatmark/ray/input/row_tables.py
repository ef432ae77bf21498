"""
Checked rows as Arrow tables, the form in which they travel in a cluster.

A row of a table is one change, or the error of a row. Its number gives its order in the input, and
its place gives its file and line for messages.
"""

import json
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

import attrs
import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs]

from chatmark import Conversation, ConversationMark, ConversationType, MarkChange
from chatmark.jobs.sources.row import FileError, Row, RowError, set_aside_row

# The most rows of a file or a slice. An int64 then has room for eight million of them.
_ROWS: Final = 1 << 40
_CHANGES_A_TABLE: Final = 20_000
_ERROR_FIELDS: Final = ("file", "line", "field", "reason", "raw")
_arrow: Any = pa
_SCHEMA: Final = _arrow.schema(
    {
        "number": _arrow.int64(),
        "place": _arrow.int64(),
        # 1 for the first change of a row and 0 for the others: the sum is the number of rows.
        "rows": _arrow.int8(),
        "account": _arrow.string(),
        "conversation": _arrow.string(),
        "set_mark": _arrow.uint64(),
        "clear_mark": _arrow.uint64(),
        "custom_mark": _arrow.string(),
        "error": _arrow.string(),
    }
)


def place_of(file: int, line: int) -> int:
    """
    Return the file and the line of a row in one number; of the first file it is the line.

    >>> place_of(0, 17), divmod(place_of(3, 17), 1 << 40)
    (17, (3, 17))
    """
    return file * _ROWS + line


def file_and_line(place: int) -> tuple[int, int]:
    """Return the number of the file, from 0, and the line."""
    return divmod(place, _ROWS)


def partition_of(account: str, partitions: int) -> int:
    """Return the number of the worker of a user; it is the same on every machine."""
    return zlib.crc32(account.encode()) % partitions


def write_tables(rows: Iterable[Row | RowError], *, slice_: int, file: int) -> Iterator[Any]:
    """Yield rows as tables."""
    number = slice_ * _ROWS
    records: list[tuple[Any, ...]] = []
    for row in rows:
        place = place_of(file, row.line)
        if isinstance(row, RowError):
            records.append((number, place, 1, None, None, None, None, None, _dump_error(row)))
            number += 1
        else:
            for count, change in enumerate(row.changes):
                records.append((number, place, int(count == 0), *_cells(change), None))
                number += 1
        if len(records) >= _CHANGES_A_TABLE:
            yield _table(records)
            records = []
    if records:
        yield _table(records)


@attrs.frozen
class TableSummary:
    """
    A summary of a table of rows.

    Args:
        number: The number of the first row, -1 without rows.
        last: The number of the last row.
        rows: The number of rows, bad rows included.
        bad: The number of rows that cannot be applied.
        errors: The errors of the first bad rows, and of all files that cannot be read.
    """

    number: int = -1
    last: int = -1
    rows: int = 0
    bad: int = 0
    errors: tuple[RowError, ...] = ()


def split_table(table: Any, partitions: int, most_errors: int) -> tuple[Any, ...]:
    """Return the part of a table for each worker, by the user of each row, and the summary."""
    accounts = table.column("account").to_pylist()
    numbers: list[list[int]] = [[] for _ in range(partitions)]
    bad: list[int] = []
    for index, account in enumerate(accounts):
        (bad if account is None else numbers[partition_of(account, partitions)]).append(index)
    return (
        *(table.take(_arrow.array(each, _arrow.int64())) for each in numbers),
        _summary(table, bad, most_errors),
    )


def read_changes(table: Any) -> Iterator[tuple[MarkChange, int]]:
    """Yield the changes of a table, each with its place."""
    columns = ("account", "conversation", "set_mark", "clear_mark", "custom_mark", "place")
    cells = (table.column(name).to_pylist() for name in columns)
    for account, conversation, set_mark, clear_mark, custom_mark, place in zip(*cells, strict=True):
        change = MarkChange(
            account,
            Conversation(ConversationType(int(conversation[0])), conversation[1:]),
            ConversationMark(set_mark),
            ConversationMark(clear_mark),
            custom_mark,
        )
        yield change, place


def _cells(change: MarkChange) -> tuple[Any, ...]:
    conversation = change.conversation
    return (
        change.from_account,
        f"{conversation.type:d}{conversation.id}",
        int(change.set_mark),
        int(change.clear_mark),
        change.custom_mark,
    )


def _table(records: list[tuple[Any, ...]]) -> Any:
    columns = zip(*records, strict=True)
    arrays = [
        _arrow.array(column, type=field.type)
        for column, field in zip(columns, _SCHEMA, strict=True)
    ]
    return _arrow.Table.from_arrays(arrays, schema=_SCHEMA)


def _summary(table: Any, bad: list[int], most_errors: int) -> TableSummary:
    if not table.num_rows:
        return TableSummary()
    numbers = table.column("number")
    texts = table.column("error").take(_arrow.array(bad, _arrow.int64())).to_pylist()
    errors = [
        _load_error(fields)
        for index, fields in enumerate(map(json.loads, texts))
        if index < most_errors or fields["is_of_file"]
    ]
    return TableSummary(
        numbers[0].as_py(),
        numbers[-1].as_py(),
        sum(table.column("rows").to_pylist()),
        len(bad),
        tuple(errors),
    )


def _dump_error(error: RowError) -> str:
    # JSON holds text and numbers only; a pickle could hold any object of a row.
    return json.dumps(
        {name: getattr(error, name) for name in _ERROR_FIELDS}
        | {
            "before": None if error.before is None else set_aside_row(error),
            "is_of_file": isinstance(error, FileError),
        }
    )


def _load_error(fields: dict[str, Any]) -> RowError:
    kind = FileError if fields["is_of_file"] else RowError
    error = kind(*(fields[name] for name in _ERROR_FIELDS))
    error.before = fields["before"]
    return error
