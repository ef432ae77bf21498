import pytest

from chatmark.jobs.planning.forecast import Conditions, Seconds, forecast


class TestForecast:
    @pytest.mark.parametrize(
        ("lanes", "rate", "round_trip", "least", "most"),
        [
            ([], 190, 0.05, 0.0, 0.0),
            ([0, 0], 190, 0.05, 0.0, 0.0),
            ([1], 190, 0.05, 0.05, 0.05),
            # 32 at once.
            ([1] * 64, None, 0.05, 0.1, 0.15),
            # One lane, one at a time.
            ([901], None, 0.05, 0.5, 0.5),
            # The pace.
            ([1] * 200, 20, 0.05, 10.0, 10.05),
            # A long lane may go beside the others, or behind them.
            ([1] * 600 + [10_000], None, 0.05, 5.0, 10.0),
            ([*[100] * 3_000, 10_000], 190, 0.05, 3_099 / 190 + 0.05, 3_099 / 190 + 5.05),
        ],
    )
    def test_limits(
        self, lanes: list[int], rate: float | None, round_trip: float, least: float, most: float
    ) -> None:
        """
        The pace, the requests at once and the longest lane are what limits calls.
        """
        found = forecast(lanes, Conditions(rate, round_trip))

        assert (least, most) == pytest.approx((found.least, found.most))

    def test_requests_at_once(self) -> None:
        """
        Fewer requests at once take longer.
        """
        assert 5.0 == pytest.approx(forecast([1] * 100, Conditions(None, 0.05, 1)).least)

    def test_later(self) -> None:
        """
        What comes before moves both ends.
        """
        assert Seconds(3.0, 4.0) == Seconds(1.0, 2.0) + 2.0
