"""What the readers of files say: of each row its line and its change, of a bad one the error."""

import io
from typing import Any, Final

from chatmark import MarkChange
from chatmark.jobs import ChangeFile, Columns, Dialect
from chatmark.jobs.sources.row import Row, RowError

HEADER: Final = "from_account,to_account,to_group_id,set_mark,clear_mark,custom_mark\n"
ROW: Final = '{"from_account": "a", "to_account": "b", "set_mark": [0]}'


def read(data: str | bytes, name: str, **options: Any) -> list[Row | RowError]:
    """Return the rows of a file, which is in memory; the options are those of `ChangeFile.of`."""
    stream = io.BytesIO(data.encode() if isinstance(data, str) else data)
    return list(ChangeFile.of(name, **options).read(stream))


def said(change: MarkChange) -> tuple[object, ...]:
    """Return what a change says, as values."""
    marks = change.set_mark.bits, change.clear_mark.bits
    return change.from_account, str(change.conversation), *marks, change.custom_mark


def told(
    data: str | bytes, name: str = "f.csv", columns: Columns | None = None, **dialect: Any
) -> list[Any]:
    """Return the line and the change of each row, or the text of its error, and the notes."""
    file = ChangeFile.of(name, columns=columns, dialect=Dialect(**dialect))
    stream = io.BytesIO(data.encode() if isinstance(data, str) else data)
    found: list[Any] = []
    for row in file.read(stream):
        if isinstance(row, Row):
            found += [(row.line, *said(each)) for each in row.changes]
        else:
            found.append(str(row))
    return found + file.notes.lines()
