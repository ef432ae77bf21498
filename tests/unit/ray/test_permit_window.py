import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig import windows

from chatmark.errors import InputError
from chatmark.ray.permit_window import PermitWindow


def simulate(calls_per_second: float, seed: int) -> tuple[list[float], float]:
    """
    Let borrowers of all kinds use a window, and return when their calls were made, and until when.

    Some make a call late, some say late that it is over, some never do and are given up, some give
    permits back.
    """
    rng = random.Random(seed)
    window = PermitWindow(calls_per_second)
    made: list[float] = []
    to_tell: list[tuple[float, int, float | None]] = []
    now, end = 0.0, 4.0 * max(1.0, 1 / calls_per_second)
    names = ["quick", "slow", "lost"]
    while now < end:
        for each in sorted(to_tell):
            due, number, at = each
            if due <= now:
                to_tell.remove(each)
                window.unused(number) if at is None else window.settle(number, at)
        count = rng.randint(1, window.at_once)
        delay = window.delay(now, count)
        if delay == 0:
            borrower = rng.choice(names)
            for number in window.lend(now, borrower, count):
                at = now + rng.choice((0.0, 0.001, 0.3)) * rng.random()
                if borrower == "lost":
                    # It makes its call and is gone.
                    made.append(now)
                elif rng.random() < 0.1:
                    to_tell.append((at, number, None))
                else:
                    made.append(at)
                    late = rng.random() * (0.4 if borrower == "slow" else 0.01)
                    to_tell.append((at + late, number, at))
            if borrower == "lost":
                window.part("lost", now)
                names.remove("lost")
        else:
            now += min(delay, 0.001 + rng.random() * 0.01)
    return made, end


class TestWindow:
    @given(seed=st.integers(0, 10**6), rate=st.sampled_from([0.5, 1, 2.5, 7, 50, 190, 200]))
    def test_no_second_holds_more(self, seed: int, rate: float) -> None:
        """
        Whatever borrowers do, no window has more calls than it may.
        """
        made, _ = simulate(rate, seed)

        assert windows(made, max(1.0, 1 / rate) - 1e-9) <= max(1, math.floor(rate))

    def test_a_permit_counts_until_its_call_is_settled(self) -> None:
        """
        Nobody knows when a call is over that nobody has settled; a second after it another may go.
        """
        window = PermitWindow(1)
        (number,) = window.lend(0.0, "a", 1)

        assert math.inf == window.delay(100.0)
        window.settle(number, 100.5)
        assert 1.0 == window.delay(100.5)
        assert 0.0 == window.delay(101.5)

    def test_a_stalled_borrower_stops_nobody_else(self) -> None:
        """
        A permit that is never settled costs one call of each second, and no more.
        """
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
        """
        A permit without a call costs nothing.
        """
        window = PermitWindow(1)
        (number,) = window.lend(0.0, "a", 1)
        window.unused(number)

        assert 0.0 == window.delay(0.0)
        assert 0 == window.lent

    def test_whoever_is_gone_gets_nothing(self) -> None:
        """
        A borrower that is gone is lent nothing, and what it had counts a second from then.
        """
        window = PermitWindow(1)
        window.lend(0.0, "a", 1)
        window.part("a", 5.0)

        assert [] == window.lend(7.0, "a", 1)
        assert pytest.approx(1.0, abs=0.1) == window.delay(5.0)
        assert 0.0 == window.delay(6.1)

    def test_forgetting_is_no_parting(self) -> None:
        """
        A borrower that lost its books is lent more.
        """
        window = PermitWindow(1)
        window.lend(0.0, "a", 1)
        window.forget("a", 0.0)

        assert [1] == window.lend(2.0, "a", 1)

    def test_what_is_unknown_is_no_matter(self) -> None:
        """
        Permits of an permits that is gone mean nothing to its successor.
        """
        window = PermitWindow(1)
        window.settle(17, 0.0)
        window.unused(18)

        assert 0.0 == window.delay(0.0)

    def test_calls_are_spread(self) -> None:
        """
        The second's calls do not go in its first tenth.
        """
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
    def test_no_rate(self, rate: float) -> None:
        """
        What must be a number of calls is refused.
        """
        with pytest.raises(InputError, match="calls_per_second"):
            PermitWindow(rate)
