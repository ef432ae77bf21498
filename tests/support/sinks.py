"""What stands in for the callers of the engine."""

from collections.abc import Sequence

from chatmark.changes import MarkChange
from chatmark.core.pending import Entry
from chatmark.failures import UnsentError


def unsent(entries: Sequence[Entry]) -> UnsentError:
    """Return the error of changes that closing gives up."""
    return UnsentError([entry.change for entry in entries])


class Job:
    """A bulk job that remembers what it was told; an urgent one is a caller's mark_many."""

    def __init__(self, *, is_urgent: bool = False) -> None:
        self.is_urgent = is_urgent
        self.rows: list[Entry] = []
        self.changes: list[MarkChange] = []

    def settled(self, row: Entry) -> None:
        """Remember a row."""
        self.rows.append(row)

    def confirmed(self, changes: Sequence[MarkChange]) -> None:
        """Remember rows."""
        self.changes += changes
