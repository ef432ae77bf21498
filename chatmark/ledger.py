"""
The books: every accepted change ends in exactly one of succeeded, failed or withdrawn.
"""

from collections import Counter

import attrs

from chatmark.entries import WITHDRAWN, Entry, Outcome


@attrs.define
class Ledger:
    """
    What was accepted, and what became of it.

    Args:
        accepted: Changes accepted.
        pending: Those of them without an outcome.
        succeeded: Those that took effect.
        failed: Those that failed.
        withdrawn: Those that were taken back before they were sent.
        retries: Items that were sent again, counted each time.
        retries_by_reason: Items that were put back to be sent again, by code, status or kind of
            fault.
        failures_by_code: Failed changes by the vendor's code, None for those without one.
    """

    accepted: int = 0
    pending: int = 0
    succeeded: int = 0
    failed: int = 0
    withdrawn: int = 0
    retries: int = 0
    retries_by_reason: Counter[str] = attrs.field(factory=Counter)
    failures_by_code: Counter[int | None] = attrs.field(factory=Counter)
    _epoch: int = attrs.field(default=0, init=False)
    _pending_by_epoch: dict[int, int] = attrs.field(factory=dict, init=False)

    def accept(self, entry: Entry) -> None:
        """
        Enter a change.
        """
        self.accepted += 1
        self.pending += 1
        entry.epoch = self._epoch
        self._pending_by_epoch[self._epoch] = self._pending_by_epoch.get(self._epoch, 0) + 1

    def finish(self, entry: Entry, outcome: Outcome) -> None:
        """
        Enter the outcome of a change.
        """
        entry.outcome = outcome
        entry.item = None
        self.pending -= 1
        if outcome.error is None:
            self.succeeded += 1
        elif outcome is WITHDRAWN:
            self.withdrawn += 1
        else:
            self.failed += 1
            self.failures_by_code[outcome.code] += 1
        left = self._pending_by_epoch[entry.epoch] - 1
        if left:
            self._pending_by_epoch[entry.epoch] = left
        else:
            del self._pending_by_epoch[entry.epoch]

    def start_epoch(self) -> int:
        """
        Return a ticket for everything that was accepted so far.
        """
        self._epoch += 1
        return self._epoch - 1

    def is_settled(self, ticket: int) -> bool:
        """
        Whether everything accepted before that ticket has an outcome.
        """
        # Epochs are entered in their order, so the first is the oldest.
        return next(iter(self._pending_by_epoch), ticket + 1) > ticket
