"""
Changes that were submitted together and wait for their first attempt, kept instead of one by one.

Most rows of most jobs are never merged, never withdrawn, and succeed at once. Such a row has only
its change; sink, epoch and time are those of the rows that came with it. An entry and an item for
each row would cost a request of a hundred as much as aiohttp does, and as much again in the garbage
collector. So rows become entries only when another change of their conversation comes, or when
their request did not go well.
"""

import math
from typing import Final

from chatmark.changes import AlikeChanges, MarkChange
from chatmark.core.pending import Entry, ResultSink, Timed

# Rows that come within so many seconds count as admitted with the last of them: deadlines of
# waiting changes are looked at no more often.
_TOGETHER: Final = 0.25
# The longest run, so that taking its oldest rows off is cheap.
_LONGEST: Final = 1000


class Run(Timed):
    """
    Rows of one lane that a job submitted together.

    Args:
        sink: Takes their outcomes.
        epoch: The ledger's epoch in which they were accepted.
        now: The time.
        changes: The rows, oldest first.
        keys: Those of their conversations.
    """

    __slots__ = ("_began", "changes", "epoch", "keys", "sink")

    def __init__(
        self,
        sink: ResultSink,
        epoch: int,
        now: float,
        changes: list[MarkChange] | AlikeChanges,
        keys: list[str],
    ) -> None:
        super().__init__(now)
        self.sink = sink
        self.epoch = epoch
        self._began = now
        self.changes = changes
        self.keys = keys

    def takes(self, newer: "Run") -> bool:
        return (
            self.sink is newer.sink
            and type(self.changes) is type(newer.changes) is list
            and self.epoch == newer.epoch
            and newer.admitted_at - self._began <= _TOGETHER
            and len(self.changes) < _LONGEST
        )

    def split(self, count: int) -> "Run":
        """Remove the oldest rows, and return them."""
        changes, keys = self.changes[:count], self.keys[:count]
        self.changes, self.keys = self.changes[count:], self.keys[count:]
        return Run(self.sink, self.epoch, self.admitted_at, changes, keys)

    def entries(self) -> list[Entry]:
        entries = [Entry(change, self.sink) for change in self.changes]
        for entry in entries:
            entry.epoch, entry.admitted_at = self.epoch, self.admitted_at
            entry.first_sent_at = self.first_sent_at
            entry.attempts = int(self.first_sent_at is not None)
        return entries


class CompactRows:
    """
    The rows of a lane, each of another conversation.

    Attributes:
        keys: Those of their conversations.
    """

    __slots__ = ("_bulk", "_urgent", "keys")

    def __init__(self) -> None:
        self.keys: set[str] = set()
        # Runs for which a caller waits, and those of bulk jobs.
        self._urgent: list[Run] = []
        self._bulk: list[Run] = []

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def has_urgent(self) -> bool:
        return bool(self._urgent)

    def due_at(self, seconds: float, failing_since: float | None) -> float:
        """Return when a deadline passes for the oldest, infinity where there are none."""
        oldest = (runs[0] for runs in (self._urgent, self._bulk) if runs)
        return min((run.due_at(seconds, failing_since) for run in oldest), default=math.inf)

    def add(self, run: Run, keys: set[str]) -> None:
        """Add rows of conversations that are not here; their list becomes part of this."""
        runs = self._urgent if run.sink.is_urgent else self._bulk
        if runs and runs[-1].takes(run):
            last = runs[-1]
            last.changes += run.changes  # type: ignore[operator]
            last.keys += run.keys
            last.admitted_at = run.admitted_at
        else:
            runs.append(run)
        self.keys |= keys

    def take(self, limit: int, *, urgent: bool) -> list[Run]:
        """Remove the oldest rows of one kind, *limit* at most, and return them."""
        runs = self._urgent if urgent else self._bulk
        taken: list[Run] = []
        while runs and limit:
            oldest = runs[0].split(limit) if len(runs[0].changes) > limit else runs.pop(0)
            limit -= len(oldest.changes)
            taken.append(oldest)
        if not (self._urgent or self._bulk):
            self.keys.clear()
        for run in taken if self.keys else ():
            self.keys.difference_update(run.keys)
        return taken

    def take_all(self) -> list[Run]:
        most = len(self.keys)
        return self.take(most, urgent=True) + self.take(most, urgent=False)

    def extend_deadlines(self, seconds: float) -> None:
        for run in self._urgent + self._bulk:
            run.extend_deadline(seconds)

    def clear(self) -> None:
        self.keys.clear()
        self._urgent.clear()
        self._bulk.clear()

    def holds_of(self, sink: ResultSink) -> bool:
        return any(run.sink is sink for run in self._urgent + self._bulk)
