import pytest

from chatmark.jobs.forecast import Conditions, forecast


class TestForecast:
    @pytest.mark.parametrize(
        ("lanes", "rate", "round_trip", "seconds"),
        [
            ([], 190, 0.05, 0.0),
            ([0, 0], 190, 0.05, 0.0),
            ([1], 190, 0.05, 0.05),
            # 32 at once.
            ([1] * 64, None, 0.05, 0.1),
            # One lane, one at a time.
            ([901], None, 0.05, 0.5),
            # The pace: each of 20 places is taken for a second and the way there.
            ([1] * 200, 20, 0.05, 10.1),
            # A long lane goes before what fills no request, and those beside it.
            ([1] * 600 + [10_000], None, 0.05, 5.05),
        ],
    )
    def test_limits(
        self, lanes: list[int], rate: float | None, round_trip: float, seconds: float
    ) -> None:
        """
        The pace, the requests at once and the longest lane are what limits calls.
        """
        assert seconds == pytest.approx(forecast(lanes, Conditions(rate, round_trip)), rel=0.02)

    def test_requests_at_once(self) -> None:
        """
        Fewer requests at once take longer.
        """
        assert 5.0 == pytest.approx(forecast([1] * 100, Conditions(None, 0.05, 1)))

    def test_long_lane_behind(self) -> None:
        """
        What stands behind what a session holds waits until it is read, and is waited for alone.
        """
        by_pace = 3_100 / 190
        seconds = forecast([*[100] * 3_000, 10_000], Conditions(190, 0.05))

        assert seconds > by_pace + 3
