"""The files of a job on a cluster, local or remote, and the slices in which they are read."""

import concurrent.futures
import fnmatch
import glob
import io
import os
import posixpath
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final, cast

import attrs
import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs]
from pyarrow import fs  # pyright: ignore[reportMissingTypeStubs]

from chatmark import InputError
from chatmark.jobs.sources.arrow_rows import group_sizes, read_parquet
from chatmark.jobs.sources.files import ChangeFile, Rows
from chatmark.jobs.sources.formats import FileFormat
from chatmark.jobs.sources.lines import UnreadableError
from chatmark.jobs.sources.parser import RowParser
from chatmark.jobs.sources.row import FileError

_WILD: Final = "*?["
# Each of more files is one slice, because many files are parallel enough without their indexes.
_MOST_TO_SLICE: Final = 64
_ROWS_A_SLICE: Final = 200_000
_AT_ONCE: Final = 16
# The groups of rows of a part of a file, None for all, and the number of rows before it.
_Part = tuple[tuple[int, ...] | None, int]
_WHOLE: Final[Sequence[_Part]] = ((None, 0),)
_arrow: Any = pa
_files: Any = fs


def find_files(paths: Sequence[str]) -> list[str]:
    """
    Return the files of paths, patterns and folders; the files of each are sorted by name.

    Args:
        paths: Local paths, or URLs that pyarrow reads: `s3://`, `gs://`, `hdfs://`, ...; the last
            part may be a pattern.
    """
    found: list[str] = []
    for path in paths:
        names = sorted(_remote_files(path) if "://" in path else _local_files(path))
        if not names:
            raise InputError("path", "must name a file, a folder or a pattern with files", path)
        found += names
    return found


def open_file(path: str) -> BinaryIO:
    """Open a local or a remote file."""
    if "://" not in path:
        return open(path, "rb")  # noqa: PTH123
    system, inner = _file_system(path)
    return cast("BinaryIO", io.BufferedReader(system.open_input_file(inner)))


@attrs.frozen
class Slice:
    """
    A part of the input that one task reads.

    Args:
        number: The number of the slice, from 0 in the order of the input.
        index: The number of the file.
        file: The file.
        path: The path of the file for a worker.
        groups: The groups of rows of a Parquet file, None for all.
        before: The number of rows of the file before the slice.
    """

    number: int
    index: int
    file: ChangeFile
    path: str
    groups: tuple[int, ...] | None = None
    before: int = 0

    def rows(self) -> Rows:
        """
        Open the file and yield each row of the slice, or its error.

        An error of the disk becomes an error of the file, because Ray would report it as an error
        of the task.
        """
        line = self.before
        try:
            for row in self._rows():
                line = row.line
                yield row
        except OSError as error:
            reason = error.strerror or str(error).partition("\n")[0]
            yield FileError(self.file.name, line + 1, "file", f"cannot be read: {reason}")

    def _rows(self) -> Rows:
        with open_file(self.path) as stream:
            if self.file.format is not FileFormat.PARQUET:
                yield from self.file.read(stream)
                return
            parser = RowParser(self.file.names, self.file.columns)
            yield from read_parquet(stream, self.file.name, parser, self.groups, self.before)


def cut_slices(files: Sequence[ChangeFile]) -> list[Slice]:
    """Return the slices of files, in the order of the input."""
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        parts = list(pool.map(_parts, files)) if len(files) <= _MOST_TO_SLICE else None
    slices: list[Slice] = []
    for index, file in enumerate(files):
        # A worker may have another working directory.
        path = file.path if "://" in file.path else os.path.abspath(file.path)  # noqa: PTH100
        for groups, before in parts[index] if parts else _WHOLE:
            slices.append(Slice(len(slices), index, file, path, groups, before))
    return slices


def _parts(file: ChangeFile) -> Sequence[_Part]:
    if file.format is not FileFormat.PARQUET:
        return _WHOLE
    try:
        with open_file(file.path) as stream:
            sizes = group_sizes(stream)
    except UnreadableError:
        # The reader reports the error.
        return _WHOLE
    return list(_portions(sizes)) or _WHOLE


def _portions(sizes: Sequence[int]) -> Iterator[tuple[tuple[int, ...], int]]:
    """
    Yield the groups of rows of each slice, and the number of rows before them.

    >>> list(_portions([150_000, 150_000, 10]))
    [((0, 1), 0), ((2,), 300000)]
    """
    groups: list[int] = []
    before = rows = 0
    for number, size in enumerate(sizes):
        groups.append(number)
        rows += size
        if rows >= _ROWS_A_SLICE or number == len(sizes) - 1:
            yield tuple(groups), before
            before, rows, groups = before + rows, 0, []


def _local_files(path: str) -> list[str]:
    if os.path.isdir(path):  # noqa: PTH112
        names = (os.path.join(path, name) for name in os.listdir(path))  # noqa: PTH118, PTH208
        return [name for name in names if _is_change_file(name) and os.path.isfile(name)]  # noqa: PTH113
    if os.path.exists(path):  # noqa: PTH110
        return [path]
    return glob.glob(path) if set(path) & set(_WILD) else []  # noqa: PTH207


def _remote_files(url: str) -> list[str]:
    scheme, _, _ = url.partition("://")
    pattern = posixpath.basename(url)
    is_wild = bool(set(pattern) & set(_WILD))
    system, inner = _file_system(posixpath.dirname(url) if is_wild else url)
    # The query of a URL, such as a region, is for the file system.
    query = urllib.parse.urlsplit(url).query
    info = system.get_file_info(inner)
    if info.type is _files.FileType.File and not is_wild:
        return [url]
    if info.type is not _files.FileType.Directory:
        return []
    found = system.get_file_info(_files.FileSelector(inner))
    names = [each.path for each in found if each.type is _files.FileType.File]
    if is_wild:
        wanted = [each for each in names if fnmatch.fnmatchcase(posixpath.basename(each), pattern)]
    else:
        wanted = [each for each in names if _is_change_file(each)]
    return [f"{scheme}://{each}{'?' if query else ''}{query}" for each in wanted]


def _is_change_file(name: str) -> bool:
    """Say whether a file of a folder has changes; others, such as `_SUCCESS`, do not."""
    base = posixpath.basename(name)
    if base.startswith(("_", ".")):
        return False
    try:
        ChangeFile.of(base)
    except InputError:
        return False
    return True


def _file_system(url: str) -> tuple[Any, str]:
    try:
        system, inner = _files.FileSystem.from_uri(url)
    except _arrow.ArrowInvalid as error:
        raise InputError("path", str(error).partition("\n")[0], url) from None
    return system, inner
