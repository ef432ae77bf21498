"""
When the deadline of a call or a change passes. Marks and reads count by the same rule.

A deadline runs from the first attempt. During an outage it also runs for what was never sent: from
the first failure, or from the admission if that came later.
"""

import math


def began_at(now: float, admitted_at: float, held_since: float | None) -> float:
    """
    Return when the deadline begins for something whose first attempt is made now.

    A probe gives no more time to what waited while the breaker held requests back.
    """
    return now if held_since is None else max(admitted_at, held_since)


def due_at(
    seconds: float, *, first_sent_at: float | None, admitted_at: float, failing_since: float | None
) -> float:
    """
    Return when a deadline of so many seconds passes, infinity while it does not run.

    Args:
        seconds: The deadline.
        first_sent_at: When it began with the first attempt, None if there was none.
        admitted_at: When the change or call came.
        failing_since: Since when no request succeeds, None while all is well.
    """
    if first_sent_at is not None:
        return first_sent_at + seconds
    if failing_since is None:
        return math.inf
    return max(admitted_at, failing_since) + seconds
