import math

import pytest

from chatmark.core.pending import Timed


class TestTimed:
    """When a deadline passes."""

    @pytest.mark.parametrize(
        ("held_since", "began"), [(None, 9.0), (1.0, 2.0), (5.0, 5.0)], ids=["free", "before", "in"]
    )
    def test_start(self, held_since: float | None, began: float) -> None:
        """It begins with the first attempt, for a probe with the hold or the admission."""
        timed = Timed(2.0)
        timed.start(9.0, held_since)
        timed.start(11.0, None)

        assert began == timed.first_sent_at
        assert began + 60.0 == timed.due_at(60.0) == timed.due_at(60.0, 0.0)

    @pytest.mark.parametrize(("failing_since", "due"), [(None, math.inf), (1.0, 62.0), (5.0, 65.0)])
    def test_never_sent(self, failing_since: float | None, due: float) -> None:
        """What was never sent has a deadline in an outage only, from the later of the two."""
        assert due == Timed(2.0).due_at(60.0, failing_since)

    def test_extended(self) -> None:
        """Both times move."""
        waiting, sent = Timed(2.0), Timed(2.0)
        sent.start(3.0, None)
        for each in (waiting, sent):
            each.extend_deadline(100.0)

        assert (102.0, None) == (waiting.admitted_at, waiting.first_sent_at)
        assert (102.0, 103.0) == (sent.admitted_at, sent.first_sent_at)
