"""Calls that take their turn among the marks of a user."""

import functools
import math
import random

import pytest
from engine_rig import BOB, DROPPED, EVE, FAVORITE, ZOE, EngineRig, change, names, texts
from sinks import Job, unsent

from chatmark.core.pending import Turn


class TurnsRig(EngineRig):
    """An engine, and the turns that began."""

    def __init__(self, linger: float = 0.0) -> None:
        super().__init__(linger=linger)
        self.begun: list[Turn] = []

    def queue(self) -> Turn:
        """Queue a turn."""
        turn = Turn("ann", lambda: self.begun.append(turn))
        self.engine.queue(turn, self.now)
        return turn

    def end(self, turn: Turn) -> None:
        """Let a turn end, or give it up."""
        self.engine.end_turn(turn, self.now)


@pytest.fixture
def rig() -> TurnsRig:
    """An engine that does not linger."""
    return TurnsRig()


class TestTurn:
    def test_between_marks(self, rig: TurnsRig) -> None:
        """A turn waits for retries of what came before; nothing joins that, or overtakes."""
        rig.submit(text="before")
        turn = rig.queue()
        rig.submit(text="behind")
        rig.send({BOB: 50004})
        waiting = list(rig.begun)
        rig.sleep()
        again = rig.take()
        rig.reply(again)

        assert ([], [turn], {"bob": "before"}) == (waiting, rig.begun, texts(again))
        assert [] == rig.take_all()
        rig.end(turn)
        assert {"bob": "behind"} == texts(rig.take())

    def test_of_an_idle_user(self, rig: TurnsRig) -> None:
        """A turn of a user with nothing to do begins at once, and leaves nothing behind."""
        turn = rig.queue()
        rig.end(turn)

        assert [turn] == rig.begun
        assert rig.is_empty

    def test_doubts(self, rig: TurnsRig) -> None:
        """A turn begins when no request before it may run; what it left may run as long."""
        rig.submit(BOB)
        rig.send(DROPPED)
        rig.send()
        turn = rig.queue()
        rig.submit(EVE)
        early = list(rig.begun)
        rig.now = rig.engine.wake_at(rig.now) or math.nan
        rig.engine.has_ready(rig.now)

        assert ([], 3.0, [turn]) == (early, rig.now, rig.begun)
        turn.may_run_until = 6.0
        rig.end(turn)
        assert (3.0, ["eve"]) == (rig.sleep(), names(rig.take()))

    def test_rows_before_it(self, rig: TurnsRig) -> None:
        """Rows of a job that still reads do not wait for more when a turn waits for them."""
        rig.engine.scheduler.readers = 1
        rig.submit(BOB, bulk=True)
        before = rig.is_ready
        rig.queue()

        assert (False, True) == (before, rig.is_ready)

    def test_given_up(self, rig: TurnsRig) -> None:
        """A turn that is given up before it begins lets the rest go on in order."""
        rig.submit(BOB)
        request = rig.take()
        first, second = rig.queue(), rig.queue()
        rig.submit(text="behind")
        rig.end(first)
        rig.reply(request)

        assert ([second], []) == (rig.begun, rig.take_all())
        rig.end(second)
        assert {"bob": "behind"} == texts(rig.take())

    def test_changes_behind_it(self, rig: TurnsRig) -> None:
        """Changes behind a turn are withdrawn and are given up like others."""
        turn = rig.queue()
        gone = rig.submit(BOB)
        row = rig.submit(EVE, bulk=True)
        rig.submit_rows(Job(), change(ZOE, put=FAVORITE))

        assert rig.engine.withdraw(gone, rig.now)
        assert [row] == rig.engine.withdraw_many(row.sink or Job(), rig.now)
        assert 1 == len(rig.engine.fail_waiting(unsent))
        rig.end(turn)
        assert ([], True) == (rig.take_all(), rig.is_empty)

    def test_in_an_outage(self, rig: TurnsRig) -> None:
        """A change behind a turn has its deadline in an outage, though it is not sent."""
        rig.queue()
        late = rig.submit(BOB)
        rig.engine.breaker.failing_since = 0.0

        assert [late] == rig.engine.expire(61.0)


class TestOrder:
    @pytest.mark.parametrize("seed", range(12))
    def test_at_random(self, seed: int) -> None:
        """Whatever fails, requests and turns of a user come in the order of their admission."""
        rng, rig = random.Random(seed), TurnsRig(linger=seed % 2 * 0.5)
        steps: list[int] = []
        turns: dict[int, Turn] = {}
        for number in range(60):
            if rng.random() < 0.25:
                turns[number] = Turn("ann", functools.partial(steps.append, number))
                rig.engine.queue(turns[number], rig.now)
            else:
                to = rng.choice([BOB, EVE, ZOE])
                rig.submit(to, text=f"{number}", bulk=rng.random() < 0.3)
        while rig.engine.ledger.pending or turns.keys() - steps:
            running = [t for t in turns.values() if t.has_begun and t.ends_at == math.inf]
            if running:
                assert [] == rig.take_all()
                (turn,) = running
                turn.may_run_until = rig.now + rng.choice([-math.inf, 3.0])
                rig.end(turn)
            elif rig.is_ready:
                request = rig.take()
                steps += [int(each.custom_mark or "") for each in request.changes]
                codes = {c.conversation: rng.choice([0, 0, 50004, None]) for c in request.changes}
                rig.reply(request, DROPPED if rng.random() < 0.2 else codes)
            elif not any(t.has_begun and t.ends_at == math.inf for t in turns.values()):
                wake = rig.engine.wake_at(rig.now)
                assert wake is not None
                rig.now = wake

        for at, step in enumerate(steps):
            if step in turns:
                assert max(steps[: at + 1]) == step == min(steps[at:])
