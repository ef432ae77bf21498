"""Failures that are worth another attempt, and how long it waits."""

from collections import Counter

import pytest
from engine_rig import (
    BOB,
    DROPPED,
    EVE,
    LOST,
    SLOW_DOWN,
    ZOE,
    EngineRig,
    Said,
    answer,
    codes,
    crowd,
    error_of,
)
from sinks import unsent

from chatmark.failures import OutcomeUnknownError
from chatmark.wire.classify import classify
from chatmark.wire.messages import HttpAnswer, MarkAnswer, Reply


@pytest.fixture
def rig() -> EngineRig:
    """An engine that does not linger."""
    return EngineRig()


class TestRequest:
    @pytest.mark.parametrize(
        ("said", "waits"),
        [
            ([LOST] * 7, [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0]),
            ([{BOB: 50004}] * 4, [0.25, 0.5, 1.0, 2.0]),
            ([LOST, LOST, {BOB: 50004}, LOST], [0.25, 0.5, 0.25, 0.25]),
            ([DROPPED, DROPPED], [0.0, 0.5]),
            ([HttpAnswer(503, b"", retry_after="7")], [7.0]),
            ([answer(70001)], [0.0]),
            ([answer(0, [(BOB, 0)], status="FAIL")], [0.25]),
        ],
        ids=[
            "grows up to the cap",
            "grows for items",
            "starts over after an answer",
            "dropped connections are tried at once, but only once",
            "Retry-After",
            "new signature",
            "FAIL with code 0 over a line of success",
        ],
    )
    def test_waits(self, rig: EngineRig, said: list[Said], waits: list[float]) -> None:
        """Another attempt waits for the backoff, and then it may succeed."""
        entry = rig.submit()

        assert waits == rig.waits(*said)
        rig.send()
        assert (True, len(said) + 1) == (entry.report().ok, entry.attempts)

    def test_others_do_not_wait(self, rig: EngineRig) -> None:
        """Other users do not wait for one user's backoff."""
        rig.submit()
        rig.send(LOST)
        rig.submit(account="bea")

        assert "bea" == rig.take().account

    def test_of_one_user_alone(self, rig: EngineRig) -> None:
        """While others are served the breaker is not told, and the backoff grows half as fast."""
        rig.submit()
        waits = []
        for _ in range(5):
            failed_at = rig.now
            rig.send(LOST)
            failing_since = rig.engine.breaker.failing_since
            rig.now += 0.125
            rig.submit(account="bea")
            rig.send()
            rig.sleep()
            waits.append(rig.now - failed_at)

        assert [0.25, 0.25, 0.5, 0.5, 1.0] == waits
        assert failing_since is None

    @pytest.mark.parametrize("reply", [LOST, answer(0, [(BOB, 50004), (EVE, 0)])])
    def test_backoff_that_raises(self, reply: Reply) -> None:
        """When a caller's own backoff raises that is told; no change is lost or told twice."""
        mistake = ZeroDivisionError()

        def own(_: int) -> float:
            raise mistake

        rig = EngineRig(backoff=own)
        entries = rig.submit_all([BOB, EVE])
        settlement = rig.engine.settle(rig.take(), classify(reply, MarkAnswer), rig.now)
        rest = rig.engine.fail_all(unsent)

        assert mistake is settlement.error
        assert Counter(entries) == Counter(settlement.done + rest)
        assert 0 == rig.engine.ledger.pending


class TestItems:
    def test_missing_line(self, rig: EngineRig) -> None:
        """Three answers without a line for an item leave its outcome unknown, never a success."""
        entry, other = rig.submit_all([BOB, EVE])
        sizes = rig.run(lambda _: {BOB: None})
        error = error_of(entry)

        assert ([2, 1, 1], [None, 0]) == (sizes, codes(entry, other))
        assert isinstance(error, OutcomeUnknownError)
        assert 3 == error.answers

    @pytest.mark.parametrize(
        ("lines", "code"),
        [
            ([None, 0], 0),
            ([51007, 51007], 51007),
            ([50004, 51007, 50004, 51007], 51007),
        ],
        ids=["the line comes", "51007 is retried once", "another fault is not that retry"],
    )
    def test_another_attempt(self, rig: EngineRig, lines: list[int | None], code: int) -> None:
        """An item that was sent back ends as its last line says."""
        entry = rig.submit()
        rig.waits(*[{BOB: line} for line in lines[:-1]])
        rig.send({BOB: lines[-1]})

        assert ([code], len(lines)) == (codes(entry), entry.attempts)

    def test_all_come_back(self, rig: EngineRig) -> None:
        """A request whose every item failed comes back whole, after one backoff."""
        rig.submit_all(crowd(100))

        assert [0.25] == rig.waits(dict.fromkeys(crowd(100), 50005))
        assert 100 == len(rig.take().changes)

    def test_reasons(self, rig: EngineRig) -> None:
        """Each item that is sent again is counted by its own reason, each time."""
        rig.submit_all([BOB, EVE, ZOE])
        again = [
            rig.send(DROPPED),
            rig.send({BOB: 50004, EVE: 51007, ZOE: None}),
        ]
        rig.sleep()
        again.append(rig.send({BOB: 50004}))

        assert [3, 3, 1] == [each.again for each in again]
        assert "dropped" == again[0].reason
        assert {
            "dropped": 3,
            "50004": 2,
            "51007": 1,
            "missing line": 1,
        } == rig.engine.ledger.retries_by_reason
        assert 7 == rig.engine.ledger.retries


