"""
A request and what came of it, as the lanes tell it.
"""

from collections.abc import Iterable

import attrs

from chatmark.changes import MarkChange
from chatmark.core.compact_rows import Stretch
from chatmark.core.lane import Lane, Load
from chatmark.core.ledger import Ledger
from chatmark.core.pending import Entry, Item, Outcome


@attrs.frozen(eq=False)
class Batch:
    """
    One request of mark_contact: what is sent, and what it was made of.
    """

    lane: Lane
    load: Load
    changes: list[MarkChange]
    sent_at: float

    def unravel(self) -> list[Item]:
        """
        Return what was sent as items, for whoever looks at each of them.
        """
        return self.load.unravel()


@attrs.define
class Settled:
    """
    What the reply to a request led to.

    Args:
        done: Entries that ended.
        rows: Rows that took effect.
        again: How many items are to be sent again.
        reason: Why, in one word.
        pause: For how many seconds nobody is to make a call, 0 for none.
        error: What somebody's own backoff raised. What it kept from being settled counts as in
            flight.
    """

    done: list[Entry] = attrs.field(factory=list)
    rows: list[Stretch] = attrs.field(factory=list)
    again: int = 0
    reason: str = "0"
    pause: float = 0.0
    error: Exception | None = None

    def finish(self, ledger: Ledger, entries: Iterable[Entry], outcome: Outcome) -> None:
        """
        End entries, in the books too.
        """
        for entry in entries:
            ledger.finish(entry, outcome)
            self.done.append(entry)
