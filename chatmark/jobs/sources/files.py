"""Files of changes."""

import functools
import pathlib
import stat
from collections.abc import Iterator
from typing import BinaryIO, Final

import attrs

from chatmark import InputError, MarkChange, MarkNames
from chatmark.jobs.sources.arrow_rows import read_parquet
from chatmark.jobs.sources.columns import Columns
from chatmark.jobs.sources.compression import decompressed
from chatmark.jobs.sources.csv_rows import read_csv
from chatmark.jobs.sources.dialect import Dialect, Notes
from chatmark.jobs.sources.formats import (
    DELIMITERS,
    ROW_FORMATS,
    FileFormat,
    compression_of,
    format_of,
)
from chatmark.jobs.sources.json_rows import read_json
from chatmark.jobs.sources.lines import UnreadableError, as_utf8
from chatmark.jobs.sources.parser import RowParser
from chatmark.jobs.sources.row import FileError, Row, RowError

STANDARD_INPUT: Final = "-"

Rows = Iterator[Row | RowError]


_READERS: Final = {
    FileFormat.JSON_LINES: read_json,
    FileFormat.CSV: read_csv,
    FileFormat.TSV: functools.partial(read_csv, delimiter=DELIMITERS[FileFormat.TSV]),
    FileFormat.PARQUET: read_parquet,
}


@attrs.frozen
class ChangeFile:
    """
    A file of changes, or standard input.

    Args:
        path: Where it is, "-" for standard input.
        format: The format of its rows.
        names: A team's own names for its extension bits.
        columns: Its names for the fields of a row.
        dialect: How its text is written.

    Attributes:
        notes: What its readers left out.

    Raises:
        InputError: Parquet cannot be read from standard input, nor compressed once more.
    """

    path: str
    format: FileFormat
    names: MarkNames = attrs.field(factory=MarkNames)
    columns: Columns = attrs.field(factory=Columns)
    dialect: Dialect = attrs.field(factory=Dialect)
    notes: Notes = attrs.field(factory=Notes, init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.format is not FileFormat.PARQUET:
            return
        if self.path == STANDARD_INPUT:
            raise InputError("format", "Parquet is read from a file, not from standard input")
        if compression_of(self.path) is not None:
            raise InputError("format", "Parquet is compressed inside, not as a whole", self.path)

    @classmethod
    def of(
        cls,
        path: str,
        format_: FileFormat | None = None,
        names: MarkNames | None = None,
        columns: Columns | None = None,
        dialect: Dialect | None = None,
    ) -> "ChangeFile":
        """
        Return the file of this path, with the format that its name tells unless one is given.

        Raises:
            InputError: The name tells no format, and none is given.
        """
        if format_ is None:
            format_ = format_of("stdin.jsonl" if path == STANDARD_INPUT else path, ROW_FORMATS)
        return cls(path, format_, names or MarkNames(), columns or Columns(), dialect or Dialect())

    @property
    def name(self) -> str:
        """The name in messages."""
        return "<stdin>" if self.path == STANDARD_INPUT else self.path

    @property
    def is_stream(self) -> bool:
        """
        Whether it can be read only once, as standard input and pipes.

        Raises:
            OSError: There is no such file.
        """
        if self.path == STANDARD_INPUT:
            return True
        mode = pathlib.Path(self.path).stat().st_mode
        # `open` explains the fault of a directory.
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))

    def read(self, stream: BinaryIO) -> Rows:
        """
        Yield each row of an open stream, or its error.

        A FileError is the last item: the rows after it are unknown.
        """
        if self.format is not FileFormat.PARQUET:
            try:
                stream = decompressed(stream, compression_of(self.path))
                stream = as_utf8(stream, self.dialect.encoding)
            except UnreadableError as error:
                yield FileError.of(self.name, 1, error)
                return
        parser = RowParser(self.names, self.columns, self.dialect, self.notes)
        yield from _READERS[self.format](stream, self.name, parser)

    def rows(self) -> Rows:
        """
        Open the file and yield each row, or its error.

        Raises:
            OSError: It cannot be read.
        """
        with pathlib.Path(self.path).open("rb") as stream:
            yield from self.read(stream)

    def changes(self) -> Iterator[MarkChange]:
        """
        Open the file and yield its changes.

        Raises:
            OSError: It cannot be read.
            RowError: A row cannot be applied.
        """
        for row in self.rows():
            if isinstance(row, RowError):
                raise row
            yield from row.changes
