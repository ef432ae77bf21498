"""
CSV with a header: one row a record.
"""

import csv
from collections.abc import Iterator
from typing import BinaryIO, Final

from chatmark.errors import InputError
from chatmark.jobs.lines import decode_line, numbered_lines
from chatmark.jobs.rows import FIELDS, TARGETS, Row, RowError, RowParser, unknown_field

_NEEDED: Final = "from_account"


class _Text(Iterator[str]):
    """
    Lines for `csv.reader`, which remembers what was wrong with those that are not text.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._lines = numbered_lines(stream)
        self.number = 0
        self.fault: InputError | None = None

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        try:
            return decode_line(line)
        except InputError as error:
            # The record is refused when it is whole: its other lines are not rows of their own.
            self.fault = self.fault or error
            return line.decode("utf-8", "replace")


def read_csv(stream: BinaryIO, file: str, parser: RowParser) -> Iterator[Row | RowError]:
    """
    Yield each row, or what is wrong with it; rows of empty cells are none.

    A header that will not do is the only thing that is yielded.
    """
    text = _Text(stream)
    records = csv.reader(text, strict=True)
    header: list[str] = []
    while True:
        line = text.number + 1
        try:
            cells = next(records, None)
            fault, text.fault = text.fault, None
            if fault is not None:
                raise fault
            if cells is None:
                break
            if not any(cells):
                continue
            if header:
                yield Row(line, parser.parse_text(_filled(header, cells)))
            else:
                header = _header(cells)
        except csv.Error as error:
            text.fault = None
            yield RowError(file, line, "row", f"is no CSV: {error}")
        except InputError as error:
            yield RowError(file, line, error.field, error.reason)
        if not header:
            return
    if not header:
        yield RowError(file, 1, "header", "is missing: the file is empty")


def _header(cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    for name in header:
        if name not in FIELDS:
            if ";" in name or "\t" in name:
                raise InputError("header", "columns are separated by commas", name)
            raise unknown_field(name)
        if header.count(name) > 1:
            raise InputError(name, "stands twice in the header")
    if _NEEDED not in header:
        raise InputError(_NEEDED, "is no column of the header")
    if not set(TARGETS) & set(header):
        raise InputError(TARGETS[0], "is no column of the header, and neither is to_group_id")
    return header


def _filled(header: list[str], cells: list[str]) -> dict[str, str]:
    if len(cells) != len(header):
        raise InputError("row", f"has {len(cells)} cells, the header has {len(header)}")
    return {name: cell for name, cell in zip(header, cells, strict=True) if cell}
