"""One request of mark_contact: what is sent, and the changes that it was made of."""

from collections.abc import Iterator, Sequence
from typing import Any

from chatmark.changes import MarkChange
from chatmark.core.compact_rows import Run
from chatmark.core.ledger import Ledger
from chatmark.core.pending import Entry, Item, ResultSink, entries_of

Confirmed = tuple[ResultSink, Sequence[MarkChange]]


class Request:
    """
    A request that is in flight.

    Args:
        account: The From_Account.
        items: Items.
        runs: Compact rows behind them.

    Attributes:
        changes: The change that is sent for each conversation.
        sent_at: When it was taken to be sent.
    """

    __slots__ = ("_items", "_runs", "account", "changes", "sent_at")

    def __init__(self, account: str, items: list[Item], runs: list[Run]) -> None:
        self.account = account
        self._items = items
        self._runs = runs
        self.changes: Sequence[MarkChange]
        if len(runs) == 1 and not items:
            self.changes = runs[0].changes
        else:
            self.changes = [item.change() for item in items]
            for run in runs:
                self.changes += run.changes
        self.sent_at = 0.0

    def start(self, now: float, held_since: float | None) -> None:
        self.sent_at = now
        for item in self._items:
            for entry in item.entries:
                entry.attempts += 1
                if entry.first_sent_at is None:
                    entry.start(now, held_since)
        for run in self._runs:
            run.start(now, held_since)

    def callers(self) -> Iterator[Any]:
        """Yield what a hook said of the callers of the changes, None where it said nothing."""
        entries = entries_of(self._items)
        sources = [entry if entry.sink is None else entry.sink for entry in entries]
        for source in (*sources, *(run.sink for run in self._runs)):
            yield getattr(source, "caller", None)

    def items(self) -> list[Item]:
        """Return all conversations as items; compact rows become items."""
        for run in self._runs:
            self._items += [Item([entry]) for entry in run.entries()]
        self._runs = []
        return self._items

    def confirm(self, ledger: Ledger) -> tuple[list[Entry], list[Confirmed]]:
        """Enter in the ledger that every change took effect; return the entries and the rows."""
        entries = entries_of(self._items)
        ledger.succeed(entries)
        for run in self._runs:
            ledger.succeed_many(run.epoch, len(run.changes))
        return entries, [(run.sink, run.changes) for run in self._runs]

    def keep(self, items: list[Item]) -> None:
        """Let only these items be in flight."""
        self._items, self._runs = items, []

    def extend_deadlines(self, seconds: float) -> None:
        for entry in entries_of(self._items):
            entry.extend_deadline(seconds)
        for run in self._runs:
            run.extend_deadline(seconds)
