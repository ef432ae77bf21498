"""When a change is given up."""

import pytest
from engine_rig import (
    BOB,
    EVE,
    FAVORITE,
    LOST,
    SLOW_DOWN,
    ZOE,
    EngineRig,
    Said,
    change,
    changes,
    codes,
    crowd,
    doubling,
    error_of,
    names,
)
from sinks import Job

from chatmark.core.engine import Engine
from chatmark.failures import AnswerError, DeadlineExceededError, TransportError


@pytest.fixture
def rig() -> EngineRig:
    """An engine whose changes have ten seconds."""
    return EngineRig(deadline=10.0)


class TestAttempts:
    """A deadline runs from the first attempt."""

    def test_unless_told_otherwise(self, rig: EngineRig) -> None:
        """It is a minute."""
        rig.engine = Engine(backoff=doubling, max_in_flight=1000)
        entry = rig.submit()
        request = rig.take()
        rig.now = 60.0
        rig.reply(request, LOST)

        assert isinstance(error_of(entry), DeadlineExceededError)

    @pytest.mark.parametrize("held", [False, True])
    def test_time_before_the_first(self, rig: EngineRig, held: bool) -> None:
        """Time before it does not count, although the session was held when the change came."""
        if held:
            rig.submit(account="ann")
            rig.send(SLOW_DOWN)
        entry = rig.submit(account="bea")
        rig.now = 9.0
        if held:
            rig.send()
        request = rig.take()
        rig.now = 18.0
        rig.reply(request, LOST)

        assert ("bea", None) == (request.account, entry.outcome)

    @pytest.mark.parametrize(("said", "code"), [(LOST, None), ({BOB: 50004}, 50004)])
    def test_last(self, said: Said, code: int | None) -> None:
        """It is made at the deadline, however long the backoff, and its failure is told."""
        rig = EngineRig(deadline=10.0, backoff=lambda _: 8.0)
        entry = rig.submit()
        times = []
        while entry.outcome is None:
            rig.sleep()
            times.append(rig.now)
            rig.send(said)
        error = error_of(entry)

        assert ([0.0, 8.0, 10.0], [code]) == (times, codes(entry))
        assert isinstance(error, DeadlineExceededError)
        assert code is not None or isinstance(error.last, TransportError)

    def test_last_may_succeed(self, rig: EngineRig) -> None:
        """An answer that comes after the deadline counts."""
        entry = rig.submit()
        request = rig.take()
        rig.now = 11.0
        rig.reply(request)

        assert entry.report().ok

    def test_own_code(self, rig: EngineRig) -> None:
        """Of items that were given up together each has the code of its own last fault."""
        entries = rig.submit_all([BOB, EVE, ZOE])
        request = rig.take()
        rig.now = 10.0
        rig.reply(request, {BOB: 50004, EVE: 51007, ZOE: None})

        assert [50004, 51007, None] == codes(*entries)
        assert all(isinstance(error_of(entry), DeadlineExceededError) for entry in entries)

    def test_newer_change_goes_on(self, rig: EngineRig) -> None:
        """A newer change of the same conversation outlives the older, and goes without it."""
        old = rig.submit(put=FAVORITE)
        rig.send(LOST)
        new = rig.submit(text="new")
        rig.now = 9.0
        both = rig.take()
        rig.now = 10.0
        rig.reply(both, LOST)
        rig.sleep()

        assert [change(put=FAVORITE, text="new")] == both.changes
        assert isinstance(error_of(old), DeadlineExceededError)
        assert new.outcome is None
        assert [change(text="new")] == rig.take().changes

    def test_others_keep_their_backoff(self, rig: EngineRig) -> None:
        """Items that are given up do not spare the rest of their request the backoff."""
        rig.submit(BOB)
        rig.send(LOST)
        rig.now = 9.5
        rig.submit(EVE)
        request = rig.take()
        rig.now = 12.0
        rig.reply(request, LOST)

        assert (0.5, ["eve"]) == (rig.sleep(), names(rig.take()))

    def test_nothing_is_counted_for_what_ended(self, rig: EngineRig) -> None:
        """A request of which nothing is sent again counts no retries."""
        rig.submit()
        request = rig.take()
        rig.now = 10.0
        settlement = rig.reply(request, LOST)

        assert (0, {}) == (settlement.again, rig.engine.ledger.retries_by_reason)


