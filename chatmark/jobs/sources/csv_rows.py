"""CSV and TSV with a header: one row a record."""

import csv
import functools
import io
import itertools
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, Final, final

from chatmark import InputError
from chatmark.jobs.sources.dialect import UNNAMED, Columns, Dialect
from chatmark.jobs.sources.formats import MAX_LINE_BYTES, UnreadableError, decoded
from chatmark.jobs.sources.parser import RowParser, refuse_set_aside
from chatmark.jobs.sources.row import OWN_FIELDS, Found

_SEPARATOR: Final = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@final
class CsvRecords:
    """
    Records of a stream of UTF-8; `line` is the line on which the last one starts.

    A byte that is not UTF-8 is half a character in a cell. *delimiter* counts if neither the
    dialect nor the first line tells one.
    """

    def __init__(self, stream: BinaryIO, dialect: Dialect, delimiter: str) -> None:
        # It closes the stream when it goes, so it stays.
        self._text = io.TextIOWrapper(stream, "utf-8", "surrogateescape", newline="")
        lines = iter(functools.partial(self._text.readline, MAX_LINE_BYTES + 1), "")
        first = next(lines, "")
        if found := _SEPARATOR.fullmatch(first):
            delimiter, first = found[1], next(lines, "")
        delimiter = dialect.delimiter or delimiter
        # Whether this is the text form of PostgreSQL's COPY.
        self.is_copy = delimiter == "\t" and r"\N" in dialect.null
        quoting: Any = csv.QUOTE_NONE if self.is_copy else csv.QUOTE_MINIMAL
        noted = map(self._note, itertools.chain(filter(None, [first]), lines))
        self._reader = csv.reader(noted, delimiter=delimiter, quoting=quoting, strict=True)
        self._before = 1 if found else 0
        self._lines: list[str] = []
        self._size = 0
        self.line = 1

    def read(self) -> list[str] | None:
        """Return the cells of the next record, None after the last."""
        self.line = self._before + self._reader.line_num + 1
        self._lines.clear()
        self._size = 0
        try:
            return next(self._reader, None)
        except csv.Error as error:
            # The rest of a cell that is open must not be read as rows.
            if len(self._lines) > 1 or "limit" in str(error):
                raise UnreadableError(f"is not CSV from here on: {error}", self.line) from None
            raise InputError("row", f"is not CSV: {error}") from None

    def read_all(self, read: Callable[[], Sequence[Any] | None]) -> Iterator[Found]:
        """Yield what *read* returns of each record, until that is None."""
        raw = self.raw
        while True:
            try:
                cells = read()
            except UnreadableError:
                raise
            except InputError as error:
                yield self.line, raw, error
                continue
            if cells is None:
                return
            yield self.line, raw, cells

    def raw(self) -> bytes:
        """Return the bytes of the last record."""
        return "".join(self._lines).encode("utf-8", "surrogateescape")

    def _note(self, line: str) -> str:
        self._lines.append(line)
        self._size += len(line)
        if self._size > MAX_LINE_BYTES:
            # A quote that is never closed would take the whole file.
            reason = f"has a record of more than {MAX_LINE_BYTES} bytes"
            raise UnreadableError(reason, self.line)
        return line


def read_csv(stream: BinaryIO, parser: RowParser, delimiter: str = ",") -> Iterator[Found]:
    """Yield the cells of `OWN_FIELDS` of each record."""
    records = CsvRecords(stream, parser.dialect, delimiter)
    return records.read_all(_Table(records, parser).next_cells)


@final
class _Table:
    """The records behind a header, which says where the fields are."""

    def __init__(self, records: CsvRecords, parser: RowParser) -> None:
        self._records = records
        self._notes = parser.notes
        self._null = parser.dialect.null
        self._first: list[str] | None = None
        cells = next((cells for cells in iter(records.read, None) if any(cells)), None)
        if cells is None:
            raise InputError("header", "is missing: the file is empty")
        self._names = [cell.strip() or f"#{number}" for number, cell in enumerate(cells, 1)]
        if records.is_copy and not parser.columns.knows_some(self._names):
            self._begin_without(cells)
        self._fields = self._fields_of(parser.columns)
        self._key = self._names[self._fields.index(OWN_FIELDS[0])]
        # An empty cell is appended for the fields that the file lacks.
        places = {field: place for place, field in enumerate(self._fields)}
        self._places = [places.get(field, len(cells)) for field in OWN_FIELDS]
        are_noted = self._first is not None or parser.columns.ignore_unknown
        columns = enumerate([] if are_noted else zip(self._names, self._fields, strict=True))
        self._unnamed = [place for place, (name, field) in columns if not field and UNNAMED(name)]

    def _begin_without(self, first: list[str]) -> None:
        """Read a table of COPY, which writes no header unless it is told."""
        self._first = first
        more = [f"#{number}" for number in range(len(OWN_FIELDS) + 1, len(first) + 1)]
        self._names = [*OWN_FIELDS[: len(first)], *more]
        taken = f"there is no header: the columns are taken for {', '.join(OWN_FIELDS)}"
        self._notes.others.append(taken + (f"; left out: {', '.join(more)}" if more else ""))

    def _fields_of(self, columns: Columns) -> list[str | None]:
        try:
            return columns.header(self._names, self._notes)
        except InputError:
            decoded(self._records.raw())
            [name, *others] = self._names
            found = next((each for each in (";", "\t", "|", ",") if each in name), None)
            if others or found is None:
                raise
            shown = "tab" if found == "\t" else found
            reason = f"has one column; add --delimiter {shlex.quote(shown)}, which is in its name"
            raise InputError("header", reason, name) from None

    def next_cells(self) -> list[str | None] | None:
        """Return the cells of `OWN_FIELDS` of the next record, None after the last."""
        while (cells := self._first or self._records.read()) is not None:
            self._first = None
            if len(cells) != len(self._names) and not self._fits(cells):
                continue
            cells.append("")
            own = [cells[place] or None for place in self._places]
            if (own[0] is None or own[0].endswith(self._key)) and not self._is_row(cells):
                continue
            for place in self._unnamed:
                if cells[place].strip():
                    reason = "has a value, and no name in the header: name it there, or add"
                    option = f"--map FIELD=#{place + 1}, or --ignore-unknown"
                    raise InputError(f"column {place + 1}", f"{reason} {option}", cells[place])
            if self._null:
                own = [None if cell in self._null else cell for cell in own]
            if self._records.is_copy:
                own = [cell and _ESCAPED.sub(_character, cell) for cell in own]
            return own
        return None

    def _fits(self, cells: list[str]) -> bool:
        """Whether a record of another length is a row; blank cells behind it are cut off."""
        count = len(self._names)
        if not any(cells) or (self._records.is_copy and cells == [r"\."]):
            return False
        if any(cells[count:]) or len(cells) < count:
            raise InputError("row", f"has {len(cells)} cells, the header has {count}")
        del cells[count:]
        return True

    def _is_row(self, cells: Sequence[str]) -> bool:
        found = [cell.strip("\ufeff \t") or f"#{place}" for place, cell in enumerate(cells, 1)]
        if found[:-1] == self._names:
            self._notes.headers += 1
            return False
        filled = zip(self._fields, cells, strict=False)
        refuse_set_aside({name: cell for name, cell in filled if cell and name})
        return any(cells)


def _character(found: re.Match[str]) -> str:
    return _ESCAPES.get(found[1], found[1])
