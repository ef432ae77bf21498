"""Flushes, withdrawals and the end of a session, and what is left when the work is done."""

import math

import pytest
from engine_rig import (
    BOB,
    DROPPED,
    EVE,
    FAVORITE,
    LOST,
    EngineRig,
    Said,
    change,
    codes,
    crowd,
    error_of,
    texts,
)
from sinks import unsent

from chatmark.core.pending import WITHDRAWN, Entry
from chatmark.failures import UnsentError


@pytest.fixture
def rig() -> EngineRig:
    """An engine that does not linger."""
    return EngineRig()


class TestFlush:
    def test_covers_what_is_in_flight(self, rig: EngineRig) -> None:
        """What is in flight or waits for a retry belongs to it; what comes later does not."""
        rig.submit()
        request = rig.take()
        ticket = rig.engine.start_flush(rig.now)
        rig.submit(EVE)
        rig.reply(request, DROPPED)
        settled = [rig.engine.ledger.is_settled(ticket)]
        rig.send({EVE: 50004})
        settled.append(rig.engine.ledger.is_settled(ticket))

        assert ([False, True], 1) == (settled, rig.engine.ledger.pending)


class TestWithdraw:
    def test_unsent(self, rig: EngineRig) -> None:
        """A change that was never sent is withdrawn once, and never sent."""
        entry = rig.submit()

        assert [True, False] == [rig.engine.withdraw(entry, rig.now) for _ in range(2)]
        assert WITHDRAWN is entry.outcome
        assert 1 == rig.engine.ledger.withdrawn
        assert rig.is_empty

    @pytest.mark.parametrize(
        ("said", "code"),
        [(None, "pending"), (LOST, "pending"), ({}, 0)],
        ids=["in flight", "waits to be sent again", "settled"],
    )
    def test_sent(self, rig: EngineRig, said: Said | None, code: object) -> None:
        """One that was sent may have taken effect, and is not withdrawn."""
        entry = rig.submit()
        request = rig.take()
        if said is not None:
            rig.reply(request, said)

        assert not rig.engine.withdraw(entry, rig.now)
        assert [code] == codes(entry)

    def test_never_admitted(self, rig: EngineRig) -> None:
        """One that was never admitted is not the engine's to withdraw."""
        assert not rig.engine.withdraw(Entry(change()), rig.now)

    def test_touches_no_other(self, rig: EngineRig) -> None:
        """The other changes of the conversation go without it."""
        rig.submit(put=FAVORITE)
        entry = rig.submit(clear=FAVORITE)
        rig.submit(text="x")
        rig.engine.withdraw(entry, rig.now)

        assert [change(put=FAVORITE, text="x")] == rig.take().changes

    def test_behind_a_retry(self, rig: EngineRig) -> None:
        """A change that joined one that waits to be sent again can be withdrawn."""
        rig.submit(text="old")
        request = rig.take()
        entry = rig.submit(text="new")
        rig.reply(request, DROPPED)

        assert rig.engine.withdraw(entry, rig.now)
        assert {"bob": "old"} == texts(rig.take())


class TestGivingUp:
    def test_what_waits(self, rig: EngineRig) -> None:
        """What waits fails with one error that holds the changes; what is in flight goes on."""
        flying = rig.submit(BOB)
        request = rig.take()
        waiting = [rig.submit(BOB), rig.submit(EVE)]

        assert waiting == rig.engine.fail_waiting(unsent)
        error = error_of(waiting[0])
        assert isinstance(error, UnsentError)
        assert [entry.change for entry in waiting] == list(error.unsent)
        rig.reply(request, DROPPED)
        rig.send()
        assert flying.report().ok

    def test_everything(self, rig: EngineRig) -> None:
        """In flight, parked, in backoff, waiting: all fail, and nothing is left."""
        rig.submit(account="flying")
        rig.take()
        rig.submit(account="parked")
        rig.send({BOB: 50004})
        rig.submit(account="backoff")
        rig.send(LOST)
        rig.submit(account="flying")

        assert 4 == len(rig.engine.fail_all(unsent))
        assert (4, 0) == (rig.engine.ledger.failed, rig.engine.in_flight)
        assert not rig.engine.has_ready(math.inf)
        assert rig.is_empty


class TestMemory:
    def test_idle_users(self, rig: EngineRig) -> None:
        """A user without pending changes costs nothing, and flushes leave nothing in the books."""
        for number in range(1000):
            rig.submit(account=f"user{number % 7}", text=str(number))
            rig.engine.start_flush(rig.now)
            rig.engine.end_flush()
        rig.run()
        ledger = rig.engine.ledger

        assert (1000, 1000, 0) == (ledger.accepted, ledger.succeeded, ledger.pending)
        assert rig.is_empty

    @pytest.mark.parametrize("bulk", [False, True])
    def test_submit_and_withdraw(self, rig: EngineRig, bulk: bool) -> None:
        """Changes that come and are withdrawn leave nothing, although their lane lives on."""
        rig.submit()
        request = rig.take()
        waiting = rig.submit(EVE, bulk=bulk)
        for each in crowd(2000):
            rig.engine.withdraw(rig.submit(each, bulk=bulk), rig.now)
        lane = rig.engine.scheduler.find("ann")

        assert 1 == lane.size
        assert 200 >= len(lane._front) + len(lane._rear)
        rig.reply(request)
        rig.send()
        assert waiting.report().ok
        assert rig.is_empty

    def test_timers_of_a_linger(self) -> None:
        """There is one timer for one moment of a lane, and none once it has passed."""
        rig = EngineRig(linger=0.5)
        entries = rig.submit_all(crowd(50))
        timers = len(rig.engine.scheduler._timers)
        entries += rig.submit_users(100)
        for entry in entries:
            rig.engine.withdraw(entry, rig.now)

        assert (1, False) == (timers, rig.engine.has_ready(1.0))
        assert rig.is_empty

    def test_backoff_that_ends_unnoticed(self, rig: EngineRig) -> None:
        """
        When what waited goes on before its timer is looked at, no timer is left that never ends.
        """
        rig.submit(BOB)
        rig.send({BOB: 50004})
        rig.now = 0.25
        rig.submit(EVE)
        rig.send()

        assert rig.is_empty
