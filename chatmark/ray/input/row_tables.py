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
from chatmark.jobs.sources.row import FileError, Record, Row, RowError, record_of, set_aside_row

# The most rows of a slice. An int64 then has room for eight million slices.
_ROWS: Final = 1 << 40
_CHANGES_A_TABLE: Final = 20_000
# The users of a table that its summary names.
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
_NO_CHANGE: Final = (None,) * len(_RECORD)
# Of a row with many changes the first counts as a row.
_SCHEMA: Final = _arrow.schema(
    {"number": _NUMBER, "rows": _arrow.int8()} | _RECORD | {"error": _TEXT, "notes": _TEXT}
)


def write_tables(
    rows: Iterable[Row | RowError], slice_: int = 0, notes: Notes | None = None
) -> Iterator[Any]:
    """Yield the rows of a slice as tables, and the notes of their reader, which it fills."""
    number = slice_ * _ROWS
    lines: list[tuple[Any, ...]] = []
    for row in rows:
        if isinstance(row, RowError):
            lines.append((number, 1, *_NO_CHANGE, _dump_error(row), None))
            number += 1
        else:
            records = [row.record] if row.record else [record_of(c, row.line) for c in row.changes]
            for count, record in enumerate(records):
                lines.append((number, int(count == 0), *record, None, None))
                number += 1
        if len(lines) >= _CHANGES_A_TABLE:
            yield _table(lines)
            lines = []
    if notes is not None and notes.lines():
        left_out = json.dumps([[*notes.columns], notes.headers, notes.others])
        lines.append((number, 0, *_NO_CHANGE, None, left_out))
    # An empty table tells the columns.
    yield _table(lines)


@attrs.frozen
class TableSummary:
    """
    A summary of a table of rows.

    Args:
        number: The number of the first row, -1 without rows.
        rows: The number of rows, bad rows included.
        changes: The number of changes.
        bad: The number of bad rows.
        errors: The first errors of rows, and all errors of files, for `load_error`.
        notes: The notes of readers, as JSON.
        accounts: Users, each with the number of changes that the user stands for.
    """

    number: int
    rows: int
    changes: int
    bad: int
    errors: list[str]
    notes: list[str]
    accounts: list[tuple[str, int]]


def summarize(table: Any, most_errors: int) -> TableSummary:
    """Return the summary of a table."""
    names = ("number", "rows", "account", "error", "notes")
    numbers, rows, accounts, errors, notes = (
        table.column(name).drop_null().to_pylist() for name in names
    )
    told = errors[:most_errors]
    told += [each for each in errors[most_errors:] if isinstance(load_error(each), FileError)]
    distance = max(1, len(accounts) // _SAMPLE)
    sample = [(account, distance) for account in accounts[::distance]]
    first = numbers[0] if numbers else -1
    return TableSummary(first, sum(rows), len(accounts), len(errors), told, notes, sample)


def read_records(table: Any) -> Iterator[Record]:
    """Yield the changes of a table as values, in the order of the input."""
    ordered = table.sort_by("number")
    columns = (ordered.column(name).to_pylist() for name in _RECORD)
    return cast("Iterator[Record]", zip(*columns, strict=True))


def _table(lines: list[tuple[Any, ...]]) -> Any:
    columns = zip(*lines, strict=True) if lines else [()] * len(_SCHEMA)
    types = zip(columns, _SCHEMA.types, strict=True)
    arrays = [_arrow.array(column, type=type_) for column, type_ in types]
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
