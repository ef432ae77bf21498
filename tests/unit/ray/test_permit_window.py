import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig import windows

from chatmark.errors import InputError
from chatmark.ray.budget.window import PermitWindow


def simulate(calls_per_second: float, seed: int) -> tuple[list[float], float]:
    """
    Let borrowers use a window, and return the times of their calls, and the end.

    Some borrowers call late, some report late, one is lost, and some permits come back unused.
    """
    rng = random.Random(seed)
    window = PermitWindow(calls_per_second)
    made: list[float] = []
    reports: list[tuple[float, int, float | None]] = []
    now, end = 0.0, 4.0 * max(1.0, 1 / calls_per_second)
    names = ["quick", "slow", "lost"]
    while now < end:
        for each in sorted(reports):
            due, number, at = each
            if due <= now:
                reports.remove(each)
                window.take_back(number) if at is None else window.settle(number, at)
        count = rng.randint(1, window.at_once)
        delay = window.delay(now, count)
        if delay == 0:
            borrower = rng.choice(names)
            for number in window.lend(now, borrower, count):
                at = now + rng.choice((0.0, 0.001, 0.3)) * rng.random()
                if borrower == "lost":
                    # The borrower makes its call and is lost.
                    made.append(now)
                elif rng.random() < 0.1:
                    reports.append((at, number, None))
                else:
                    made.append(at)
                    late = rng.random() * (0.4 if borrower == "slow" else 0.01)
                    reports.append((at + late, number, at))
            if borrower == "lost":
                window.dismiss("lost", now)
                names.remove("lost")
        else:
            now += min(delay, 0.001 + rng.random() * 0.01)
    return made, end


class TestWindow:
    @given(seed=st.integers(0, 10**6), rate=st.sampled_from([0.5, 1, 2.5, 7, 50, 190, 200]))
    def test_no_second_holds_more(self, seed: int, rate: float) -> None:
        """No second has more calls than the budget, whatever borrowers do."""
        made, _ = simulate(rate, seed)

        assert windows(made, max(1.0, 1 / rate) - 1e-9) <= max(1, math.floor(rate))

    def test_a_permit_counts_until_its_call_is_settled(self) -> None:
        """A permit counts until its call is settled, and a second longer."""
        window = PermitWindow(1)
        (number,) = window.lend(0.0, "a", 1)

        assert math.inf == window.delay(100.0)
        window.settle(number, 100.5)
        assert 1.0 == window.delay(100.5)
        assert 0.0 == window.delay(101.5)

    def test_a_stalled_borrower_stops_nobody_else(self) -> None:
        """A permit that is never settled costs one call a second, and no more."""
        window = PermitWindow(10)
        window.lend(0.0, "stalled", 1)
        now, calls = 0.0, 0
        while now < 10.0:
            delay = window.delay(now)
            if delay:
                now += delay
            else:
                (number,) = window.lend(now, "busy", 1)
                window.settle(number, now)
                calls += 1

        assert 90 <= calls <= 91
        assert 1 == window.lent

    def test_unused_permits_come_back(self) -> None:
        """A permit without a call costs nothing."""
        window = PermitWindow(1)
        (number,) = window.lend(0.0, "a", 1)
        window.take_back(number)

        assert 0.0 == window.delay(0.0)
        assert 0 == window.lent

    def test_dismissed_borrower(self) -> None:
        """A dismissed borrower gets nothing, and its permits count a second longer."""
        window = PermitWindow(1)
        window.lend(0.0, "a", 1)
        window.dismiss("a", 5.0)

        assert [] == window.lend(7.0, "a", 1)
        assert pytest.approx(1.0, abs=0.1) == window.delay(5.0)
        assert 0.0 == window.delay(6.1)

    def test_forgotten_borrower(self) -> None:
        """A borrower whose permits were forgotten may borrow again."""
        window = PermitWindow(1)
        window.lend(0.0, "a", 1)
        window.forget("a", 0.0)

        assert [1] == window.lend(2.0, "a", 1)

    def test_unknown_permits(self) -> None:
        """Reports on permits of a lost server change nothing."""
        window = PermitWindow(1)
        window.settle(17, 0.0)
        window.take_back(18)

        assert 0.0 == window.delay(0.0)

    def test_calls_are_spread(self) -> None:
        """The calls of a second are spread over it."""
        window = PermitWindow(100)
        now, times = 0.0, []
        while now < 1.0:
            count = window.at_once
            if delay := window.delay(now, count):
                now += delay
            else:
                for number in window.lend(now, "a", count):
                    window.settle(number, now)
                    times.append(now)

        assert windows(times, 0.1) <= 30
        assert 90 <= len(times) <= 100

    @pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf, True, "190"])
    def test_bad_rate(self, rate: float) -> None:
        """A rate that is not a positive number is refused."""
        with pytest.raises(InputError, match="calls_per_second"):
            PermitWindow(rate)