class TestWaiting:
    """What waits, and is late."""

    def test_all_is_well(self, rig: EngineRig) -> None:
        """Without a failure nothing that was never sent ends while it waits."""
        rig.submit()

        assert not rig.engine.may_be_late(1000.0)
        assert [] == rig.engine.expire(1000.0)

    @pytest.mark.parametrize(("admitted", "due"), [(0.0, 17.0), (8.0, 18.0)])
    def test_unsent_under_a_hold(self, rig: EngineRig, admitted: float, due: float) -> None:
        """A change that was never sent counts from the start of the hold, or its admission."""
        rig.submit(account="ann")
        request = rig.take()
        late = rig.submit(account="bea") if not admitted else None
        rig.now = 7.0
        rig.reply(request, SLOW_DOWN)
        rig.now = max(7.0, admitted)
        late = late or rig.submit(account="bea")

        assert late not in rig.engine.expire(due - 0.0625)
        assert [late] == rig.engine.expire(due)
        assert isinstance(error_of(late), DeadlineExceededError)

    def test_change_from_before_the_bad_news(self, rig: EngineRig) -> None:
        """
        One that came while the request that was to fail was on its way counts from its admission.
        """
        rig.submit()
        request = rig.take()
        rig.now = 9.0
        late = rig.submit()
        rig.reply(request, LOST)

        assert late not in rig.engine.expire(19.9375)
        assert [late] == rig.engine.expire(20.0)

    def test_sent_under_a_hold(self, rig: EngineRig) -> None:
        """One that was sent counts from its first attempt, and is told why it failed."""
        entry = rig.submit()
        request = rig.take()
        rig.now = 5.0
        rig.reply(request, SLOW_DOWN)

        assert [] == rig.engine.expire(9.9375)
        assert [entry] == rig.engine.expire(10.0)
        error = error_of(entry)
        assert isinstance(error, DeadlineExceededError)
        assert isinstance(error.last, AnswerError)

    def test_in_flight(self, rig: EngineRig) -> None:
        """A request in flight is not given up."""
        rig.submit(account="ann")
        entry = rig.submit(account="bea")
        first, second = rig.take_all()
        rig.reply(first, SLOW_DOWN)
        rig.now = 100.0
        rig.engine.expire(rig.now)
        rig.reply(second)

        assert entry.report().ok

    def test_behind_a_probe(self, rig: EngineRig) -> None:
        """What waits behind a probe is given up, and nothing is left of it."""
        rig.submit_users(32)
        for request in rig.take_all():
            rig.reply(request, LOST)
        rig.now = 20.0

        assert 32 == len(rig.engine.expire(rig.now))
        assert (0, []) == (rig.engine.ledger.pending, rig.engine.scheduler.lanes())

    def test_probe_gives_no_more_time(self, rig: EngineRig) -> None:
        """
        The deadline of a change that waited under the hold does not start over with its probe.
        """
        rig.engine.breaker.slow_down(1.0, 1.0, 0.0)
        rig.now = 1.0
        waiting = rig.submit()
        rig.now = 8.0
        request = rig.take()
        rig.now = 11.0
        rig.reply(request, LOST)

        assert isinstance(error_of(waiting), DeadlineExceededError)

    def test_retry_that_waits_for_its_turn(self, rig: EngineRig) -> None:
        """
        Without a hold too what waits ends a second after its deadline, while nothing succeeds.
        """
        entry = rig.submit()
        rig.send(LOST)
        new = rig.submit()

        assert rig.engine.may_be_late(10.0)
        assert [] == rig.engine.expire(10.9375)
        assert [entry, new] == rig.engine.expire(11.0)

    def test_item_that_waits_for_its_turn(self, rig: EngineRig) -> None:
        """So does an item that was sent back while all is well; what was never sent waits on."""
        entry = rig.submit(BOB)
        rig.send({BOB: 50004})
        rig.submit(EVE)

        assert [] == rig.engine.expire(10.9375)
        assert [entry] == rig.engine.expire(11.0)
        assert [True, False] == [rig.engine.may_be_late(now) for now in (11.9375, 12.0)]

    def test_next_hold(self, rig: EngineRig) -> None:
        """A change that outlived a hold counts anew in the next."""
        breaker = rig.engine.breaker
        breaker.slow_down(0.0, 0.0, 0.0)
        entry = rig.submit()
        breaker.succeeded(2.0)
        breaker.slow_down(50.0, 49.0, 0.0)

        assert [] == rig.engine.expire(59.9375)
        assert [entry] == rig.engine.expire(60.0)
        error = error_of(entry)
        assert isinstance(error, DeadlineExceededError)
        assert error.last is None

    def test_beside_a_backoff(self) -> None:
        """When an item is given up in its backoff the rest of its lane goes on."""
        rig = EngineRig(deadline=10.0, backoff=lambda _: 60.0)
        rig.submit(account="ann")
        rig.submit(account="bea")
        first, second = rig.take_all()
        rig.now = 1.0
        rig.reply(first, SLOW_DOWN)
        rig.reply(second, {BOB: 50004})
        rig.submit(EVE, account="bea")
        rig.now = 10.0
        rig.engine.expire(rig.now)

        assert ["eve"] == names(rig.take())


class TestSuspended:
    """A process that was suspended for a thousand seconds."""

    def test_all_deadlines_move(self) -> None:
        """What waits, what is in flight and what was sent before: nothing is late for that time."""
        rig = EngineRig(backoff=lambda _: 1.0)
        rig.submit_all(crowd(150))
        rig.submit_rows(Job(), *changes(crowd(250), "bea"))
        for request in rig.take_all():
            rig.now = 1.0
            rig.reply(request, LOST)
        rig.now = 5.0
        flying = rig.take()
        rig.engine.extend_deadlines(1000.0)
        early = rig.engine.expire(1055.0)
        rig.now = 1056.0
        rig.reply(flying, LOST)
        pending = rig.engine.ledger.pending
        late = rig.engine.expire(1063.0)

        assert ([], 400) == (early, pending)
        assert rig.engine.may_be_late(1063.0)
        assert 300 <= len(late)
