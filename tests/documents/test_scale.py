import pytest
import scale
from redis_server import MISSING


class TestScale:
    """The page on scale."""

    def test_the_computed(self) -> None:
        """What a billion rows take stands on the page as it is computed."""
        text = scale.PAGE.read_text("utf-8")

        assert [] == [row for row in scale.table() if row not in text]

    @pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
    def test_the_simulated(self) -> None:
        """A small simulation comes to what the page says of a large one."""
        assert [] == scale.check(scale.simulate(replicas=8, seconds=3))
