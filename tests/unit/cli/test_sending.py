import gc
import io

import pytest

from chatmark import MarkNames
from chatmark.cli.sending import rare_collections
from chatmark.cli.summary import print_summary
from chatmark.cli.terminal import Console
from chatmark.jobs import Accounts, JobReport
from chatmark.jobs.journal import Run


class TestSummary:
    @pytest.mark.parametrize(
        ("several", "rates"), [(False, "40.0 calls/s, 36 changes/s"), (True, "36 changes/s")]
    )
    def test_rates(self, *, several: bool, rates: str) -> None:
        """The rate of calls is never above the limit; with a limit of each kind it is left out."""
        report = JobReport(
            file="f",
            rows=100,
            accounts=Accounts(total=100, taken=100, applied=100),
            run=Run(calls=220, seconds=2.75),
            calls_per_second=None if several else 40.0,
            several_limits=several,
        )
        out = io.StringIO()
        print_summary(Console(out), report, MarkNames())

        assert f"220 calls in 2.8 s: {rates}\n" in out.getvalue()


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
