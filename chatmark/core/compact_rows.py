"""
Rows of bulk jobs that wait for their first attempt, kept together instead of one by one.

Most rows of most jobs are never merged, never withdrawn, and succeed at once. Such a row has only
its change; sink, epoch and time are those of the rows that came with it. An entry and an item for
each row would cost a request of a hundred as much as aiohttp does, and as much again in the garbage
collector. So rows become entries only when another change of their conversation comes, or when
their request did not go well.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from chatmark.changes import MarkChange
from chatmark.core.deadlines import began_at
from chatmark.core.pending import Entry, ResultSink

# Rows that come within so many seconds count as admitted with the last of them: deadlines of
# waiting changes are looked at no more often.
_TOGETHER: Final = 0.25
# The longest run, so that taking its oldest rows off is cheap.
_LONGEST: Final = 1000


class Run:
    """
    Rows of one lane that a job submitted together.

    Args:
        sink: Takes their outcomes.
        epoch: The ledger's epoch in which they were accepted.
        now: The time.
        changes: The rows, oldest first.
    """

    __slots__ = ("_began", "admitted_at", "changes", "epoch", "first_sent_at", "sink")

    def __init__(self, sink: ResultSink, epoch: int, now: float, changes: list[MarkChange]) -> None:
        self.sink = sink
        self.epoch = epoch
        self.admitted_at = self._began = now
        self.first_sent_at: float | None = None
        self.changes = changes

    def takes(self, sink: ResultSink, epoch: int, now: float) -> bool:
        """Whether rows that come now can be kept with these."""
        return (
            self.sink is sink
            and self.epoch == epoch
            and now - self._began <= _TOGETHER
            and len(self.changes) < _LONGEST
        )

    def split(self, count: int) -> "Run":
        """Remove the oldest rows, and return them."""
        oldest = Run(self.sink, self.epoch, self.admitted_at, self.changes[:count])
        del self.changes[:count]
        return oldest

    def start(self, now: float, held_since: float | None) -> None:
        """Note the first attempt."""
        self.first_sent_at = began_at(now, self.admitted_at, held_since)

    def forgive(self, seconds: float) -> None:
        """Extend the deadline."""
        self.admitted_at += seconds
        if self.first_sent_at is not None:
            self.first_sent_at += seconds

    def entries(self) -> list[Entry]:
        """Return each row as an entry of its own."""
        entries = [Entry(change, self.sink) for change in self.changes]
        for entry in entries:
            entry.epoch, entry.admitted_at = self.epoch, self.admitted_at
            entry.first_sent_at = self.first_sent_at
            entry.attempts = int(self.first_sent_at is not None)
        return entries


class CompactRows:
    """The rows of a lane, each of another conversation."""

    __slots__ = ("_runs", "keys")

    def __init__(self) -> None:
        # Of their conversations.
        self.keys: set[str] = set()
        self._runs: list[Run] = []

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def admitted_at(self) -> float:
        """When the oldest came, infinity where there are none."""
        return self._runs[0].admitted_at if self._runs else math.inf

    def run(self, sink: ResultSink, epoch: int, now: float) -> list[MarkChange]:
        """Return the list for rows that come now; the caller adds their keys, too."""
        if self._runs and self._runs[-1].takes(sink, epoch, now):
            newest = self._runs[-1]
            newest.admitted_at = now
        else:
            newest = Run(sink, epoch, now, [])
            self._runs.append(newest)
        return newest.changes

    def take(self, limit: int) -> list[Run]:
        """Remove the oldest rows, *limit* at most, and return them."""
        taken: list[Run] = []
        if len(self.keys) <= limit:
            taken.extend(run for run in self._runs if run.changes)
            self.clear()
            return taken
        while limit:
            oldest = self._runs[0]
            if len(oldest.changes) > limit:
                oldest = oldest.split(limit)
            else:
                self._runs.pop(0)
            limit -= len(oldest.changes)
            # One without rows may be of an epoch that the ledger has closed.
            if oldest.changes:
                taken.append(oldest)
        self.keys.difference_update(c.conversation.key for run in taken for c in run.changes)
        return taken

    def forgive(self, seconds: float) -> None:
        """Extend all deadlines."""
        for run in self._runs:
            run.forgive(seconds)

    def clear(self) -> None:
        """Forget all."""
        self.keys.clear()
        self._runs.clear()

    def holds_of(self, sink: ResultSink) -> bool:
        """Whether there are rows of a job."""
        return any(run.sink is sink for run in self._runs)


def entries_of_runs(runs: Iterable[Run]) -> Sequence[Entry]:
    """Return the rows of runs as entries."""
    return [entry for run in runs for entry in run.entries()]
