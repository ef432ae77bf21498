import pytest

from chatmark.jobs.forecast import Conditions, Seconds, forecast


class TestForecast:
    @pytest.mark.parametrize(
        ("calls", "longest", "conditions", "least", "most"),
        [
            (0, 0, Conditions(190, 0.05), 0.0, 0.0),
            (1, 1, Conditions(190, 0.05), 0.05, 0.05),
            # 32 at once, or as many as are allowed.
            (64, 1, Conditions(None, 0.05), 0.1, 0.15),
            (100, 1, Conditions(None, 0.05, 1), 5.0, 5.05),
            # One user: one call at a time.
            (10, 10, Conditions(None, 0.05), 0.5, 0.5),
            # The pace.
            (200, 1, Conditions(20, 0.05), 10.0, 10.05),
            # The user with most calls may go beside the others, or behind them.
            (700, 100, Conditions(None, 0.05), 5.0, 10.0),
            (3_100, 100, Conditions(190, 0.05), 3_099 / 190 + 0.05, 3_099 / 190 + 5.05),
        ],
    )
    def test_limits(
        self, calls: int, longest: int, conditions: Conditions, least: float, most: float
    ) -> None:
        """The pace, the requests at once and the longest lane are what limits calls."""
        found = forecast(calls, longest, conditions)

        assert (least, most) == pytest.approx((found.least, found.most))

    def test_commands(self) -> None:
        """Commands with a limit each go side by side, or one after another."""
        assert Seconds(5.0, 10.05) == forecast(200, 1, Conditions(20, 0.05), busiest=100)

    def test_later(self) -> None:
        """What comes before moves both ends."""
        assert Seconds(3.0, 4.0) == Seconds(1.0, 2.0) + 2.0
