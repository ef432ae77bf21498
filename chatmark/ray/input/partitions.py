"""
The input of a job in partitions.

A partition has the users between two others, in the order in which one process sends them.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import attrs

from chatmark.jobs.counting import Phase
from chatmark.jobs.grouping import Size, Spool, new_digest
from chatmark.jobs.sources.row import RowError


@attrs.frozen
class Partition:
    """
    The changes of some users, grouped.

    Args:
        index: The number of the partition.
        size: Its size.
        digest: The digest of its spool.
        users: The digests of its users, one after another.
        row: The row of the block that has the spool.
        block: The reference to the block.
    """

    index: int
    size: Size
    digest: str
    users: bytes = b""
    row: int = 0
    block: Any = attrs.field(default=None, eq=False)

    def spool(self, block: Any) -> Spool:
        """Return the changes from the block."""
        data = block.column("spool")[self.row].as_buffer()
        return Spool.restored(data, self.size, self.digest)


@attrs.frozen
class Input:
    """
    The input of a job, checked and grouped; its changes lie in the cluster.

    Args:
        name: Its name in messages.
        rows: How many rows it has, bad rows included.
        bad: The rows that are set aside.
        partitions: Its changes.
        first_users: The first user of each partition but the first.
        phases: Checking and grouping.
    """

    name: str
    rows: int
    bad: Sequence[RowError]
    partitions: Sequence[Partition]
    first_users: Sequence[str] = ()
    phases: tuple[Phase, ...] = ()

    @property
    def size(self) -> Size:
        """Its size."""
        return sum((partition.size for partition in self.partitions), Size())

    @property
    def digest(self) -> str:
        """The digest of its changes, the same as that of one `Spool` of all."""
        whole = new_digest()
        for partition in self.partitions:
            whole.update(partition.users)
        return str(whole.hexdigest())


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
