"""
What waits for one conversation, or is in flight for it: its entries, oldest first.

What is sent is their merger, folded when the request is taken, so that withdrawing an entry is
removing it.
"""

import math
from typing import TYPE_CHECKING

from chatmark.entries import Entry
from chatmark.models import MarkChange, merge

if TYPE_CHECKING:
    from chatmark.lane import Lane


class Item:
    """
    What waits for one conversation, or is in flight for it.
    """

    __slots__ = (
        "conversation",
        "doubted",
        "entries",
        "gone",
        "key",
        "lane",
        "missing",
        "parked",
        "retries",
        "urgent",
    )

    def __init__(self, lane: "Lane", entry: Entry) -> None:
        self.lane = lane
        self.conversation = conversation = entry.change.conversation
        self.key = conversation.key
        # Some of them may have been taken back: *gone* says how many.
        self.entries = [entry]
        self.gone = 0
        # Whether somebody waits for it, as opposed to a bulk job's row.
        self.urgent = not entry.bulk
        self.parked = False
        # Answers without a line for it, and answers that sent it back.
        self.missing = 0
        self.retries = 0
        # Whether the one other attempt of Handling.RETRY_ONCE was granted.
        self.doubted = False
        entry.item = self

    def join(self, entry: Entry) -> None:
        """
        Add a newer entry.

        What is sent is another thing then: what the server left unsaid of the one before does not
        count for it.
        """
        self.entries.append(entry)
        entry.item = self
        self.missing = 0
        self.doubted = False

    def leave(self, entry: Entry) -> bool:
        """
        Take an entry back; return whether others are left.
        """
        entry.item = None
        self.gone += 1
        if 2 * self.gone > len(self.entries):
            self.sweep()
        return bool(self.entries)

    def sweep(self) -> None:
        """
        Drop the entries that were taken back.
        """
        if self.gone:
            self.entries = [entry for entry in self.entries if entry.item is self]
            self.gone = 0

    def change(self) -> MarkChange:
        """
        Return the one change that has the effect of all entries.
        """
        entries = self.entries
        if len(entries) == 1:
            return entries[0].change
        return merge([entry.change for entry in entries])

    @property
    def has_standard(self) -> bool:
        """
        Whether one of its entries changes the standard mark.
        """
        return any(entry.is_standard for entry in self.entries)

    def first_attempt(self) -> float:
        """
        Return when the first of its entries was first sent, infinity when none was.
        """
        return min(
            (e.since for e in self.entries if e.attempts and e.since is not None), default=math.inf
        )
