"""
Checked rows as Arrow tables, the form in which they travel in a cluster.

A row of a table is one change, the error of a row, or the notes of a slice's reader. Its number
gives its order in the input.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, cast

import attrs
import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs]

from chatmark.jobs.sources.dialect import Notes
from chatmark.jobs.sources.row import (
    FileError,
    Record,
    Row,
    RowError,
    record_of,
    set_aside_row,
)

# The most rows of a slice. An int64 then has room for eight million slices.
_ROWS: Final = 1 << 40
_CHANGES_A_TABLE: Final = 20_000
# The most users of a table that its summary names.
_SAMPLE: Final = 200
_arrow: Any = pa
_TEXT: Final = _arrow.string()
_NUMBER: Final = _arrow.int64()
_RECORD: Final = {
    "account": _TEXT,
    "conversation": _TEXT,
    "set_mark": _NUMBER,
    "clear_mark": _NUMBER,
    "custom_mark": _TEXT,
    "reserved": _arrow.bool_(),
    "line": _NUMBER,
}
# Of rows, the first change of each counts: their sum is the number of rows.
_SCHEMA: Final = _arrow.schema(
    {"number": _NUMBER, "rows": _arrow.int8()} | _RECORD | {"error": _TEXT, "notes": _TEXT}
)
_NO_CHANGE: Final = (None,) * len(_RECORD)


def write_tables(
    rows: Iterable[Row | RowError], slice_: int = 0, notes: Notes | None = None
) -> Iterator[Any]:
    """Yield the rows of a slice as tables, and the notes of its reader, which come last."""
    number = slice_ * _ROWS
    records: list[tuple[Any, ...]] = []
    for row in rows:
        if isinstance(row, RowError):
            records.append((number, 1, *_NO_CHANGE, _dump_error(row), None))
            number += 1
        else:
            for count, record in enumerate(_records_of(row)):
                records.append((number, int(count == 0), *record, None, None))
                number += 1
        if len(records) >= _CHANGES_A_TABLE:
            yield _table(records)
            records = []
    if notes is not None and notes.lines():
        left_out = {"columns": [*notes.columns], "headers": notes.headers, "others": notes.others}
        records.append((number, 0, *_NO_CHANGE, None, json.dumps(left_out)))
    # An empty table tells the columns.
    yield _table(records)


@attrs.frozen
class TableSummary:
    """
    A summary of a table of rows.

    Args:
        number: The number of the first row, -1 without rows.
        rows: The number of rows, bad rows included.
        changes: The number of changes.
        bad: The number of bad rows.
        errors: For `load_error`: the first errors of rows, and all errors of files.
        notes: The notes of readers, as JSON.
        accounts: The users of some changes at equal distances.
        distance: The number of changes for each of them.
    """

    number: int
    rows: int
    changes: int
    bad: int
    errors: list[str]
    notes: list[str]
    accounts: list[str]
    distance: int


def summarize(table: Any, most_errors: int) -> TableSummary:
    """Return the summary of a table."""
    accounts, errors, notes = (
        table.column(name).drop_null().to_pylist() for name in ("account", "error", "notes")
    )
    distance = max(1, len(accounts) // _SAMPLE)
    return TableSummary(
        table.column("number")[0].as_py() if table.num_rows else -1,
        sum(table.column("rows").to_pylist()),
        len(accounts),
        len(errors),
        [
            error
            for index, error in enumerate(errors)
            if index < most_errors or isinstance(load_error(error), FileError)
        ],
        notes,
        accounts[::distance],
        distance,
    )


def read_records(table: Any) -> Iterator[Record]:
    """Yield the changes of a table as values, in the order of the input."""
    ordered = table.sort_by("number")
    columns = (ordered.column(name).to_pylist() for name in _RECORD)
    return cast("Iterator[Record]", zip(*columns, strict=True))


def _records_of(row: Row) -> list[Record]:
    if row.record is not None:
        return [row.record]
    return [record_of(change, row.line) for change in row.changes]


def _table(records: list[tuple[Any, ...]]) -> Any:
    columns = zip(*records, strict=True) if records else [()] * len(_SCHEMA)
    arrays = [
        _arrow.array(column, type=field.type)
        for column, field in zip(columns, _SCHEMA, strict=True)
    ]
    return _arrow.Table.from_arrays(arrays, schema=_SCHEMA)


def _dump_error(error: RowError) -> str:
    # JSON holds text and numbers only; a pickle could hold any object of a row.
    before = None if error.before is None else set_aside_row(error)
    values = (error.file, error.line, error.field, error.reason, error.raw, before)
    return json.dumps([*values, isinstance(error, FileError)])


def load_error(text: str) -> RowError:
    """Return the error of a row."""
    *values, before, is_of_file = json.loads(text)
    error = (FileError if is_of_file else RowError)(*values)
    error.before = before
    return error
