"""Files of changes."""

import functools
import itertools
import pathlib
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, Final

import attrs

from chatmark import InputError, MarkChange, MarkNames
from chatmark.jobs.sources.arrow_rows import read_parquet
from chatmark.jobs.sources.columns import Columns
from chatmark.jobs.sources.compression import decompressed
from chatmark.jobs.sources.csv_rows import read_csv
from chatmark.jobs.sources.dialect import Dialect, Notes
from chatmark.jobs.sources.formats import (
    DELIMITERS,
    EXCEL,
    ROW_FORMATS,
    SQLITE,
    FileFormat,
    compression_of,
    format_of,
    how_to_convert,
)
from chatmark.jobs.sources.json_rows import read_json
from chatmark.jobs.sources.lines import UnreadableError, as_utf8, first_bytes
from chatmark.jobs.sources.parser import RowParser
from chatmark.jobs.sources.row import FileError, Row, RowError
from chatmark.jobs.sources.storage import find_files, naming, open_file, shown

STANDARD_INPUT: Final = "-"

Rows = Iterator[Row | RowError]

_MOST_NAMED: Final = 3
# The first bytes of files that are not text, and what to do about them.
_NOT_TEXT: Final = {
    b"PK\x03\x04": EXCEL,
    b"\xd0\xcf\x11\xe0": EXCEL,
    b"SQLi": SQLITE,
}

_READERS: Final[dict[FileFormat, Callable[[BinaryIO, str, RowParser], Rows]]] = {
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
        notes: What its readers leave out.

    Raises:
        InputError: Parquet cannot be read from standard input, nor compressed once more.
    """

    path: str
    format: FileFormat
    names: MarkNames = attrs.field(factory=MarkNames)
    columns: Columns = attrs.field(factory=Columns)
    dialect: Dialect = attrs.field(factory=Dialect)
    notes: Notes = attrs.field(factory=Notes, eq=False, repr=False)

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
        return "<stdin>" if self.path == STANDARD_INPUT else shown(self.path)

    @property
    def is_stream(self) -> bool:
        """
        Whether it can be read only once, as standard input and pipes.

        Raises:
            OSError: There is no such file.
        """
        if self.path == STANDARD_INPUT or "://" in self.path:
            return self.path == STANDARD_INPUT
        mode = pathlib.Path(self.path).stat().st_mode
        # `open` explains the fault of a directory.
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))

    def read(self, stream: BinaryIO) -> Rows:
        """
        Yield each row of an open stream, or its error.

        A FileError is the last item: the rows after it are unknown.
        """
        try:
            if self.format is not FileFormat.PARQUET:
                stream = self._text_of(stream)
        except UnreadableError as error:
            yield FileError.of(self.name, 1, error)
            return
        parser = RowParser(self.names, self.columns, self.dialect, self.notes)
        yield from _READERS[self.format](stream, self.name, parser)

    def _text_of(self, stream: BinaryIO) -> BinaryIO:
        """Return the text of a stream as UTF-8."""
        stream = decompressed(stream, compression_of(self.path))
        first = first_bytes(stream, 4)
        if first in _NOT_TEXT:
            raise UnreadableError(how_to_convert(self.path, *_NOT_TEXT[first]))
        if first == b"PAR1":
            raise UnreadableError("is Parquet: add --format parquet")
        return as_utf8(stream, self.dialect.encoding)

    def rows(self) -> Rows:
        """
        Open the file and yield each row, or its error.

        Raises:
            OSError: It cannot be read.
        """
        with naming(self.path), open_file(self.path) as stream:
            self.notes.stream = stream
            try:
                yield from self.read(stream)
            finally:
                self.notes.behind, self.notes.stream = self.notes.position, None

    def changes(self) -> Iterator[MarkChange]:
        """
        Open the file and yield its changes.

        Raises:
            OSError: It cannot be read.
            RowError: A row cannot be applied.
        """
        return _changes(self.rows())


@attrs.frozen
class ChangeFiles:
    """
    Files of changes that are one input, in their order.

    Args:
        name: The name in messages.
        files: The files.
        notes: What their readers left out.
    """

    name: str
    files: tuple[ChangeFile, ...]
    notes: Notes = attrs.field(factory=Notes, eq=False, repr=False)

    @classmethod
    def of(
        cls, paths: Sequence[str], format_: FileFormat | None = None, *form: Any
    ) -> "ChangeFiles":
        """
        Return the files of paths, folders (Hive's too), patterns and URLs such as `s3://bucket/x`.

        The further arguments are those of `ChangeFile.of`.

        Raises:
            InputError: A path has no files of changes, or a format is unknown; or a stream, which
                can be read once, is one of several.
            OSError: A file does not exist.
        """
        notes = Notes()
        found = [STANDARD_INPUT] if [*paths] == [STANDARD_INPUT] else find_files(paths, format_)
        files = [attrs.evolve(ChangeFile.of(path, format_, *form), notes=notes) for path in found]
        more = f" and {len(paths) - _MOST_NAMED:,} more" if len(paths) > _MOST_NAMED else ""
        name = ", ".join(map(shown, paths[:_MOST_NAMED])) + more
        if len(files) > 1 and any(file.is_stream for file in files):
            raise InputError("path", "standard input and pipes must be the only input", name)
        return cls(files[0].name if len(found) == 1 else name, tuple(files), notes)

    @property
    def share(self) -> float | None:
        """The part that was read, from 0 to 1; None if the sizes are unknown."""
        try:
            size = sum(pathlib.Path(file.path).stat().st_size for file in self.files)
        except OSError:
            return None
        return min(1.0, self.notes.position / size) if size else None

    @property
    def is_stream(self) -> bool:
        """Whether it can be read only once; see `ChangeFile.is_stream`."""
        return len(self.files) == 1 and self.files[0].is_stream

    def read(self, stream: BinaryIO) -> Rows:
        """Yield each row of the open stream of the only file; see `ChangeFile.read`."""
        return self.files[0].read(stream)

    def rows(self) -> Rows:
        """Open one file after the other and yield each row; see `ChangeFile.rows`."""
        return itertools.chain.from_iterable(file.rows() for file in self.files)

    def changes(self) -> Iterator[MarkChange]:
        """Open one file after the other and yield the changes; see `ChangeFile.changes`."""
        return _changes(self.rows())


def _changes(rows: Rows) -> Iterator[MarkChange]:
    for row in rows:
        if isinstance(row, RowError):
            raise row
        yield from row.changes
