"""CSV with a header: one row a record."""

import csv
from collections.abc import Iterator, Sequence
from typing import BinaryIO, final

from chatmark import InputError
from chatmark.jobs.sources.columns import Columns
from chatmark.jobs.sources.lines import (
    MAX_LINE_BYTES,
    UnreadableError,
    decode_line,
    numbered_lines,
    raw_text,
)
from chatmark.jobs.sources.parser import RowParser, refuse_set_aside
from chatmark.jobs.sources.row import OWN_FIELDS, FileError, Row, RowError


@final
class CsvRecords(Iterator[str]):
    """
    Records of a stream; `line` is the line on which the last one starts.

    As an iterator it yields the lines, which `csv.reader` wants.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._lines = numbered_lines(stream)
        self._reader = csv.reader(self, strict=True)
        self._record: list[bytes] = []
        self._bytes = 0
        self._number = 0
        self._fault: InputError | None = None
        self.line = 1

    def read(self) -> list[str] | None:
        """Return the cells of the next record, None after the last."""
        self.line = self._number + 1
        self._record.clear()
        self._bytes = 0
        self._fault = None
        try:
            cells = next(self._reader, None)
        except csv.Error as error:
            raise InputError("row", f"is not CSV: {error}") from None
        if self._fault is not None:
            raise self._fault
        return cells

    def raw(self) -> str:
        """Return the lines of the record."""
        return raw_text(b"".join(self._record))

    def __next__(self) -> str:
        self._number, line = next(self._lines)
        self._record.append(line)
        self._bytes += len(line)
        if self._bytes > MAX_LINE_BYTES:
            # Ends the record here, for a quote that is never closed would take the whole file.
            raise InputError("row", f"is longer than {MAX_LINE_BYTES} bytes")
        try:
            return decode_line(line)
        except InputError as error:
            # The record is refused when it is whole: its other lines are not rows of their own.
            self._fault = self._fault or error
            return line.decode("utf-8", "replace")


def read_csv(stream: BinaryIO, file: str, parser: RowParser) -> Iterator[Row | RowError]:
    """Yield each row, or its error; a FileError, for example of the header, is the last."""
    records = CsvRecords(stream)
    try:
        header = _header(records, parser.columns)
    except InputError as error:
        yield FileError.of(file, records.line, error, records.raw())
        return
    # An empty cell is appended for the fields that the file lacks.
    places = [header.index(field) if field in header else len(header) for field in OWN_FIELDS]
    while True:
        try:
            cells = records.read()
            if cells is None:
                return
            if not any(cells):
                continue
            if len(cells) != len(header):
                reason = f"has {len(cells)} cells, the header has {len(header)}"
                raise InputError("row", reason)  # noqa: TRY301 - an error like those of cells.
            cells.append("")
            own = [cells[place] or None for place in places]
            if own[0] is None:
                filled = zip(header, cells, strict=False)
                refuse_set_aside({name: cell for name, cell in filled if cell and name})
            change = parser.parse_cells(own)
        except UnreadableError as error:
            yield FileError.of(file, records.line, error, records.raw())
            return
        except InputError as error:
            yield RowError.of(file, records.line, error, records.raw())
        else:
            yield Row(records.line, [change])


def _header(records: CsvRecords, columns: Columns) -> list[str | None]:
    while (cells := records.read()) is not None:
        if any(cells):
            return _fields(cells, columns)
    raise InputError("header", "is missing: the file is empty")


def _fields(cells: Sequence[str], columns: Columns) -> list[str | None]:
    names = [cell.strip() for cell in cells]
    try:
        return columns.header(names)
    except InputError as error:
        if ";" in error.field or "\t" in error.field:
            raise InputError("header", "columns are separated by commas", error.field) from None
        raise
