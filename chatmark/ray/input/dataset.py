"""Reading on a cluster: Ray Data reads the slices on any node, and each worker gets its part."""

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import attrs
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from chatmark import ChatmarkError
from chatmark.jobs.grouping.loading import BadRowsError
from chatmark.jobs.sources.row import FileError, RowError
from chatmark.ray.input.files import Slice
from chatmark.ray.input.row_tables import TableSummary, split_table, write_tables
from chatmark.ray.runtime import raising_causes, ray, ray_data

# `apply` shows as many errors of a file.
_MOST_SHOWN: Final = 20


class ReadingError(ChatmarkError):
    """The cluster did not return every row exactly once: a bug of chatmark or of Ray."""


@attrs.frozen
class CheckedRows:
    """
    Checked rows that lie in the cluster.

    Args:
        rows: The number of rows, bad rows included.
        bad: The rows that are set aside.
        parts: The rows of each worker: references to tables, in the order of the input.
    """

    rows: int = 0
    bad: tuple[RowError, ...] = ()
    parts: list[list[Any]] = attrs.field(factory=list[list[Any]])


class ChangeSource(Datasource):
    """Slices of files of changes as a source of Ray Data."""

    def __init__(self, slices: Sequence[Slice]) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self._slices = slices

    def get_name(self) -> str:
        """Return the name for Ray's messages."""
        return "Changes"

    def estimate_inmemory_data_size(self) -> int | None:
        """Return no estimate: a compressed file may be of any size."""
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        """Return a task for each slice."""
        return [
            ReadTask(
                functools.partial(_tables_of, each),
                BlockMetadata(
                    num_rows=None, size_bytes=None, exec_stats=None, input_files=(each.path,)
                ),
                None,
                per_task_row_limit,
            )
            for each in self._slices
        ]


@raising_causes()
def read_slices(
    slices: Sequence[Slice],
    partitions: int,
    max_errors: int,
    on_rows: Callable[[int], object] | None = None,
) -> CheckedRows:
    """Read slices to their end."""
    most_errors = max(_MOST_SHOWN, max_errors)
    dataset = ray_data.read_datasource(ChangeSource(slices), override_num_blocks=len(slices))
    splitter = ray.remote(split_table).options(num_returns=partitions + 1, name="chatmark.split")
    splits = [splitter.remote(block, partitions, most_errors) for block in dataset.to_arrow_refs()]
    blocks: list[tuple[TableSummary, list[Any]]] = []
    rows = 0
    for *parts, reference in splits:
        summary: TableSummary = ray.get(reference)
        if summary.rows:
            blocks.append((summary, parts))
            rows += summary.rows
            if on_rows is not None:
                on_rows(rows)
    blocks.sort(key=lambda block: block[0].number)
    summaries = [summary for summary, _ in blocks]
    _check_order(summaries)
    bad = _bad_rows(summaries, max_errors)
    return CheckedRows(
        rows, bad, [[parts[each] for _, parts in blocks] for each in range(partitions)]
    )


def _tables_of(part: Slice) -> Iterable[Any]:
    return write_tables(part.rows(), slice_=part.number, file=part.index)


def _check_order(summaries: Sequence[TableSummary]) -> None:
    """Make sure that no two blocks overlap, because the order of changes decides."""
    for before, after in itertools.pairwise(summaries):
        if before.last >= after.number:
            raise ReadingError(f"{before} and {after} overlap; report this as a bug")


def _bad_rows(summaries: Sequence[TableSummary], max_errors: int) -> tuple[RowError, ...]:
    bad = sum(summary.bad for summary in summaries)
    errors = [error for summary in summaries for error in summary.errors]
    # A file that cannot be read may hold more rows, so it cannot be set aside.
    if bad > max_errors or any(isinstance(error, FileError) for error in errors):
        kept = errors[:_MOST_SHOWN]
        kept += [error for error in errors[_MOST_SHOWN:] if isinstance(error, FileError)]
        raise BadRowsError(tuple(kept), bad, sum(summary.rows for summary in summaries))
    return tuple(errors)
