import random

import pytest
from rig import model_state
from test_session import random_changes
from virtual_rig import VirtualRig, in_virtual_time

from chatmark.emulator import (
    CutBody,
    Delay,
    DuplicateLines,
    Empty,
    ExtraLines,
    Garbled,
    Html,
    Refuse,
    ResetAfter,
    ResetBefore,
    Status,
)

FAULTS = (
    Status(408),
    Status(429, retry_after="0.5"),
    Status(500),
    Status(502, html=True),
    Status(503),
    ResetBefore(),
    ResetAfter(),
    CutBody(0.5),
    Html(),
    Html(applied=True),
    Empty(applied=True),
    Garbled(b"\xff\x00"),
    Refuse(50004),
    Refuse(60007),
    Refuse(60008),
    DuplicateLines(3),
    ExtraLines(2),
    Delay(2.0),
)


class TestSeeds:
    @pytest.mark.parametrize("seed", [1, 2, 3])
    @in_virtual_time()
    async def test_all_faults_at_once(self, rig: VirtualRig, seed: int) -> None:
        """
        Six thousand changes of sixty conversations under eighteen kinds of fault end exact.
        """
        script = rig.emulator.script
        script.shuffle_lines = True
        script.randomly(0.25, FAULTS, rng=random.Random(seed))
        script.items_randomly(0.05, [50004, 50005], rng=random.Random(-seed))
        wanted = random_changes(seed, 6000, 20, 30)
        session = rig.session(backoff=None, deadline=600.0, max_pending=60)
        report = await session.apply(wanted)

        assert (6000, 0, 0) == (report.succeeded, report.failed, report.withdrawn)
        assert report.calls > 500
        assert len(set(session.stats.retries_by_reason)) > 10
        assert model_state(wanted) == rig.emulator.state.snapshot()
