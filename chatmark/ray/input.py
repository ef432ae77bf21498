"""
The input of a job: slices of files, which tasks read and check, and partitions, which are sent.

A partition has the users between two others, in the order in which one process sends them. The
changes of a slice travel as Arrow tables; their numbers give their order in the input. The
functions that run as tasks are `read_slice`, `split` and `group`.
"""

import bisect
import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs
import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs]

from chatmark.jobs.counting import Phase
from chatmark.jobs.grouping.spool import Spool, new_digest
from chatmark.jobs.grouping.units import Size
from chatmark.jobs.sources.arrow_rows import group_sizes, read_parquet
from chatmark.jobs.sources.dialect import Notes
from chatmark.jobs.sources.files import ChangeFile, ChangeFiles, Rows
from chatmark.jobs.sources.formats import FileFormat
from chatmark.jobs.sources.lines import UnreadableError
from chatmark.jobs.sources.parser import RowParser
from chatmark.jobs.sources.row import FileError, Record, RowError, record_of
from chatmark.jobs.sources.storage import naming, open_file

# Each of more files is one slice, because many files are parallel enough without their indexes.
_MOST_TO_SLICE: Final = 64
_ROWS_A_SLICE: Final = 200_000
# The most changes of a slice. An int64 then has room for eight million slices.
_CHANGES_A_SLICE: Final = 1 << 40
_CHANGES_A_TABLE: Final = 100_000
# The users of a table that the summary of its slice names.
_SAMPLE: Final = 200
_arrow: Any = pa
_TEXT: Final = _arrow.string()
_NUMBER: Final = _arrow.int64()
_RECORD: Final = {
    "account": _TEXT,
    "conversation": _TEXT,
    "set_mark": _NUMBER,
    "clear_mark": _NUMBER,
    "custom_mark": _TEXT,
    "reserved": _arrow.bool_(),
    "line": _NUMBER,
}


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
                parts = _portions(group_sizes(stream))
                slices[-1:] = [Slice(file, path, *part) for part in parts] or slices[-1:]
    return slices


def _portions(sizes: Sequence[int]) -> Iterator[tuple[tuple[int, ...], int]]:
    """Yield the groups of rows of each slice, and the number of rows before them."""
    before = [0, *itertools.accumulate(sizes)]
    step = max(1, _ROWS_A_SLICE * len(sizes) // max(1, before[-1]))
    for first in range(0, len(sizes), step):
        yield tuple(range(first, min(first + step, len(sizes)))), before[first]


@attrs.define
class Summary:
    """
    A summary of what there is in slices besides their changes.

    Args:
        rows: The number of rows, bad rows included.
        errors: The first errors of rows, and all errors of files.
        users: Some users, each with the number of changes that the user stands for.
    """

    notes: Notes
    rows: int = 0
    changes: int = 0
    bad: int = 0
    errors: list[RowError] = attrs.field(factory=list[RowError])
    users: list[tuple[str, int]] = attrs.field(factory=list[tuple[str, int]])

    def add_errors(self, errors: Sequence[RowError], most: int) -> None:
        for error in errors:
            if len(self.errors) < most or isinstance(error, FileError):
                self.errors.append(error)

    def add(self, other: "Summary", most_errors: int) -> None:
        self.notes.ignore(other.notes.columns)
        self.notes.headers += other.notes.headers
        self.notes.others += other.notes.others
        self.rows += other.rows
        self.changes += other.changes
        self.bad += other.bad
        self.users += other.users
        self.add_errors(other.errors, most_errors)


def read_slice(part: Slice, number: int, most_errors: int) -> Iterator[Any]:
    """Yield the changes of the slice with this number as tables, and its summary at the end."""
    summary = Summary(part.file.notes)
    records: list[Record] = []
    for row in part.rows():
        summary.rows += 1
        if isinstance(row, RowError):
            summary.bad += 1
            summary.add_errors([row], most_errors)
            continue
        records += [row.record] if row.record else [record_of(c, row.line) for c in row.changes]
        if len(records) >= _CHANGES_A_TABLE:
            yield _table(records, number, summary)
            records = []
    if records:
        yield _table(records, number, summary)
    yield summary


def _table(records: list[Record], slice_: int, summary: Summary) -> Any:
    first = slice_ * _CHANGES_A_SLICE + summary.changes
    distance = max(1, len(records) // _SAMPLE)
    summary.users += [(record[0], distance) for record in records[::distance]]
    summary.changes += len(records)
    columns = zip(_RECORD.items(), zip(*records, strict=True), strict=True)
    arrays = {name: _arrow.array(values, type_) for (name, type_), values in columns}
    numbers = _arrow.array(range(first, first + len(records)), _NUMBER)
    return _arrow.table({"number": numbers} | arrays)


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


def split(first_users: Sequence[str], partitions: int, *tables: Any) -> list[Any]:
    """Return the changes of tables in so many tables, one for each partition."""
    table = _arrow.concat_tables(tables).combine_chunks()
    places: list[list[int]] = [[] for _ in range(partitions)]
    for place, account in enumerate(table.column("account").to_pylist()):
        places[bisect.bisect_right(first_users, account)].append(place)
    return [table.take(_arrow.array(some, _NUMBER)) for some in places]


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


def group(index: int, *tables: Any) -> tuple[Partition, bytes]:
    """Return the partition that has the changes of tables, and its dumped spool."""
    table = _arrow.concat_tables(tables).sort_by("number")
    with Spool() as spool:
        for record in zip(*(table.column(name).to_pylist() for name in _RECORD), strict=True):
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
