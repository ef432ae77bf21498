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

    @pytest.mark.parametrize(
        ("options", "ceilings"),
        [
            ({}, [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]),
            ({"base": 1.0, "cap": 5.0}, [1.0, 2.0, 4.0, 5.0, 5.0]),
            ({"base": 1.0, "cap": 0.5}, [0.5, 0.5]),
        ],
    )
    def test_ceilings(self, options: dict[str, float], ceilings: list[float]) -> None:
        """The first ceiling is the base; each next is twice as high, up to the cap."""
        wait = full_jitter(Most(), **options)

        assert ceilings == [wait(retry) for retry in range(1, len(ceilings) + 1)]
        assert [ceilings[-1]] * 3 == [wait(retry) for retry in (32, 33, 10**9)]

    @given(st.integers(1, 100), st.integers())
    def test_range(self, retry: int, seed: int) -> None:
        """Each wait is between 0 and its ceiling, and the generator decides."""
        wait, same = (full_jitter(random.Random(seed)) for _ in range(2))

        assert 0.0 <= wait(retry) <= min(8.0, 0.25 * 2 ** (retry - 1))
        assert wait(retry) == [same(retry) for _ in range(2)][1]

    def test_spread(self) -> None:
        """Waits are spread evenly below their ceiling: the jitter is full."""
        wait = full_jitter(random.Random(1))
        tenths = [0] * 10
        for _ in range(10_000):
            tenths[int(wait(6) / 0.8)] += 1

        assert 900 <= min(tenths) <= max(tenths) <= 1100
