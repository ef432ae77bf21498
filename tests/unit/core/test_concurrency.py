import math

import pytest

from chatmark.core.concurrency import (
    LEAST_IN_FLIGHT,
    MOST_IN_FLIGHT,
    AccountHealth,
    ConcurrencyLimit,
    Health,
)


def limit_with(
    troubled: int = 0, unknown: int = 0, healthy: int = 0, most: int | None = None
) -> ConcurrencyLimit:
    """Return a limit with so many requests in flight."""
    limit = ConcurrencyLimit(most)
    for health, count in zip(Health, (troubled, unknown, healthy), strict=True):
        for _ in range(count):
            limit.sent(health)
    return limit


@pytest.fixture
def health() -> AccountHealth:
    """How the requests of no account went so far."""
    return AccountHealth()


class TestAccountHealth:
    """How the last request of each account went."""

    def test_failed(self, health: AccountHealth) -> None:
        """An account is unknown, then failing since its first failure, until an answer in time."""
        found = [(health.of("ann"), health.failing_since("ann"))]
        for sent_at in (7.0, 5.0, 9.0):
            health.failed("ann", sent_at)
        found.append((health.of("ann"), health.failing_since("ann")))
        health.answered("ann", 0.5)
        found.append((health.of("ann"), health.failing_since("ann")))

        assert [
            (Health.UNKNOWN, math.inf),
            (Health.TROUBLED, 5.0),
            (Health.HEALTHY, math.inf),
        ] == found

    @pytest.mark.parametrize(
        ("fastest", "seconds", "found"),
        [
            (0.25, 2.0, Health.HEALTHY),
            (0.25, 2.1, Health.TROUBLED),
            (0.01, 0.5, Health.HEALTHY),
            (0.01, 0.51, Health.TROUBLED),
        ],
    )
    def test_slow(
        self, health: AccountHealth, fastest: float, seconds: float, found: Health
    ) -> None:
        """Slow is longer than half a second, and than eight times the fastest."""
        health.answered("bob", fastest)
        health.answered("ann", seconds)

        assert found is health.of("ann")
        assert math.inf == health.failing_since("ann")

    def test_the_fastest_is_forgotten(self, health: AccountHealth) -> None:
        """The fastest request of long ago does not count: the way may become longer."""
        health.answered("bob", 0.1)
        found = []
        for _ in range(200):
            health.answered("ann", 1.0)
            found.append(health.of("ann"))

        assert (Health.TROUBLED, Health.HEALTHY) == (found[0], found[-1])
        # 0.1 s times 1.02 to the 12th is below an eighth of a second, to the 13th no more.
        assert 11 == found.index(Health.HEALTHY)

    def test_is_bounded(self, health: AccountHealth) -> None:
        """Ten thousand accounts are remembered; the one that was noted first goes first."""
        for number in range(10_000):
            health.answered(f"user_{number}", 0.1)
        health.failed("user_0", 1.0)
        health.answered("new", 0.1)

        assert [Health.TROUBLED, Health.UNKNOWN, Health.HEALTHY, Health.HEALTHY] == [
            health.of(each) for each in ("user_0", "user_1", "user_2", "new")
        ]


class TestConcurrencyLimit:
    """How many requests may be in flight, and what share troubled users have of them."""

    def test_begins(self) -> None:
        """It begins with the least, and a given number is obeyed."""
        free, fixed = ConcurrencyLimit(), ConcurrencyLimit(7)

        assert (LEAST_IN_FLIGHT, 7) == (free.limit, fixed.limit)
        assert not free.is_wanted

    @pytest.mark.parametrize(
        ("counts", "most", "lowest"),
        [
            ((0, 0, 0), None, Health.TROUBLED),
            ((15, 0, 0), None, Health.TROUBLED),
            ((16, 0, 0), None, Health.UNKNOWN),
            ((0, 23, 0), None, Health.TROUBLED),
            ((0, 24, 0), None, Health.HEALTHY),
            ((12, 12, 0), None, Health.HEALTHY),
            ((0, 0, 31), None, Health.TROUBLED),
            ((0, 0, 32), None, Health.HEALTHY + 1),
            ((10, 11, 11), None, Health.HEALTHY + 1),
            ((4, 4, 0), 10, Health.TROUBLED),
            ((5, 4, 0), 10, Health.UNKNOWN),
            ((4, 6, 0), 10, Health.HEALTHY + 1),
            ((2, 0, 0), 3, Health.UNKNOWN),
        ],
    )
    def test_lowest(self, counts: tuple[int, int, int], most: int | None, lowest: int) -> None:
        """Troubled users take half of the places; a limit that can grow keeps a quarter."""
        assert lowest == limit_with(*counts, most=most).lowest()

    def test_counts(self) -> None:
        """What is in flight is counted, and forgotten together."""
        limit = limit_with(1, 2, 3)
        limit.ended(Health.UNKNOWN, answered=False)
        left = limit.in_flight
        limit.clear()

        assert (5, 0) == (left, limit.in_flight)

    @pytest.mark.parametrize(
        ("wanted", "answered", "in_flight", "after"),
        [(True, True, 32, 40), (True, False, 32, 32), (False, True, 32, 32), (False, True, 1, 32)],
    )
    def test_grows(self, wanted: bool, answered: bool, in_flight: int, after: int) -> None:
        """Each answer that comes while a request waits for a place adds eight, up to the most."""
        limit = limit_with(healthy=in_flight)
        limit.is_wanted = wanted
        limit.ended(Health.HEALTHY, answered=answered)

        assert after == limit.limit

    def test_grows_to_the_most(self) -> None:
        """It grows no further than the most, and shrinks while little of it is used."""
        limit = limit_with(healthy=200)
        limits = []
        for is_wanted, answers in ((True, 100), (False, 50)):
            limit.is_wanted = is_wanted
            for _ in range(answers):
                limit.ended(Health.HEALTHY, answered=True)
            limits.append(limit.limit)

        assert [MOST_IN_FLIGHT, MOST_IN_FLIGHT - 50] == limits

    def test_does_not_shrink_while_it_is_used(self) -> None:
        """A quarter in use is enough to keep it."""
        limit = limit_with(healthy=11)
        limits = []
        for is_wanted in (True, False, False):
            limit.is_wanted = is_wanted
            limit.ended(Health.HEALTHY, answered=True)
            limits.append(limit.limit)

        assert [40, 40, 39] == limits
