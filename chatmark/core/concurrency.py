"""
How many requests may be in flight at once, and what share of them troubled users may take.

By Little's law a pace of calls needs *pace x round trip* requests in flight. The limit finds that
number without measuring either: it grows with each answer that arrives while requests wait for a
place, and shrinks while little of it is used. It does not grow while the server sends no answers.

The requests of one user go one after another, so a user whose requests are slow or fail holds one
place for a long time. A part of the places is kept for the others.
"""

import enum
import math
from typing import Final

#: The limit of a paced session starts here and never falls below; that of an unpaced one stays.
LEAST_IN_FLIGHT: Final = 32
#: A process often has no more than 1,024 file descriptors.
MOST_IN_FLIGHT: Final = 512
# Places that each answer adds while requests wait for one, so that the limit follows a longer round
# trip within one round trip.
_GROWTH: Final = 8
# Accounts whose last request is remembered.
_MOST_ACCOUNTS: Final = 10_000
# A request is slow if it takes longer than this, in seconds, and so many times longer than the
# fastest request. That time grows with each answer, because the way to the server may change.
_SLOW: Final = 0.5
_SLOWER: Final = 8.0
_FORGOTTEN: Final = 1.02


class Health(enum.IntEnum):
    """How an account's last request went: badly or slowly, not known, or well."""

    TROUBLED = 0
    UNKNOWN = 1
    HEALTHY = 2


class AccountHealth:
    """Remembers how the last request of each account went."""

    def __init__(self) -> None:
        # None for the healthy; for the troubled, since when their requests fail, infinity for slow.
        self._known: dict[str, float | None] = {}
        self._fastest = math.inf

    def of(self, account: str) -> Health:
        if account not in self._known:
            return Health.UNKNOWN
        return Health.HEALTHY if self._known[account] is None else Health.TROUBLED

    def failing_since(self, account: str) -> float:
        """Return since when an account's requests fail, infinity where the last did not."""
        since = self._known.get(account)
        return math.inf if since is None else since

    def answered(self, account: str, seconds: float) -> None:
        self._fastest = min(seconds, self._fastest * _FORGOTTEN)
        is_slow = seconds > max(_SLOW, _SLOWER * self._fastest)
        self._note(account, math.inf if is_slow else None)

    def failed(self, account: str, sent_at: float) -> None:
        self._note(account, min(sent_at, self.failing_since(account)))

    def _note(self, account: str, since: float | None) -> None:
        known = self._known
        if account in known and known[account] == since:
            return
        known.pop(account, None)
        if len(known) >= _MOST_ACCOUNTS:
            del known[next(iter(known))]
        known[account] = since


class ConcurrencyLimit:
    """
    Counts the requests in flight by the health of their accounts.

    Args:
        most: The most requests at once; None lets the number follow pace and round trip.

    Attributes:
        limit: The most requests that may be in flight now.
        is_wanted: Whether a request waits for a place.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = MOST_IN_FLIGHT if most is None else most
        self._least = self.limit = LEAST_IN_FLIGHT if most is None else most
        self.is_wanted = False
        self._counts = [0] * len(Health)

    @property
    def in_flight(self) -> int:
        return sum(self._counts)

    def lowest(self) -> int:
        """
        Return the lowest health that may send now, one more than the highest where none may.

        Troubled accounts take half of the places. Where the limit can grow, a quarter is kept for
        healthy ones: those that are not known may all turn out to be slow.
        """
        troubled, unknown, healthy = self._counts
        limit = self.limit
        if troubled + unknown + healthy >= limit:
            return Health.HEALTHY + 1
        if self._least < self._most and troubled + unknown >= limit - limit // 4:
            return Health.HEALTHY
        return Health.UNKNOWN if troubled >= limit - limit // 2 else Health.TROUBLED

    def sent(self, health: int) -> None:
        self._counts[health] += 1

    def ended(self, health: int, *, answered: bool) -> None:
        if answered:
            if self.is_wanted:
                self.limit = min(self._most, self.limit + _GROWTH)
            elif self.in_flight < self.limit // 4:
                self.limit = max(self._least, self.limit - 1)
        self._counts[health] -= 1

    def clear(self) -> None:
        self._counts = [0] * len(Health)
