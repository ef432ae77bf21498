"""
Reading on a cluster: Ray Data reads the slices on any node, and groups their rows by user.

A partition has the users between two others, in the order in which one process sends them. The
tasks of a lost node run again on other nodes, so no partition is lost with a node.
"""

import bisect
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import attrs
import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs]

from chatmark import ChatmarkError
from chatmark.jobs.grouping.loading import BadRowsError
from chatmark.jobs.grouping.spool import Spool
from chatmark.jobs.grouping.units import Size
from chatmark.jobs.sources.dialect import Notes
from chatmark.jobs.sources.row import FileError, RowError
from chatmark.ray.input.row_tables import load_error, read_records, summarize, write_tables
from chatmark.ray.input.slices import Slice
from chatmark.ray.runtime import raising_causes, ray, ray_data

# `apply` shows as many errors of a file.
_MOST_SHOWN: Final = 20
_CHANGES_A_BLOCK: Final = 20_000
_ARROW: Final = {"batch_size": None, "batch_format": "pyarrow"}
_arrow: Any = pa


class ReadingError(ChatmarkError):
    """The cluster did not return every row exactly once: a bug of chatmark or of Ray."""


@attrs.frozen
class CheckedRows:
    """
    Checked rows that lie in the cluster.

    Args:
        rows: The number of rows, bad rows included.
        changes: The number of changes.
        bad: The rows that are set aside.
        accounts: The users of some changes, each with the number of changes that it stands for.
        blocks: References to tables of the rows.
    """

    rows: int
    changes: int
    bad: tuple[RowError, ...]
    accounts: list[tuple[str, int]]
    blocks: list[Any]


@attrs.frozen
class Partition:
    """
    The changes of some users, grouped.

    Args:
        index: The number of the partition.
        size: Its size.
        digest: The digest of its spool.
        users: The digests of its users, one after another.
        block: The reference to a table that has its spool.
        row: The row of the table.
    """

    index: int
    size: Size
    digest: str
    users: bytes
    block: Any = attrs.field(default=None, eq=False)
    row: int = 0

    def spool(self, block: Any) -> Spool:
        """Return the changes from the table."""
        data = block.column("spool")[self.row].as_buffer()
        return Spool.restored(data, self.size, self.digest)


@raising_causes()
def read_slices(
    slices: Sequence[Slice],
    max_errors: int,
    notes: Notes,
    on_rows: Callable[[int], object] | None = None,
) -> CheckedRows:
    """
    Read slices to their end.

    Args:
        slices: The slices.
        max_errors: The most bad rows that are set aside.
        notes: Gets what the readers leave out.
        on_rows: Called at intervals with the number of changes read.
    """
    number = len(slices)
    tables = ray_data.range(number, override_num_blocks=number).map_batches(
        _read, batch_size=1, batch_format="pyarrow", fn_kwargs={"slices": list(slices)}
    )
    most_errors = max(_MOST_SHOWN, max_errors)
    summarizer = ray.remote(summarize).options(name="chatmark.summarize")
    blocks: list[Any] = []
    references: list[Any] = []
    changes = 0
    for bundle in tables.iter_internal_ref_bundles():
        blocks += bundle.block_refs
        references += [summarizer.remote(block, most_errors) for block in bundle.block_refs]
        changes += bundle.num_rows() or 0
        if on_rows is not None:
            on_rows(changes)
    summaries = sorted(ray.get(references), key=lambda summary: summary.number)
    for left_out in (json.loads(text) for summary in summaries for text in summary.notes):
        notes.ignore(left_out["columns"])
        notes.headers += left_out["headers"]
        notes.others += left_out["others"]
    errors = [load_error(text) for summary in summaries for text in summary.errors]
    rows, bad = (sum(getattr(each, name) for each in summaries) for name in ("rows", "bad"))
    # A file that cannot be read may hold more rows, so it cannot be set aside.
    if bad > max_errors or any(isinstance(error, FileError) for error in errors):
        shown = [e for n, e in enumerate(errors) if n < _MOST_SHOWN or isinstance(e, FileError)]
        raise BadRowsError(tuple(shown), bad, rows)
    return CheckedRows(
        rows,
        sum(summary.changes for summary in summaries),
        tuple(errors),
        [(account, each.distance) for each in summaries for account in each.accounts],
        blocks,
    )


def divide(accounts: Sequence[tuple[str, int]], partitions: int) -> list[str]:
    """
    Return the users with whom the partitions but the first begin, so that all are about equal.

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


@raising_causes()
def group_rows(checked: CheckedRows, first_users: Sequence[str]) -> list[Partition]:
    """Group rows into the partitions that begin with these users."""
    if not checked.changes:
        return []
    shuffled = min(len(first_users) + 1, -(-checked.changes // _CHANGES_A_BLOCK))
    grouped = (
        ray_data.from_arrow_refs(checked.blocks)
        .map_batches(_number, **_ARROW, fn_kwargs={"first_users": list(first_users)})
        .groupby("partition", num_partitions=shuffled)
        .map_groups(_group, batch_format="pyarrow")
    )
    describer = ray.remote(_describe).options(name="chatmark.describe")
    blocks = [
        block for bundle in grouped.iter_internal_ref_bundles() for block in bundle.block_refs
    ]
    found = ray.get([describer.remote(block) for block in blocks])
    partitions = [
        attrs.evolve(partition, block=block)
        for block, some in zip(blocks, found, strict=True)
        for partition in some
    ]
    partitions.sort(key=lambda partition: partition.index)
    indexes = {partition.index for partition in partitions}
    total = sum(partition.size.changes for partition in partitions)
    if total != checked.changes or len(indexes) < len(partitions):
        raise ReadingError(f"{total} of {checked.changes} changes came; report this as a bug")
    return partitions


def _read(batch: Any, slices: Sequence[Slice]) -> Iterator[Any]:
    numbers: list[int] = batch.column("id").to_pylist()
    for number in numbers:
        part = slices[number]
        yield from write_tables(part.rows(), number, part.file.notes)


def _number(table: Any, first_users: Sequence[str]) -> Any:
    """Return the changes of a table with the number of their partition."""
    table = table.filter(table.column("account").is_valid())
    accounts = table.column("account").to_pylist()
    numbers = [bisect.bisect_right(first_users, account) for account in accounts]
    return table.append_column("partition", _arrow.array(numbers, _arrow.int32()))


def _group(table: Any) -> Any:
    """Return a table of one row, which has a partition."""
    with Spool() as spool:
        for record in read_records(table):
            spool.add_record(record)
        spool.group()
        users = b"".join(user.digest for user in spool.by_user())
        values = {
            **attrs.asdict(spool.size),
            "index": table.column("partition")[0].as_py(),
            "digest": spool.digest,
            "digests": users,
            "spool": spool.dump(),
        }
    large = {"digests", "spool"}
    return _arrow.table(
        {
            name: _arrow.array([value], _arrow.large_binary() if name in large else None)
            for name, value in values.items()
        }
    )


def _describe(block: Any) -> list[Partition]:
    """Return the partitions of a table without their changes."""
    rows: list[dict[str, Any]] = []
    if block.num_rows:
        rows += block.drop_columns(["spool"]).to_pylist()
    return [
        Partition(
            row.pop("index"),
            digest=row.pop("digest"),
            users=row.pop("digests"),
            size=Size(**row),
            row=number,
        )
        for number, row in enumerate(rows)
    ]
