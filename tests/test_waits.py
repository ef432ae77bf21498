from chatmark.http.paused_time import Waits


class TestWaits:
    def test_overlap(self) -> None:
        """
        Pauses that overlap are counted once, those that do not in full.
        """
        waits = Waits()
        for at, seconds in ((0.0, 5.0), (2.0, 1.0), (4.0, 3.0), (20.0, 2.0)):
            waits.add(at, seconds)

        assert 7.0 + 2.0 == waits.seconds
