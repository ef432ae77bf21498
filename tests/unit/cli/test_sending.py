import gc

import pytest

from chatmark.cli.running.sending import rare_collections


class TestRareCollections:
    def test_comes_seldom(self) -> None:
        """
        While a file is sent the collector leaves alone what was there before, and comes seldom.
        """
        with rare_collections():
            assert gc.get_threshold()[0] > 10_000
            assert gc.get_freeze_count() > 1_000

    def test_is_put_back(self) -> None:
        """
        A program that calls the command line has its collector back afterwards, come what may.
        """
        before = gc.get_threshold()
        with pytest.raises(RuntimeError), rare_collections():
            raise RuntimeError

        assert (before, 0) == (gc.get_threshold(), gc.get_freeze_count())
