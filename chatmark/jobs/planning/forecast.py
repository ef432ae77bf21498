"""The time that the calls of a job will take, as a range."""

import math

import attrs

from chatmark.core.concurrency import LEAST_IN_FLIGHT


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
    begin when they have ended: a job learns of a user when it comes to that user's rows.

    Args:
        calls: The calls of all users.
        longest: The calls of the user that has most of them.
        conditions: The limits of the calls.
        busiest: The calls of the command that has most of them, None for all. Each command has a
            rate limit of its own; at worst one waits for the other.

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
