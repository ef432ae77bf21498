"""
Rows of bulk jobs that wait for their first attempt, kept together instead of one by one.

Most rows of most jobs are never merged, never taken back, and succeed at once. All that such a row
has of its own is its change; its job, its epoch and its time are those of the rows that came with
it. An entry and an item for each of them would cost a request of a hundred as much as aiohttp does,
and as much again in the garbage collector. So they become entries only when one of them has a
fate of its own: when another change of its conversation comes, or its request did not go well.
"""

import math
from collections.abc import Sequence
from typing import Final

from chatmark.changes import MarkChange
from chatmark.core.pending import Entry, Watcher

# Rows that come within so many seconds count as admitted with the last of them: deadlines of what
# waits are looked at no more often.
_TOGETHER: Final = 0.25
# The longest stretch, so that taking its oldest rows off is cheap.
_LONGEST: Final = 1000


class Stretch:
    """
    Rows of one lane that a job submitted together.

    Args:
        job: Whose rows they are.
        epoch: In which epoch of the books they were accepted.
        since: When their deadline began to run.
        changes: The rows, oldest first.
    """

    __slots__ = ("_first", "attempts", "changes", "epoch", "job", "since")

    def __init__(self, job: Watcher, epoch: int, since: float, changes: list[MarkChange]) -> None:
        self.job = job
        self.epoch = epoch
        self.since = self._first = since
        self.changes = changes
        self.attempts = 0

    def takes(self, job: Watcher, epoch: int, now: float) -> bool:
        """
        Whether rows that come now can be kept with these.
        """
        return (
            self.job is job
            and self.epoch == epoch
            and now - self._first <= _TOGETHER
            and len(self.changes) < _LONGEST
        )

    def split(self, count: int) -> "Stretch":
        """
        Remove the oldest rows, and return them.
        """
        oldest = Stretch(self.job, self.epoch, self.since, self.changes[:count])
        del self.changes[:count]
        return oldest

    def entries(self) -> list[Entry]:
        """
        Return each row as an entry of its own.
        """
        entries = [Entry(change, bulk=True, job=self.job) for change in self.changes]
        for entry in entries:
            entry.epoch, entry.since, entry.attempts = self.epoch, self.since, self.attempts
        return entries


class Rows:
    """
    The rows of a lane, each of another conversation.
    """

    __slots__ = ("_stretches", "keys")

    def __init__(self) -> None:
        # Of their conversations.
        self.keys: set[str] = set()
        self._stretches: list[Stretch] = []

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def since(self) -> float:
        """
        When the deadline of the oldest began to run, infinity where there are none.
        """
        return self._stretches[0].since if self._stretches else math.inf

    def stretch(self, job: Watcher, epoch: int, now: float) -> Stretch:
        """
        Return where rows that come now are to be kept.

        Whoever adds one adds its key, too.
        """
        if self._stretches and self._stretches[-1].takes(job, epoch, now):
            newest = self._stretches[-1]
            newest.since = now
        else:
            newest = Stretch(job, epoch, now, [])
            self._stretches.append(newest)
        return newest

    def take(self, limit: int) -> list[Stretch]:
        """
        Remove the oldest rows, *limit* at most, and return them.
        """
        taken: list[Stretch] = []
        if len(self.keys) <= limit:
            taken.extend(stretch for stretch in self._stretches if stretch.changes)
            self.clear()
            return taken
        while limit:
            oldest = self._stretches[0]
            if len(oldest.changes) > limit:
                oldest = oldest.split(limit)
            else:
                self._stretches.pop(0)
            limit -= len(oldest.changes)
            # One that got no rows may be of an epoch that the books have closed.
            if oldest.changes:
                taken.append(oldest)
        self.keys.difference_update(keys_of(taken))
        return taken

    def forgive(self, seconds: float) -> None:
        """
        Extend all deadlines.
        """
        for stretch in self._stretches:
            stretch.since += seconds

    def clear(self) -> None:
        """
        Forget all.
        """
        self.keys.clear()
        self._stretches.clear()

    def holds_of(self, job: Watcher) -> bool:
        """
        Whether there are rows of a job.
        """
        return any(stretch.job is job for stretch in self._stretches)


def keys_of(stretches: Sequence[Stretch]) -> list[str]:
    """
    Return the keys of the conversations of rows.
    """
    return [change.conversation.key for stretch in stretches for change in stretch.changes]
