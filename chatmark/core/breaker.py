"""
The breaker: whether a request may be sent, after failures and refusals. Sans-IO.

It does nothing while requests succeed. After twenty failures in a row, or a "slow down", it allows
one probe at a time until one succeeds, so that an outage makes no storm of retries.
"""

import math
from collections.abc import Callable
from typing import Final

from chatmark.errors import ChatmarkError

# This many failures in a row engage the breaker, which is for a server that serves no user. A user
# whose requests fail while others succeed waits for the backoff of that user alone.
_MOST_FAILURES: Final = 20
# The rate limits of the API count calls in a second.
_SHORTEST_PAUSE: Final = 1.0
# Longer pauses would find out too late, for the deadline of a change, that the server is back.
_LONGEST_PAUSE: Final = 10.0
_MOST_DOUBLINGS: Final = 4
# Until the server has shown that it serves this application, a further request waits so long for
# the answer to the one before, in seconds: a wrong key is refused once, not by every lane.
_PROBATION: Final = 1.0
# For so many seconds a refusal of the whole application answers what comes after it, too: a bulk
# job would otherwise ask again for every hundred rows.
_REFUSAL_HOLDS: Final = 1.0
# So many requests of one change refused in a row: the fault is not in the changes alone.
_MOST_ALONE: Final = 10


class Breaker:
    """
    Decides whether another request may be sent now.

    Args:
        backoff: From the number of a retry (from 1) to a wait in seconds.
    """

    def __init__(self, backoff: Callable[[int], float]) -> None:
        self._backoff = backoff
        # In a row.
        self._failures = 0
        self._probes = 0
        self._pauses = 0
        self._trusted = False
        self._sent_at = -math.inf
        self._refusal: ChatmarkError | None = None
        self._refusal_until = -math.inf
        self._standard_refusal: ChatmarkError | None = None
        self._standard_until = -math.inf
        self._alone = 0
        self._good_until = -math.inf
        # Since when no request that was sent has succeeded, None while all is well.
        self.failing_since: float | None = None
        self.held_since: float | None = None
        self.resume_at = 0.0

    def allows(self, now: float, in_flight: int) -> bool:
        """Whether a request may be sent while *in_flight* others are."""
        if self.held_since is not None:
            return in_flight == 0 and now >= self.resume_at
        return self._trusted or in_flight == 0 or now >= self._sent_at + _PROBATION

    def wake_at(self, in_flight: int) -> float | None:
        """Return when `allows` may become true by time alone."""
        if self.held_since is not None:
            return None if in_flight else self.resume_at
        return None if self._trusted else self._sent_at + _PROBATION

    def sent(self, now: float) -> None:
        self._sent_at = now

    def refused(self, error: ChatmarkError | None, now: float) -> None:
        self._trusted = False
        self._refusal, self._refusal_until = error, now + _REFUSAL_HOLDS

    def refusal(self, now: float) -> ChatmarkError | None:
        """Return the refusal of the application that still holds, None where there is none."""
        return self._refusal if now < self._refusal_until else None

    def refused_standard(self, error: ChatmarkError, now: float) -> None:
        self._standard_refusal, self._standard_until = error, now + _REFUSAL_HOLDS

    def standard_refusal(self, now: float) -> ChatmarkError | None:
        return self._standard_refusal if now < self._standard_until else None

    def refused_alone(self) -> None:
        """
        Note that the server found a fault with a request of a single change.

        Many of these in a row say that it finds one with any: requests go one after another then.
        """
        self._alone += 1
        if self._alone >= _MOST_ALONE:
            self._trusted = False

    def succeeded(self, sent_at: float) -> None:
        self._trusted = True
        self._alone = 0
        self._good_until = max(self._good_until, sent_at)
        if self.failing_since is not None and sent_at >= self.failing_since:
            self.failing_since = None
        if self.held_since is None:
            self._failures = self._pauses = 0
        elif sent_at >= self.held_since:
            # Requests from before the hold prove nothing about now.
            self.held_since = None
            self._failures = _MOST_FAILURES // 2
            self._probes = 0

    def has_served_since(self, time: float) -> bool:
        """Whether a request that was sent after that time was answered."""
        return self._good_until > time

    def failed(self, now: float, sent_at: float, *, of_gateway: bool = False) -> None:
        """
        Note that a request, sent at that time, failed in a way that is worth a retry.

        If the reply may not be the API's, the hold begins at the first failure.
        """
        self._note_failure(sent_at)
        if self.held_since is not None:
            # One lost server fails all that was in flight; only probes tell whether it is back.
            if sent_at >= self.held_since:
                self._probes += 1
                self.resume_at = max(self.resume_at, now + self._backoff(self._probes))
            return
        self._failures += 1
        if self._failures >= _MOST_FAILURES or of_gateway:
            self.held_since = now
            self._probes = 1
            self.resume_at = now + self._backoff(1)

    def slow_down(self, now: float, sent_at: float, asked: float) -> float:
        """
        Note that the server asked to slow down, and return for how many seconds from now to pause.

        Refusals of requests that were sent before the pause began do not lengthen it.
        """
        if self.held_since is not None and sent_at < self.held_since:
            pause = asked
        else:
            pause = max(asked, min(_LONGEST_PAUSE, _SHORTEST_PAUSE * 2.0**self._pauses))
            # An outage of hours must not count up to a power that no float holds.
            self._pauses = min(self._pauses + 1, _MOST_DOUBLINGS)
        self._note_failure(now)
        if self.held_since is None:
            self.held_since = now
        self.resume_at = max(self.resume_at, now + pause)
        return self.resume_at - now

    def resumes_within(self, seconds: float, now: float) -> bool:
        """
        Whether a hold lets its next probe through about now: no more than so many seconds away.
        """
        return self.held_since is not None and abs(now - self.resume_at) <= seconds

    def _note_failure(self, since: float) -> None:
        if self.failing_since is None:
            # Requests that were sent after this one may have succeeded already.
            self.failing_since = max(since, self._good_until)
