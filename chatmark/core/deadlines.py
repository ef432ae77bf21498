"""
When the deadline of a change or a call passes. Marks and reads count by the same rule.

A deadline runs from the first attempt. During an outage it also runs for what was never sent: from
the first failure, or from the admission if that came later.
"""

import math


class Timed:
    """
    Something with a deadline.

    Args:
        admitted_at: When it came.

    Attributes:
        first_sent_at: When its deadline began with the first attempt, None before that.
    """

    __slots__ = ("admitted_at", "first_sent_at")

    def __init__(self, admitted_at: float = math.nan) -> None:
        self.admitted_at = admitted_at
        self.first_sent_at: float | None = None

    def start(self, now: float, held_since: float | None) -> None:
        """
        Note an attempt.

        A probe gives no more time to what waited while the breaker held requests back.
        """
        if self.first_sent_at is None:
            waited_since = now if held_since is None else max(self.admitted_at, held_since)
            self.first_sent_at = waited_since

    def due_at(self, seconds: float, failing_since: float | None = None) -> float:
        """
        Return when a deadline of so many seconds passes, infinity while it does not run.

        Args:
            seconds: The deadline.
            failing_since: Since when no request succeeds, None while all is well.
        """
        if self.first_sent_at is not None:
            return self.first_sent_at + seconds
        if failing_since is None:
            return math.inf
        return max(self.admitted_at, failing_since) + seconds

    def extend_deadline(self, seconds: float) -> None:
        self.admitted_at += seconds
        if self.first_sent_at is not None:
            self.first_sent_at += seconds
