from collections import Counter

import pytest

from chatmark.jobs.counting import duration, troubles
from chatmark.jobs.reports.progress import Counters, Meter


def reading(done: int = 0, failed: int = 0, calls: int = 0) -> Counters:
    """Return counters as a job has them."""
    return Counters(
        done=done,
        calls=calls,
        retries_by_reason=Counter({"502": 2, "50004": 3}) if failed else Counter(),
        failures_by_code=Counter({None: failed}) if failed else Counter(),
    )


class TestMeter:
    @pytest.mark.parametrize(
        ("before", "samples", "expected"),
        [
            (0, [(2.0, 200, 4)], (100.0, 2.0, 8.0, 0.2)),
            # What was long ago does not count: a job that stands still has the rate 0.
            (0, [(each, 500, 10) for each in range(1, 30)], (0.0, 0.0, None, 0.5)),
            # Counters that go back, with a worker of a cluster, are measured anew from there.
            (0, [(2.0, 400, 8), (3.0, 200, 4)], (0.0, 0.0, None, 0.2)),
            (0, [(2.0, 400, 8), (3.0, 200, 4), (5.0, 300, 6)], (50.0, 1.0, 14.0, 0.3)),
            # What earlier runs settled is done, but tells nothing of the rate.
            (600, [(2.0, 700, 1)], (50.0, 0.5, 6.0, 0.7)),
            (0, [(0.0, 0, 0)], (0.0, 0.0, None, 0.0)),
        ],
    )
    def test_rates(
        self,
        before: int,
        samples: list[tuple[float, int, int]],
        expected: tuple[float, float, float | None, float],
    ) -> None:
        """Rates and the time that is left come from what was done in the last seconds."""
        meter = Meter(1_000, now=0.0, done=before)
        for now, done, calls in samples:
            progress = meter.at(now, reading(done=done, calls=calls))

        assert expected == (*(progress.rate, progress.call_rate, progress.left, progress.fraction),)

    @pytest.mark.parametrize(
        ("total", "budget", "line"),
        [
            (10, 190.0, "send 50%: 5 of 10 changes, 5/s, 1 s left, 3 calls, 3.0 of 190/s"),
            (10, 2.5, "send 50%: 5 of 10 changes, 5/s, 1 s left, 3 calls, 2.5 of 2.5/s"),
            (None, None, "send: 5 changes, 5/s, 3 calls, 3.0/s"),
        ],
    )
    def test_line(self, total: int | None, budget: float | None, line: str) -> None:
        """A limit stands beside the rate of calls; without a total no end is foretold."""
        progress = Meter(total, now=0.0, budget=budget).at(1.0, reading(done=5, calls=3))

        assert line == progress.line
        assert (total is None) == (progress.fraction is None)
        assert 1.0 == progress.seconds

    def test_troubles(self) -> None:
        """Retries and failures are listed by their reason, if there are any."""
        progress = Meter(9, now=0.0).at(1.0, reading(1, failed=2))

        expected = "5 put back to be sent again (50004: 3, 502: 2), 2 failed (no code: 2)"
        assert expected == progress.troubles
        assert "" == troubles({}, {50001: 0})


class TestDuration:
    @pytest.mark.parametrize(
        ("seconds", "words"),
        [(0.4, "0 s"), (59, "59 s"), (61, "1:01 min"), (3_725, "1:02:05 h")],
    )
    def test_words(self, seconds: float, words: str) -> None:
        """A time is told in the unit that suits it."""
        assert words == duration(seconds)
