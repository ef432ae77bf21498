import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmark.pacing.backoff import full_jitter


class Most(random.Random):
    """Draws the largest number each time."""

    def random(self) -> float:
        """Return what no draw exceeds."""
        return 1.0


class TestFullJitter:
    """The wait before a retry."""

    def test_ceilings(self) -> None:
        """The first ceiling is the base; each next is twice as high, up to the cap."""
        wait = full_jitter(Most())

        assert [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0] == [wait(retry) for retry in range(1, 9)]

    def test_own_numbers(self) -> None:
        """Base and cap can be chosen."""
        wait = full_jitter(Most(), base=1.0, cap=5.0)

        assert [1.0, 2.0, 4.0, 5.0, 5.0] == [wait(retry) for retry in range(1, 6)]

    def test_cap_below_base(self) -> None:
        """No wait is longer than the cap, the first neither."""
        assert 0.5 == full_jitter(Most(), base=1.0, cap=0.5)(1)

    @pytest.mark.parametrize("retry", [32, 33, 1000, 10**9])
    def test_late(self, retry: int) -> None:
        """However many retries there were, the wait is the cap's."""
        assert 8.0 == full_jitter(Most())(retry)

    @given(st.integers(1, 100), st.integers())
    def test_range(self, retry: int, seed: int) -> None:
        """Every wait is between nothing and its ceiling."""
        wait = full_jitter(random.Random(seed))(retry)

        assert 0.0 <= wait <= min(8.0, 0.25 * 2 ** (retry - 1))

    def test_spread(self) -> None:
        """Waits are spread evenly below their ceiling: the jitter is full."""
        wait = full_jitter(random.Random(1))
        tenths = [0] * 10
        for _ in range(10_000):
            tenths[int(wait(6) / 0.8)] += 1

        assert 900 <= min(tenths) <= max(tenths) <= 1100

    def test_rng(self) -> None:
        """The same generator gives the same waits, and the global one is not touched."""
        before = random.getstate()
        first, second = (full_jitter(random.Random(7)) for _ in range(2))

        assert [first(n) for n in range(1, 9)] == [second(n) for n in range(1, 9)]
        assert before == random.getstate()
