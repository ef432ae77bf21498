import gc

import pytest

from chatmark.cli.sending import rare_collections


class TestRareCollections:
    def test_comes_seldom(self) -> None:
        """While a file is sent, the collector runs rarely and skips older objects."""
        with rare_collections():
            assert gc.get_threshold()[0] > 10_000
            assert gc.get_freeze_count() > 1_000

    def test_is_put_back(self) -> None:
        """The settings of the collector are restored, also after an error."""
        before = gc.get_threshold()
        with pytest.raises(RuntimeError), rare_collections():
            raise RuntimeError

        assert (before, 0) == (gc.get_threshold(), gc.get_freeze_count())
