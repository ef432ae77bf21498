"""The slices in which the files of a job are read: groups of rows of Parquet, or whole files."""

import concurrent.futures
import os
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from chatmark.jobs.sources.arrow_rows import group_sizes, read_parquet
from chatmark.jobs.sources.files import ChangeFile, ChangeFiles, Rows
from chatmark.jobs.sources.formats import FileFormat
from chatmark.jobs.sources.lines import UnreadableError
from chatmark.jobs.sources.parser import RowParser
from chatmark.jobs.sources.row import FileError
from chatmark.jobs.sources.storage import naming, open_file

# Each of more files is one slice, because many files are parallel enough without their indexes.
_MOST_TO_SLICE: Final = 64
_ROWS_A_SLICE: Final = 200_000
_AT_ONCE: Final = 16
# The groups of rows of a part of a file, None for all, and the number of rows before it.
_Part = tuple[tuple[int, ...] | None, int]
_WHOLE: Final[Sequence[_Part]] = ((None, 0),)


@attrs.frozen
class Slice:
    """
    A part of the input that one task reads.

    Args:
        file: The file.
        path: Its path for a task, which may have another working directory.
        groups: The groups of rows of a Parquet file, None for all.
        before: The number of rows of the file before the slice.
    """

    file: ChangeFile
    path: str
    groups: Sequence[int] | None = None
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
            yield FileError(self.file.name, line + 1, "file", f"cannot be read: {error.strerror}")

    def _rows(self) -> Rows:
        file = self.file
        with naming(file.path), open_file(self.path) as stream:
            if self.groups is None:
                yield from file.read(stream)
                return
            parser = RowParser(file.names, file.columns, file.dialect, file.notes)
            yield from read_parquet(stream, file.name, parser, self.groups, self.before)


def cut_slices(files: ChangeFiles) -> list[Slice]:
    """Return the slices of files, in the order of the input."""
    parts = [_WHOLE] * len(files.files)
    if len(parts) <= _MOST_TO_SLICE:
        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            parts = list(pool.map(_parts, files.files))
    return [
        Slice(file, file.path if "://" in file.path else os.path.abspath(file.path), *part)  # noqa: PTH100
        for file, some in zip(files.files, parts, strict=True)
        for part in some
    ]


def _parts(file: ChangeFile) -> Sequence[_Part]:
    if file.format is not FileFormat.PARQUET:
        return _WHOLE
    try:
        with naming(file.path), open_file(file.path) as stream:
            sizes = group_sizes(stream)
    except UnreadableError:
        # The reader reports the error.
        return _WHOLE
    return list(_portions(sizes)) or _WHOLE


def _portions(sizes: Sequence[int]) -> Iterator[_Part]:
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