class TestOutage:
    """The whole session in an outage, or told to slow down."""

    @staticmethod
    def fail(rig: EngineRig, count: int) -> None:
        """Let requests of so many users fail at once."""
        rig.submit_users(count)
        for request in rig.take_all():
            rig.reply(request, LOST)

    def test_one_probe_at_a_time(self, rig: EngineRig) -> None:
        """In an outage one request at a time is sent, and none before its time."""
        self.fail(rig, 32)

        assert rig.engine.breaker.held_since is not None
        for _ in range(5):
            rig.sleep()
            request = rig.take()
            assert rig.engine.take(rig.now) is None
            assert rig.engine.take(rig.now + 100.0) is None
            rig.reply(request, LOST)

    def test_order_of_probes(self, rig: EngineRig) -> None:
        """Users who were served last go first; every second probe is of the newest."""
        rig.submit(account="served")
        rig.send()
        self.fail(rig, 20)
        probes = []
        for account in ("new", "served", "newer", "newest"):
            rig.now += 0.03125
            rig.submit(account=account)
        for _ in range(3):
            rig.sleep()
            request = rig.take()
            probes.append(request.account)
            rig.reply(request, LOST)

        assert ["served", "newest", "new"] == probes

    def test_ends_with_a_good_probe(self, rig: EngineRig) -> None:
        """One good probe lets everything go again."""
        self.fail(rig, 32)
        rig.sleep()
        rig.send()
        rig.now += 8.0

        assert 31 == len(rig.take_all())

    def test_slow_down(self, rig: EngineRig) -> None:
        """A slow-down pauses all users, not only the one who was told."""
        rig.submit(account="ann")
        settlement = rig.send(SLOW_DOWN)
        rig.submit(account="bea")

        assert 1.0 == settlement.pause
        assert not rig.engine.has_ready(0.9375)
        assert 1.0 == rig.engine.wake_at(rig.now)
        assert rig.engine.has_ready(1.0)

    @pytest.mark.parametrize(
        "reply", [SLOW_DOWN, answer(60007), answer(0, [(BOB, 60007)])], ids=["429", "call", "item"]
    )
    def test_pause_grows(self, rig: EngineRig, reply: HttpAnswer) -> None:
        """Each probe that is told to slow down doubles the pause, up to 10 seconds."""
        rig.submit()
        pauses = []
        for _ in range(7):
            rig.sleep()
            pauses.append(rig.send(reply).pause)

        assert [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0] == pauses

    @pytest.mark.parametrize("said", [SLOW_DOWN, {BOB: 60007}], ids=["call", "item"])
    def test_many_refusals_are_one(self, rig: EngineRig, said: Said) -> None:
        """Refusals of requests that were sent before the pause do not lengthen it."""
        rig.submit_users(3)
        pauses = []
        for request in rig.take_all():
            rig.now += 0.25
            pauses.append(rig.reply(request, said).pause)

        assert [1.0, 0.75, 0.5] == pauses
        assert 1.25 == rig.engine.wake_at(rig.now)

    def test_has_nothing_to_wait_for_beside_a_probe(self, rig: EngineRig) -> None:
        """While a request is in flight no time ends a pause, and what may go now waits for none."""
        rig.submit_users(2)
        first, second = rig.take_all()
        rig.now = 0.25
        rig.reply(first, SLOW_DOWN)
        beside = rig.engine.wake_at(rig.now)
        rig.reply(second)

        assert (None, 1.25) == (beside, rig.engine.wake_at(rig.now))
        assert rig.engine.has_ready(1.25)
        assert rig.engine.wake_at(1.25) is None
