"""The slices in which the files of a job are read: groups of rows of Parquet, or whole files."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from chatmark.jobs.sources.arrow_rows import group_sizes, read_parquet
from chatmark.jobs.sources.files import ChangeFile, ChangeFiles, Rows, naming, open_file
from chatmark.jobs.sources.formats import FileFormat, UnreadableError
from chatmark.jobs.sources.parser import RowParser
from chatmark.jobs.sources.row import FileError

# Each of more files is one slice, because many files are parallel enough without their indexes.
_MOST_TO_SLICE: Final = 64
_ROWS_A_SLICE: Final = 200_000


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
        file, line = self.file, self.before
        try:
            with naming(file.name), open_file(self.path) as stream:
                rows = file.read(stream)
                if self.groups is not None:
                    parser = RowParser(file.names, file.columns, file.dialect, file.notes)
                    rows = read_parquet(stream, file.name, parser, self.groups, self.before)
                for row in rows:
                    line = row.line
                    yield row
        except OSError as error:
            yield FileError(file.name, line + 1, "file", f"cannot be read: {error.strerror}")


def cut_slices(files: ChangeFiles) -> list[Slice]:
    """Return the slices of files, in the order of the input."""
    slices: list[Slice] = []
    for file in files.files:
        path = file.path if "://" in file.path else os.path.abspath(file.path)  # noqa: PTH100
        slices += [Slice(file, path)]
        if file.format is FileFormat.PARQUET and len(files.files) <= _MOST_TO_SLICE:
            # The reader reports a file that cannot be read.
            with contextlib.suppress(UnreadableError), naming(file.name), open_file(path) as stream:
                parts = list(_portions(group_sizes(stream)))
                slices[-1:] = [Slice(file, path, *part) for part in parts] or slices[-1:]
    return slices


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
