"""
The input of a job: slices of files, which tasks read and check, and partitions, which are sent.

A partition has the users between two others, in the order in which one process sends them. Changes
travel as lists of records, in the order of the input. The functions that run as tasks are
`read_slice`, `split` and `group`.
"""

import bisect
import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs

from chatmark.jobs.counting import Addable, Phase
from chatmark.jobs.grouping import Size, Spool, new_digest
from chatmark.jobs.sources.arrow_rows import group_sizes, read_parquet
from chatmark.jobs.sources.dialect import Notes
from chatmark.jobs.sources.files import ChangeFile, ChangeFiles, naming, open_file
from chatmark.jobs.sources.formats import FileFormat, UnreadableError
from chatmark.jobs.sources.parser import RowParser
from chatmark.jobs.sources.row import FileError, Record, RowError, Rows, record_of, rows_of

# Each of more files is one slice, because many files are parallel enough without their indexes.
_MOST_TO_SLICE: Final = 64
_ROWS_A_SLICE: Final = 200_000
_CHANGES_A_LIST: Final = 100_000
# The users of a list of changes that the summary of its slice names.
_SAMPLE: Final = 200


@attrs.frozen
class Slice:
    """
    A part of the input that one task reads: groups of rows of Parquet, or a whole file.

    Args:
        path: The path of the file for a task, which may have another working directory.
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
                    part = (stream, parser, self.groups, self.before)
                    rows = rows_of(lambda: read_parquet(*part), parser.cells, file.name)
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
                parts = _portions(group_sizes(stream))
                slices[-1:] = [Slice(file, path, *part) for part in parts] or slices[-1:]
    return slices


def _portions(sizes: Sequence[int]) -> Iterator[tuple[tuple[int, ...], int]]:
    """Yield the groups of rows of each slice, and the number of rows before them."""
    before = [0, *itertools.accumulate(sizes)]
    step = max(1, _ROWS_A_SLICE * len(sizes) // max(1, before[-1]))
    for first in range(0, len(sizes), step):
        yield tuple(range(first, min(first + step, len(sizes)))), before[first]


@attrs.frozen
class Summary(Addable):
    """
    A summary of what there is in slices besides their changes.

    Args:
        rows: The number of rows, bad rows included.
        errors: The first errors of rows, and all errors of files.
        users: Some users, each with the number of changes that the user stands for.
    """

    rows: int = 0
    changes: int = 0
    bad: int = 0
    errors: list[RowError] = attrs.field(factory=list[RowError])
    users: list[tuple[str, int]] = attrs.field(factory=list[tuple[str, int]])


def read_slice(part: Slice, most_errors: int) -> Iterator[list[Record] | tuple[Summary, Notes]]:
    """Yield the changes of a slice, some at a time, and at the end its summary and its notes."""
    records: list[Record] = []
    errors: list[RowError] = []
    summary = Summary()
    rows = bad = 0
    for rows, row in enumerate(part.rows(), 1):  # noqa: B007
        if isinstance(row, RowError):
            bad += 1
            if len(errors) < most_errors or isinstance(row, FileError):
                errors.append(row)
            continue
        records += [row.record] if row.record else [record_of(c, row.line) for c in row.changes]
        if len(records) >= _CHANGES_A_LIST:
            summary += _sample(records)
            yield records
            records = []
    yield records
    yield summary + _sample(records) + Summary(rows, 0, bad, errors), part.file.notes


def _sample(records: Sequence[Record]) -> Summary:
    distance = max(1, len(records) // _SAMPLE)
    users = [(record[0], distance) for record in records[::distance]]
    return Summary(changes=len(records), users=users)


def divide(accounts: Sequence[tuple[str, int]], partitions: int) -> list[str]:
    """
    Return the first user of each partition but the first, for partitions of about equal size.

    >>> divide([("d", 1), ("a", 1), ("b", 1), ("c", 9)], 3)
    ['c', 'd']
    """
    total = sum(count for _, count in accounts)
    found: list[str] = []
    before, share = 0, -1
    for account, of_user in itertools.groupby(sorted(accounts), key=lambda each: each[0]):
        if before * partitions // total != share:
            share = before * partitions // total
            found.append(account)
        before += sum(count for _, count in of_user)
    return found[1:]


def split(first_users: Sequence[str], *lists: list[Record]) -> list[list[Record]]:
    """Return the changes of lists in other lists, one for each partition, and an empty one."""
    parts: list[list[Record]] = [[] for _ in range(len(first_users) + 2)]
    for record in itertools.chain(*lists):
        parts[bisect.bisect_right(first_users, record[0])].append(record)
    return parts


@attrs.frozen
class Partition:
    """
    The changes of some users, grouped.

    Args:
        digest: The digest of its spool.
        users: The digests of its users, one after another.
        data: The reference to its dumped spool.
    """

    index: int
    size: Size
    digest: str
    users: bytes = b""
    data: Any = attrs.field(default=None, eq=False)

    def spool(self, data: bytes) -> Spool:
        return Spool.restored(data, self.size, self.digest)


def group(index: int, *lists: list[Record]) -> tuple[Partition, bytes]:
    """Return the partition that has the changes of lists, and its dumped spool."""
    with Spool() as spool:
        for record in itertools.chain(*lists):
            spool.add_record(record)
        spool.group()
        users = b"".join(user.digest for user in spool.by_user())
        return Partition(index, spool.size, spool.digest, users), spool.dump()


@attrs.frozen
class Input:
    """
    The input of a job, checked and grouped; its changes lie in the cluster.

    Args:
        rows: How many rows it has, bad rows included.
        bad: The rows that are set aside.
        first_users: The first user of each partition but the first.
    """

    name: str
    rows: int
    bad: Sequence[RowError]
    partitions: Sequence[Partition]
    first_users: Sequence[str] = ()
    phases: tuple[Phase, ...] = ()

    @property
    def size(self) -> Size:
        return sum((partition.size for partition in self.partitions), Size())

    @property
    def digest(self) -> str:
        """The digest of its changes, the same as that of one `Spool` of all."""
        whole = new_digest()
        for partition in self.partitions:
            whole.update(partition.users)
        return str(whole.hexdigest())
