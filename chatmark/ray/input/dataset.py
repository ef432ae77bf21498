"""
Reading on a cluster: Ray Data reads the slices where there is room, and each worker gets its part.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import attrs
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from chatmark.errors import ChatmarkError
from chatmark.jobs.grouping.loading import BadRowsError
from chatmark.jobs.sources.row import FileError, RowError
from chatmark.ray.input.files import Slice
from chatmark.ray.input.row_tables import Digest, split, tables
from chatmark.ray.runtime import plain, ray, ray_data

# As many as `apply` names of a file.
_MOST_SHOWN: Final = 20


class ReadingError(ChatmarkError):
    """
    The cluster did not give every row exactly once, which is a fault of chatmark or of Ray.
    """


@attrs.frozen
class Read:
    """
    Rows that are checked, and lie in the cluster.

    Args:
        rows: How many, bad ones among them.
        bad: Those that are set aside.
        parts: For each worker its rows: references to tables, in the order of the input.
    """

    rows: int
    bad: tuple[RowError, ...]
    parts: list[list[Any]]


class ChangeSource(Datasource):
    """
    Slices of files of changes as a source of Ray Data.
    """

    def __init__(self, cut: Sequence[Slice]) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self._slices = cut

    def get_name(self) -> str:
        """
        Return its name in Ray.
        """
        return "Changes"

    def estimate_inmemory_data_size(self) -> int | None:
        """
        Return nothing: a compressed file may hold anything.
        """
        return None

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: Any = None,
    ) -> list[ReadTask]:
        """
        Return a task for each slice.
        """
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


def read(
    cut: Sequence[Slice],
    partitions: int,
    max_errors: int,
    sign: Callable[[int], object] | None = None,
) -> Read:
    """
    Read slices to their end.
    """
    try:
        return _read(cut, partitions, max_errors, sign)
    except ray.exceptions.RayTaskError as error:
        raise plain(error) from None


def _read(
    cut: Sequence[Slice],
    partitions: int,
    max_errors: int,
    sign: Callable[[int], object] | None,
) -> Read:
    most_errors = max(_MOST_SHOWN, max_errors)
    dataset = ray_data.read_datasource(ChangeSource(cut), override_num_blocks=len(cut))
    cutter = ray.remote(split).options(num_returns=partitions + 1, name="chatmark.split")
    cuttings = [cutter.remote(block, partitions, most_errors) for block in dataset.to_arrow_refs()]
    read_parts: list[tuple[Digest, list[Any]]] = []
    rows = 0
    for *parts, told in cuttings:
        digest: Digest = ray.get(told)
        if digest.rows:
            read_parts.append((digest, parts))
            rows += digest.rows
            if sign is not None:
                sign(rows)
    read_parts.sort(key=lambda each: each[0].number)
    digests = [digest for digest, _ in read_parts]
    _check_order(digests)
    bad = _bad(digests, max_errors)
    return Read(rows, bad, [[parts[each] for _, parts in read_parts] for each in range(partitions)])


def _tables_of(part: Slice) -> Iterable[Any]:
    return tables(part.rows(), slice_=part.number, file=part.index)


def _check_order(digests: Sequence[Digest]) -> None:
    """
    Make sure that no two blocks overlap: changes take effect in the order in which they are sent.
    """
    for before, after in itertools.pairwise(digests):
        if before.last >= after.number:
            raise ReadingError(f"{before} and {after} were read in an order that is not theirs")


def _bad(digests: Sequence[Digest], max_errors: int) -> tuple[RowError, ...]:
    bad = sum(digest.bad for digest in digests)
    errors = [error for digest in digests for error in digest.errors]
    # What comes after it is not known: that is nothing to set aside.
    if bad > max_errors or any(isinstance(error, FileError) for error in errors):
        kept = errors[:_MOST_SHOWN]
        kept += [error for error in errors[_MOST_SHOWN:] if isinstance(error, FileError)]
        raise BadRowsError(tuple(kept), bad, sum(digest.rows for digest in digests))
    return tuple(errors)
