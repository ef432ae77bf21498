"""The time that the calls of a job will take, and what the server makes of its units."""

import math
from collections.abc import Iterable
from typing import Final

import attrs

from chatmark import ChatmarkError, MarkedConversation, RefusedError
from chatmark.core.concurrency import LEAST_IN_FLIGHT
from chatmark.jobs.grouping import Unit, UserUnits, calls_for
from chatmark.limits import MAX_SEARCHED

_MOST_KEPT: Final = 20
_NO_SUCH_USER: Final = 50001


@attrs.frozen
class Conditions:
    """
    The limits of a session.

    Args:
        calls_per_second: Its rate limit, None without one.
        round_trip: Seconds from a request to its answer.
        max_in_flight: The most requests at once, None for as many as the pace needs.
    """

    calls_per_second: float | None
    round_trip: float
    max_in_flight: int | None = None


@attrs.frozen
class Seconds:
    """A time that is not known exactly: from *least* to *most* seconds."""

    least: float = 0.0
    most: float = 0.0

    def __add__(self, seconds: float) -> "Seconds":
        return Seconds(self.least + seconds, self.most + seconds)


def forecast(
    calls: int, longest: int, conditions: Conditions, busiest: int | None = None
) -> Seconds:
    """
    Return the time of calls if none is repeated.

    The calls of one user go one after another. The user with most calls may end with all others, or
    begin when they have ended: a job learns of a user when it comes to that user's rows. *longest*
    are the calls of that user, *busiest* those of the command that has most of them: each command
    has a rate limit of its own; at worst one waits for the other.

    >>> forecast(9, 5, Conditions(calls_per_second=None, round_trip=0.25))
    Seconds(least=1.25, most=2.5)
    """
    if not calls:
        return Seconds()
    rate, round_trip = conditions.calls_per_second, conditions.round_trip
    at_once = conditions.max_in_flight or (LEAST_IN_FLIGHT if rate is None else calls)
    alone = longest * round_trip
    unpaced = max(alone, math.ceil(calls / at_once) * round_trip)

    def paced(count: int) -> float:
        return unpaced if rate is None else max(unpaced, max(0, count - 1) / rate + round_trip)

    # A user that is alone waits for no other.
    last = alone if calls > longest else 0.0
    return Seconds(paced(calls if busiest is None else busiest), paced(calls) + last)


@attrs.frozen
class OverLimit:
    """A user that would exceed the limit of marked conversations (51008)."""

    from_account: str
    marked: int
    refused: int


@attrs.define
class OnServer:
    """
    The file compared with the server: users, conversations, and the calls of --skip-unchanged.

    *skip_longest* of these calls are those of the user that has most of them.
    """

    calls_read: int = 0
    unchanged: int = 0
    unknown_users: int = 0
    first_unknown_users: list[str] = attrs.field(factory=list[str])
    unread_users: int = 0
    errors: dict[str, ChatmarkError] = attrs.field(factory=dict[str, ChatmarkError])
    users_over_limit: int = 0
    conversations_over_limit: int = 0
    first_over_limit: list[OverLimit] = attrs.field(factory=list[OverLimit])
    skip_reading: int = 0
    skip_sending: int = 0
    skip_longest: int = 0

    @property
    def skip_calls(self) -> int:
        return self.skip_reading + self.skip_sending

    def forecast(self, conditions: Conditions) -> Seconds:
        busiest = max(self.skip_reading, self.skip_sending)
        return forecast(self.skip_calls, self.skip_longest, conditions, busiest)

    def add_unread(self, user: UserUnits, error: ChatmarkError) -> None:
        # With --skip-unchanged reading fails, and all is sent.
        self._add_skip_calls(user, calls_for(user.count))
        if isinstance(error, RefusedError) and error.code == _NO_SUCH_USER:
            self.unknown_users += 1
            if len(self.first_unknown_users) < _MOST_KEPT:
                self.first_unknown_users.append(user.account)
            return
        self.unread_users += 1
        if len(self.errors) < _MOST_KEPT:
            self.errors[user.account] = error

    def add(
        self,
        user: UserUnits,
        units: Iterable[Unit],
        found_marks: Iterable[MarkedConversation],
        most_marked: int,
    ) -> None:
        """Compare the units of a user with all that the server has of that user."""
        has = {each.conversation: each for each in found_marks}
        marked = now_marked = sum(bool(each.mark or each.custom_mark) for each in has.values())
        unchanged = refused = 0
        for unit in units:
            conversation = unit.change.conversation
            found = has.get(conversation) or MarkedConversation(conversation)
            if found.satisfies(unit.change):
                unchanged += 1
                continue
            step = _step(found, unit)
            if step > 0 and marked >= most_marked:
                refused += 1
            else:
                marked += step
        self.unchanged += unchanged
        if refused:
            self.users_over_limit += 1
            self.conversations_over_limit += refused
            if len(self.first_over_limit) < _MOST_KEPT:
                self.first_over_limit.append(OverLimit(user.account, now_marked, refused))
        self._add_skip_calls(user, calls_for(user.count - unchanged))

    def _add_skip_calls(self, user: UserUnits, sending: int) -> None:
        reading = -(-user.count // MAX_SEARCHED)
        self.skip_reading += reading
        self.skip_sending += sending
        self.skip_longest = max(self.skip_longest, reading + sending)


def _step(found: MarkedConversation, unit: Unit) -> int:
    """Return by how many the marked conversations of the user grow."""
    change = unit.change
    mark = (found.mark | change.set_mark) & ~change.clear_mark
    custom = found.custom_mark if change.custom_mark is None else change.custom_mark
    return bool(mark or custom) - bool(found.mark or found.custom_mark)
