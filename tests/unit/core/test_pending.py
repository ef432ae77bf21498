import math

import pytest
from sinks import Job

from chatmark.changes import MarkChange
from chatmark.conversations import Conversation
from chatmark.core.engine import Engine
from chatmark.core.pending import Entry, Timed
from chatmark.failures import TransportError
from chatmark.wire.classify import classify_marks
from chatmark.wire.messages import NoAnswer

LOST = NoAnswer(TransportError("lost"), "connection")


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


def changes(count: int, account: str) -> list[MarkChange]:
    """Return changes of so many conversations."""
    return [
        MarkChange(account, Conversation.one_to_one(f"p{number}"), custom_mark="x")
        for number in range(count)
    ]


class TestSuspended:
    """A process that was suspended for a thousand seconds."""

    def test_all_deadlines_move(self) -> None:
        """What waits, what is in flight and what was sent before: nothing is late for that time."""
        engine = Engine(backoff=lambda _: 1.0, deadline=60.0)
        engine.breaker.succeeded(0.0)
        job = Job()
        engine.admit([Entry(each) for each in changes(150, "ann")], 0.0)
        engine.admit_many(changes(250, "bea"), job, 0.0)
        for _ in range(2):
            lost = engine.take(0.0)
            assert lost is not None
            engine.settle(lost, classify_marks(LOST, lost.changes), 1.0)
        flying = engine.take(5.0)
        assert flying is not None
        engine.extend_deadlines(1000.0)
        early = engine.expire(1055.0)
        engine.settle(flying, classify_marks(LOST, flying.changes), 1056.0)
        pending = engine.ledger.pending
        late = engine.expire(1063.0)

        assert ([], 400) == (early, pending)
        assert engine.may_be_late(1063.0)
        assert 300 <= len(late)
