from chatmark.events import Paused, RetryPlanned
from chatmark.jobs.waits import Waits


class TestWaits:
    def test_overlap(self) -> None:
        """
        Pauses that overlap are counted once, those that do not in full; nothing else counts.
        """
        now = [0.0]
        waits = Waits(lambda: now[0])
        for at, seconds in ((0.0, 5.0), (2.0, 1.0), (4.0, 3.0), (20.0, 2.0)):
            now[0] = at
            waits(Paused(seconds, "60011"))
        waits(RetryPlanned("amy", 3, "502"))

        assert 7.0 + 2.0 == waits.seconds
