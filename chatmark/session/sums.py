"""
The sums of many changes: how they ended, and the first failures.
"""

import collections
from typing import Final

from chatmark.core.pending import SUCCESS, WITHDRAWN, Entry
from chatmark.results import MarkReport, MarkResult

_MOST_FAILURES: Final = 1000


class Sums:
    """
    Counts outcomes.

    Attributes:
        succeeded: Changes that took effect.
        withdrawn: Changes that were never sent.
    """

    def __init__(self) -> None:
        self.succeeded = self.withdrawn = 0
        self._failures: list[MarkResult] = []
        self._failures_by_code: collections.Counter[int | None] = collections.Counter()

    def add(self, entry: Entry) -> None:
        outcome = entry.outcome
        if outcome is SUCCESS:
            self.succeeded += 1
        elif outcome is WITHDRAWN:
            self.withdrawn += 1
        elif outcome is not None:
            self._failures_by_code[outcome.code] += 1
            if len(self._failures) < _MOST_FAILURES:
                self._failures.append(entry.report())

    def report(self, *, calls: int, retries: int, elapsed: float) -> MarkReport:
        """Return the sums, with calls, retries and wall time in seconds."""
        return MarkReport(
            succeeded=self.succeeded,
            failed=self._failures_by_code.total(),
            withdrawn=self.withdrawn,
            calls=calls,
            retries=retries,
            failures=tuple(self._failures),
            failures_by_code=dict(self._failures_by_code),
            elapsed=elapsed,
        )
