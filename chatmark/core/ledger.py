"""The books: every accepted change ends in exactly one of succeeded, failed or withdrawn."""

from collections import Counter
from collections.abc import Iterable, Sequence

import attrs

from chatmark.core.pending import SUCCESS, WITHDRAWN, Entry, Outcome


@attrs.define
class Ledger:
    """
    Counts of the accepted changes and their outcomes.

    Args:
        accepted: Changes accepted.
        pending: Those of them without an outcome.
        succeeded: Those that took effect.
        failed: Those that failed.
        withdrawn: Those that were taken back before they were sent.
        retries_by_reason: Items that were put back to be sent again, counted each time, by code,
            status or kind of fault.
        failures_by_code: Failed changes by the vendor's code, None for those without one.
    """

    accepted: int = 0
    pending: int = 0
    succeeded: int = 0
    failed: int = 0
    withdrawn: int = 0
    retries_by_reason: Counter[str] = attrs.field(factory=Counter)
    failures_by_code: Counter[int | None] = attrs.field(factory=Counter)
    _epoch: int = attrs.field(default=0, init=False)
    # Pending changes of earlier epochs; those of this one are the rest.
    _older: dict[int, int] = attrs.field(factory=dict, init=False)
    _older_total: int = attrs.field(default=0, init=False)

    @property
    def retries(self) -> int:
        return self.retries_by_reason.total()

    def accept(self, entries: Sequence[Entry]) -> None:
        epoch = self.accept_many(len(entries))
        for entry in entries:
            entry.epoch = epoch

    def accept_many(self, count: int) -> int:
        """Enter so many changes, and return their epoch."""
        self.accepted += count
        self.pending += count
        return self._epoch

    def finish(self, entry: Entry, outcome: Outcome) -> None:
        entry.outcome = outcome
        self.pending -= 1
        if outcome.error is None:
            self.succeeded += 1
        elif outcome is WITHDRAWN:
            self.withdrawn += 1
        else:
            self.failed += 1
            self.failures_by_code[outcome.code] += 1
        self._leave(entry.epoch)

    def finish_all(self, entries: Iterable[Entry], outcome: Outcome) -> None:
        for entry in entries:
            self.finish(entry, outcome)

    def succeed(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            entry.outcome = SUCCESS
            self._leave(entry.epoch)
        self.pending -= len(entries)
        self.succeeded += len(entries)

    def succeed_many(self, epoch: int, count: int) -> None:
        """Enter that so many changes of an epoch took effect."""
        self.pending -= count
        self.succeeded += count
        self._leave(epoch, count)

    def start_epoch(self) -> int:
        """Return a ticket for everything that was accepted so far."""
        current = self.pending - self._older_total
        if current:
            self._older[self._epoch] = current
            self._older_total += current
        self._epoch += 1
        return self._epoch - 1

    def is_settled(self, ticket: int) -> bool:
        """Whether everything accepted before that ticket has an outcome."""
        # Epochs are entered in their order, so the first is the oldest.
        return next(iter(self._older), ticket + 1) > ticket

    def _leave(self, epoch: int, count: int = 1) -> None:
        if epoch == self._epoch:
            return
        self._older_total -= count
        self._older[epoch] -= count
        if not self._older[epoch]:
            del self._older[epoch]
