"""Files of changes on disks and in object stores: paths, folders, patterns and URLs."""

import contextlib
import errno
import fnmatch
import functools
import glob
import io
import itertools
import os
import pathlib
import re
import stat
import urllib.parse
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, BinaryIO, Final, cast

import attrs

from chatmark import InputError, MarkChange, MarkNames
from chatmark.jobs.sources.arrow_rows import load_arrow, read_parquet
from chatmark.jobs.sources.csv_rows import read_csv
from chatmark.jobs.sources.dialect import Columns, Dialect, Notes
from chatmark.jobs.sources.formats import (
    DELIMITERS,
    ROW_FORMATS,
    FileFormat,
    format_of,
    text_of,
    told_format,
)
from chatmark.jobs.sources.json_rows import json_parser, read_json
from chatmark.jobs.sources.parser import RowParser
from chatmark.jobs.sources.row import OWN_FIELDS, Found, RowError, Rows, rows_of

STANDARD_INPUT: Final = "-"

_MOST_NAMED: Final = 3
_WILD: Final = re.compile(r"[*?\[]").search
# The scheme with a user, the place, and the query, such as a region, which is for the store.
_URL: Final = re.compile(r"(\w+://(?:[^/@]*@)?)(.*?)(\?\w+=.*)?", re.DOTALL).fullmatch
_SAFE: Final = "/=+,:@!$&'()~;"
# Hive writes the value of a column into the names of folders.
_PARTITION: Final = re.compile(rf"(?:^|/)(({'|'.join(OWN_FIELDS)})=[^/]*)/").search

_READERS: Final[dict[FileFormat, Callable[[BinaryIO, RowParser], Iterator[Found]]]] = {
    FileFormat.JSON_LINES: lambda stream, _: read_json(stream),
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
    """

    path: str
    format: FileFormat
    names: MarkNames = attrs.field(factory=MarkNames)
    columns: Columns = attrs.field(factory=Columns)
    dialect: Dialect = attrs.field(factory=Dialect)
    notes: Notes = attrs.field(factory=Notes, eq=False, repr=False)

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
        parser = RowParser(self.names, self.columns, self.dialect, self.notes)

        def found() -> Iterator[Found]:
            is_text = self.format is not FileFormat.PARQUET
            text = text_of(stream, self.path, self.dialect.encoding) if is_text else stream
            return _READERS[self.format](text, parser)

        is_json = self.format is FileFormat.JSON_LINES
        parse = json_parser(parser) if is_json else parser.cells
        return rows_of(found, parse, self.name)

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


def find_files(paths: Sequence[str], format_: FileFormat | None = None) -> list[str]:
    """
    Return the files of paths, patterns and folders; those of each are sorted by name.

    Of a folder, files whose names tell no format are left out unless *format_* is given, and those
    that begin with `_` or a dot always.
    """
    found: list[str] = []
    for path in paths:
        with naming(path):
            listed = _remote_files(path) if "://" in path else _local_files(path)
            names = sorted(name for name, below in listed if _has_changes(below, format_))
        if not names:
            raise InputError("path", "has no files of changes", shown(path))
        for partition in filter(None, map(_PARTITION, names)):
            reason = "is in the name of a folder, which is not read: write it as a column"
            raise InputError(partition[2], reason, partition[1])
        found += names
    return found


def _has_changes(below: Sequence[str], format_: FileFormat | None) -> bool:
    """Say whether a file has changes, which is that far below what was named, or named itself."""
    if not below:
        return True
    is_hidden = any(part.startswith(("_", ".")) for part in below)
    return not is_hidden and (format_ is not None or told_format(below[-1]) is not None)


def open_file(path: str) -> BinaryIO:
    if "://" not in path:
        return open(path, "rb")  # noqa: PTH123
    system, inner = file_system(path)
    return cast("BinaryIO", io.BufferedReader(system.open_input_file(inner)))


@contextlib.contextmanager
def naming(path: str) -> Generator[None]:
    """Let the errors of the system have the name of a file, and those of object stores a number."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise OSError(errno.EIO, str(error).partition("\n")[0], shown(path)) from None
        error.filename = error.filename or shown(path)
        raise


def shown(path: str) -> str:
    """Return a path for messages, without the secrets that a URL may have."""
    url = _URL(path)
    return f"{url[1].partition('://')[0]}://{url[2]}" if url else path


def _local_files(path: str) -> Iterator[tuple[str, Sequence[str]]]:
    # The name of a file may look like a pattern.
    is_pattern = _WILD(path) and not os.path.exists(path)  # noqa: PTH110
    for each in glob.glob(path, recursive=True) if is_pattern else [path]:  # noqa: PTH207
        if not stat.S_ISDIR(os.stat(each).st_mode):  # noqa: PTH116
            yield each, ()
            continue
        for folder, _, names in os.walk(each, onerror=_raise):
            within = pathlib.Path(folder).relative_to(each).parts
            for name in names:
                yield os.path.join(folder, name), (*within, name)  # noqa: PTH118


def _raise(error: OSError) -> None:
    raise error


def _remote_files(url: str) -> Iterator[tuple[str, Sequence[str]]]:
    found = _URL(url)
    assert found is not None  # noqa: S101 - it has a scheme.
    prefix, place, query = found[1], found[2].rstrip("/"), found[3] or ""
    parts = place.split("/")
    fixed = list(itertools.takewhile(lambda part: not _WILD(part), parts))
    pattern = parts[len(fixed) :]
    start = prefix + "/".join(fixed)
    system, root = file_system(start + query)
    info = system.get_file_info(root)
    if info.is_file:
        yield url, ()
        return
    if info.type.name == "NotFound":
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), shown(url))
    selector = load_arrow().fs.FileSelector(root, recursive=True)
    for each in system.get_file_info(selector):
        within = each.path[len(root) :].strip("/").split("/")
        is_below = len(within) >= len(pattern) and all(map(fnmatch.fnmatchcase, within, pattern))
        if each.is_file and is_below:
            name = urllib.parse.quote("/".join(within), _SAFE)
            yield f"{start}/{name}{query}", within[len(pattern) :]


def file_system(url: str) -> tuple[Any, str]:
    """Return the file system of pyarrow for a URL, and the path there."""
    pa = load_arrow("a URL")
    try:
        system = pa.fs.FileSystem.from_uri(urllib.parse.quote(url, f"{_SAFE}%?"))
    except pa.ArrowInvalid as error:
        # Arrow's text repeats the URL.
        reason = str(error).partition(" URI: ")[0].partition(": ")[0]
        raise InputError("path", f"cannot be opened: {reason}", shown(url)) from None
    return cast("tuple[Any, str]", system)
