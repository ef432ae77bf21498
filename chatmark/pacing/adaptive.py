"""
How many calls a second are left, learned from refusals while others use the application, too.

This works as TCP finds its share of a line that no sender owns. While nothing is refused the rate
is the whole. A refusal tells that the last second was full: our calls in it are what the others
left, and the rate becomes a little less. From there it rises as CUBIC does
(https://www.rfc-editor.org/rfc/rfc9438): soon to where the refusal was, slowly around it, and then
ever faster, so that it is back at the whole some seconds after the others are gone. A process with
more gives up a larger share, and all rise by the same steps, so processes that learn side by side
become equal.

Sans-IO, all times in seconds.
"""

import collections
import math
from typing import Final

# The rate limits of the API count calls in a second.
_PERIOD: Final = 1.0
# The share that is given up at a refusal by who has the whole; who has half gives up half of that.
_MOST_GIVEN: Final = 0.08
_LEAST_GIVEN: Final = 0.02
# One fall keeps so much of the rate: calls may have been few only for lack of work.
_KEPT_AT_LEAST: Final = 0.5
_LEAST_RATE: Final = 1.0
# The growth, of the whole a second cubed: the second half of it takes seven seconds.
_GROWTH: Final = 0.0015
# A rest teaches nothing: of the time between two calls so much counts, or two spacings.
_REST: Final = 0.1
# The pause after a refusal with no success since the one before, doubled for another.
_PAUSE: Final = 0.1
# The way of one call is a little longer than that of another.
_EDGE: Final = 0.005
# So many in a row are not about the rate any more.
_MOST_STRIKES: Final = 3


class LearnedRate:
    """
    The calls a second that are left for us.

    Args:
        whole: The most that it may be.

    Attributes:
        rate: The calls a second.
    """

    def __init__(self, whole: float) -> None:
        self.rate = whole
        self._whole = whole
        # Whether nothing is known to be taken by others.
        self._is_whole = True
        self._least = min(whole, _LEAST_RATE)
        self._growth = _GROWTH * whole
        self._level = whole
        # For how long the rate has been used since it fell, and when it is at its level again.
        self._used = self._turn = 0.0
        self._used_at = -math.inf
        # When calls were sent in the last second, and which of them are known to be refused.
        self._sent: collections.deque[float] = collections.deque()
        self._refused: collections.deque[float] = collections.deque()
        # When the last refusal was heard of.
        self._news_at = -math.inf
        self._good_until = -math.inf
        self._strikes = 0

    def ready_at(self, now: float) -> float:
        """Return when the last second has room for another call; minus infinity if it has."""
        if self._is_whole:
            return -math.inf
        room = math.ceil(self.rate)
        return self._sent[-room] + _PERIOD if len(self._sent) >= room else -math.inf

    def sent(self, now: float) -> int:
        """Note that a call is sent now; return how many were sent in the second before."""
        calls = self._sent
        while calls and calls[0] <= now - _PERIOD:
            calls.popleft()
        calls.append(now)
        if not self._is_whole:
            self._rise(now)
        return len(calls) - 1

    def unused(self, sent_at: float) -> None:
        """Take a call back that was not sent."""
        if sent_at in self._sent:
            self._sent.remove(sent_at)

    def admitted(self, sent_at: float) -> None:
        """Note that the server did not find a call too many that was sent then."""
        self._good_until = max(self._good_until, sent_at)

    def refused(self, now: float, sent_at: float, before: int) -> float | None:
        """
        Note that the server found a call too many.

        Refusals of calls that were sent before the previous refusal arrived are the same event.

        Args:
            now: The time.
            sent_at: When the call was sent.
            before: How many calls were sent in the second before it.

        Returns:
            For how long no call may be made, so that the second has room again; None when that
            does not help, because nothing is admitted.
        """
        refused = self._refused
        while refused and refused[0] <= sent_at - _PERIOD:
            refused.popleft()
        admitted = before - sum(at < sent_at for at in refused)
        refused.append(sent_at)
        if sent_at <= self._news_at:
            return None if self._strikes >= _MOST_STRIKES else 0.0
        self._strikes = 0 if self._good_until > self._news_at else self._strikes + 1
        self._news_at = now
        if math.isinf(self._good_until) or self._strikes >= _MOST_STRIKES:
            self._strikes = _MOST_STRIKES
            return None
        self._fall(now, admitted)
        patience = _PAUSE * 2.0 ** (self._strikes - 1) if self._strikes else 0.0
        return max(self.ready_at(now) + _EDGE - now, patience)

    def _fall(self, now: float, left: float) -> None:
        """Fall to a little less than what was left for us, to rise soon to that again."""
        kept = left * (1.0 - max(_MOST_GIVEN * left / self._whole, _LEAST_GIVEN))
        rate = max(kept, self.rate * _KEPT_AT_LEAST, self._least)
        if rate < self.rate:
            self._level = min(max(rate, left), self.rate)
            self._turn = math.cbrt((self._level - rate) / self._growth)
            self._used, self._used_at = 0.0, now
            self.rate, self._is_whole = rate, False

    def _rise(self, now: float) -> None:
        self._used += min(now - self._used_at, max(_REST, 2.0 / self.rate))
        self._used_at = now
        rate = self._level + self._growth * (self._used - self._turn) ** 3
        self.rate = min(self._whole, rate)
        self._is_whole = rate >= self._whole
