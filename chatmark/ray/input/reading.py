"""
Reading on a cluster: Ray Data reads slices on any node, and groups their rows by user.

The tasks of a lost node run again on other nodes, so no partition is lost with a node.
"""

import bisect
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import attrs
import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs]

from chatmark import ChatmarkError
from chatmark.jobs.counting import Phase
from chatmark.jobs.grouping import BadRowsError, Size, Spool
from chatmark.jobs.sources.dialect import Notes
from chatmark.jobs.sources.files import ChangeFiles
from chatmark.jobs.sources.row import FileError, RowError
from chatmark.ray.input.partitions import Input, Partition, divide
from chatmark.ray.input.row_tables import (
    TableSummary,
    load_error,
    read_records,
    summarize,
    write_tables,
)
from chatmark.ray.input.slices import Slice, cut_slices
from chatmark.ray.options import RayOptions
from chatmark.ray.runtime import data_settings, raising_causes, ray, ray_data

OnCount = Callable[[int], object]

# `apply` shows as many errors of a file.
_MOST_SHOWN: Final = 20
_LARGE: Final = frozenset(("digests", "spool"))
_arrow: Any = pa


class ReadingError(ChatmarkError):
    """The cluster did not return every row exactly once: a bug of chatmark or of Ray."""


@raising_causes()
def read_input(
    files: ChangeFiles,
    options: RayOptions,
    first_users: Sequence[str] | None = None,
    on_rows: OnCount | None = None,
    on_group: OnCount | None = None,
) -> Input:
    """
    Read files to their end, and group their changes.

    Args:
        files: The files.
        options: The options of the job.
        first_users: Those of an earlier start.
        on_rows: Called at intervals with the number of changes read.
        on_group: Called with the number of changes before they are grouped.

    Raises:
        BadRowsError: More than `max_errors` rows cannot be applied, or a file cannot be read.
        OSError: A file cannot be opened.
    """
    started = time.monotonic()
    with data_settings():
        blocks, summaries = _read_slices(cut_slices(files), options.max_errors, on_rows)
        changes, rows = (sum(getattr(each, n) for each in summaries) for n in ("changes", "rows"))
        bad = _bad_rows(summaries, options.max_errors, rows)
        _take_notes(summaries, files.notes)
        checked = time.monotonic()
        if on_group is not None:
            on_group(changes)
        if first_users is None:
            sample = [each for summary in summaries for each in summary.accounts]
            first_users = divide(sample, options.partitions)
        partitions = _group_blocks(blocks, changes, first_users) if changes else []
    phases = (
        Phase("check", "rows", rows, checked - started),
        Phase("group", "changes", changes, time.monotonic() - checked),
    )
    return Input(files.name, rows, bad, partitions, first_users, phases)


def _read_slices(
    slices: Sequence[Slice], max_errors: int, on_rows: OnCount | None
) -> tuple[list[Any], list[TableSummary]]:
    """Return references to tables of the rows, and the summaries in the order of the input."""
    tables = ray_data.range(len(slices), override_num_blocks=len(slices)).map_batches(
        _read, batch_size=1, batch_format="pyarrow", fn_kwargs={"slices": slices}
    )
    summarizer = ray.remote(summarize).options(name="chatmark.summarize")
    blocks: list[Any] = []
    references: list[Any] = []
    changes = 0
    for bundle in tables.iter_internal_ref_bundles():
        blocks += bundle.block_refs
        most = max(_MOST_SHOWN, max_errors)
        references += [summarizer.remote(block, most) for block in bundle.block_refs]
        changes += bundle.num_rows() or 0
        if on_rows is not None:
            on_rows(changes)
    return blocks, sorted(ray.get(references), key=lambda summary: summary.number)


def _bad_rows(summaries: Sequence[TableSummary], max_errors: int, rows: int) -> list[RowError]:
    bad = sum(summary.bad for summary in summaries)
    errors = [load_error(text) for summary in summaries for text in summary.errors]
    of_files = [error for error in errors[_MOST_SHOWN:] if isinstance(error, FileError)]
    # A file that cannot be read may hold more rows, so it cannot be set aside.
    if bad > max_errors or any(isinstance(error, FileError) for error in errors):
        raise BadRowsError((*errors[:_MOST_SHOWN], *of_files), bad, rows)
    return errors


def _take_notes(summaries: Sequence[TableSummary], notes: Notes) -> None:
    for columns, headers, others in (json.loads(t) for each in summaries for t in each.notes):
        notes.ignore(columns)
        notes.headers += headers
        notes.others += others


def _group_blocks(
    blocks: Sequence[Any], changes: int, first_users: Sequence[str]
) -> list[Partition]:
    grouped = (
        ray_data.from_arrow_refs(blocks)
        .map_batches(
            _number,
            batch_size=None,
            batch_format="pyarrow",
            fn_kwargs={"first_users": [*first_users]},
        )
        .groupby("partition")
        .map_groups(_group, batch_format="pyarrow")
    )
    made = [block for each in grouped.iter_internal_ref_bundles() for block in each.block_refs]
    describer = ray.remote(_describe).options(name="chatmark.describe")
    found = zip(made, ray.get([describer.remote(block) for block in made]), strict=True)
    partitions = [attrs.evolve(each, block=block) for block, some in found for each in some]
    partitions.sort(key=lambda partition: partition.index)
    came = sum(partition.size.changes for partition in partitions)
    if came != changes or len({partition.index for partition in partitions}) < len(partitions):
        raise ReadingError(f"{came} of {changes} changes came; report this as a bug")
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
        values = {
            **attrs.asdict(spool.size),
            "index": table.column("partition")[0].as_py(),
            "digest": spool.digest,
            "digests": b"".join(user.digest for user in spool.by_user()),
            "spool": spool.dump(),
        }
    types = {name: _arrow.large_binary() if name in _LARGE else None for name in values}
    return _arrow.table({name: _arrow.array([values[name]], types[name]) for name in values})


def _describe(block: Any) -> list[Partition]:
    """Return the partitions of a block."""
    rows: list[dict[str, Any]] = []
    if block.num_rows:
        rows += block.drop_columns(["spool"]).to_pylist()
    names = ("index", "digest", "digests")
    taken = [[row.pop(name) for name in names] for row in rows]
    return [
        Partition(index, Size(**row), digest, users, number)
        for number, (row, (index, digest, users)) in enumerate(zip(rows, taken, strict=True))
    ]
