import asyncio
import contextlib
import email.utils
import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import attrs
import pytest
from rig import windows
from virtual_rig import BOB, OwnBudget, VirtualRig, change, changes, provided, usersig

from chatmark import (
    ApplicationRefusedError,
    CallBudget,
    ConversationMark,
    Credentials,
    DeadlineExceededError,
    MarkSession,
    Paused,
    RequestEnded,
)
from chatmark.emulator import Delay, Fault, Hang, Refuse, ResetBefore, Status
from chatmark.emulator.wire import Refusal

pytestmark = pytest.mark.virtual_time

_SOON: Final = 1_760_000_000


@attrs.define
class Clock:
    """A wall clock that jumps."""

    now: float = _SOON

    def __call__(self) -> float:
        """Return the time."""
        return self.now


SERVER_CLOCK: Final = Clock()


@attrs.define
class Watch:
    """A hook that keeps when requests ended, and the pauses."""

    clock: Callable[[], float]
    ended: list[float] = attrs.field(factory=list)
    pauses: list[float] = attrs.field(factory=list)

    def __call__(self, event: object) -> None:
        """Keep an event."""
        if isinstance(event, RequestEnded):
            self.ended.append(self.clock())
        elif isinstance(event, Paused):
            self.pauses.append(event.seconds)


def by_minute(times: list[float]) -> list[int]:
    """Return how many of the times are in each minute."""
    counts = [0] * (int(max(times, default=0.0)) // 60 + 1)
    for each in times:
        counts[int(each) // 60] += 1
    return counts


async def warm(session: MarkSession) -> None:
    """Let the server show that it serves this application."""
    await session.mark("first", BOB, custom_mark="x")


class TestOutage:
    @pytest.mark.parametrize(
        ("fault", "warmed"),
        [
            (Status(502, html=True), False),
            *((each, True) for each in (ResetBefore(), Refuse(50004), Hang(), None)),
        ],
        ids=["502 from the start", "reset", "50004", "never answers", "refused"],
    )
    async def test_makes_no_storm(
        self, rig: VirtualRig, fault: Fault | None, *, warmed: bool
    ) -> None:
        """A dead server and 200 lanes for ten minutes: requests stay few, one probe at a time."""
        watch = Watch(asyncio.get_running_loop().time)
        session = rig.session(hooks=[watch], deadline=590.0)
        if warmed:
            await warm(session)
        if fault is None:
            await rig.emulator.stop()
        else:
            rig.emulator.script.always(fault)
        handles = [await session.submit(each) for each in changes(400, 200)]
        most = 0
        while rig.now < 600:
            await asyncio.sleep(0.5)
            if rig.now > 60:
                most = max(most, session.stats.in_flight)
        counts = by_minute(watch.ended)
        await session.flush()
        if fault is None:
            await rig.emulator.start()

        # Twenty failures, and the requests that were in flight with them, engage the brake.
        assert counts[0] <= 20 + 32 + 30
        assert max(counts[1:10]) <= 30
        assert most <= 1
        assert all(isinstance(h.result.error, DeadlineExceededError) for h in handles)

    @pytest.mark.parametrize(
        "fault",
        [Status(502, html=True), Refuse(60007), Hang()],
        ids=["502", "slow down", "never answers"],
    )
    async def test_recovery_settles_everything(self, rig: VirtualRig, fault: Fault) -> None:
        """After an outage of 28 s everything that waited takes effect, soon."""
        session = rig.session(max_in_flight=64)
        await warm(session)
        rig.emulator.script.always(fault)
        report = asyncio.create_task(session.apply(changes(2000, 200)))
        await asyncio.sleep(28)
        rig.emulator.script.clear()

        assert 2000 == (await report).succeeded
        assert rig.now < 28 + 30


class TestSuspended:
    @pytest.mark.parametrize("reads", [False, True], ids=["marks", "reads"])
    @pytest.mark.parametrize("fault", [Hang(), Status(502)], ids=["in flight", "in a backoff"])
    async def test_a_last_attempt(self, rig: VirtualRig, fault: Fault, *, reads: bool) -> None:
        """A process that stood still for two minutes tries again before it gives up."""
        session = rig.session(backoff=lambda _: 3.0)
        await warm(session)
        rig.emulator.script.next(fault)
        if reads:
            call: asyncio.Future[Any] = asyncio.ensure_future(session.search("alice", [BOB]))
        else:
            call = asyncio.ensure_future(session.mark("alice", BOB, custom_mark="y"))
        await asyncio.sleep(2.0)
        asyncio.get_running_loop().jumping.now += 120.0  # type: ignore[attr-defined]
        await call

        assert 3 == len(rig.emulator.calls)


class TestSlowDown:
    @pytest.mark.parametrize("trip", [0.0, 0.05, 0.4], ids=lambda trip: f"{trip} s away")
    @pytest.mark.parametrize(
        "fault", [Status(429), Refuse(60007), Refuse(60011)], ids=["429", "60007", "60011"]
    )
    async def test_thirty_lanes_and_one_refusal(
        self, rig: VirtualRig, fault: Fault, trip: float
    ) -> None:
        """
        Thirty lanes and one "slow down": at most one request starts within the penalty window.
        """
        rig.emulator._app._round_trip = lambda: trip
        session = rig.session(max_in_flight=10)
        await warm(session)
        rig.emulator.script.next(None, None, fault)
        started = rig.now
        report = await session.apply(changes(3000, 30))
        refused = started + trip
        inside = [at for at in rig.started() if refused < at < refused + 1.0]

        assert 3000 == report.succeeded
        assert len(inside) <= 1
        assert 1 == session.stats.pauses

    async def test_pauses_grow_and_are_capped(self, rig: VirtualRig) -> None:
        """Pauses double from one second to ten, and begin anew after a recovery."""
        watch = Watch(asyncio.get_running_loop().time)
        session = rig.session(hooks=[watch], deadline=1000.0)
        rig.emulator.script.next(*[Refuse(60007) for _ in range(8)])
        await warm(session)
        await session.apply(changes(30, 30))
        rig.emulator.script.next(Refuse(60007))
        await session.apply(changes(30, 30))

        assert [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0, 10.0, 1.0] == watch.pauses
        assert sum(watch.pauses) == pytest.approx(session.stats.paused)

    @pytest.mark.parametrize("fault", [Status(429), Refuse(60007)], ids=["429", "60007"])
    async def test_for_ever(self, rig: VirtualRig, fault: Fault) -> None:
        """A server that answers "slow down" to everything ends each change at its deadline."""
        rig.emulator.script.always(fault)
        session = rig.session()
        handles = [await session.submit(each) for each in changes(3000, 30)]
        await session.flush()

        assert {DeadlineExceededError} == {type(handle.result.error) for handle in handles}
        assert 60.0 <= rig.now <= 60.0 + 2.0
        assert len(rig.emulator.calls) <= 10

    @pytest.mark.parametrize("trip", [0.0, 0.03, 0.3])
    @pytest.mark.parametrize("users", [1, 30])
    async def test_a_pause_as_long_as_the_deadline(
        self, rig: VirtualRig, users: int, trip: float
    ) -> None:
        """After the minute that the vendor asks for, everything has its attempt at the deadline."""
        rig.emulator._app._round_trip = lambda: trip
        session = rig.session(deadline=60.0)
        await warm(session)
        rig.emulator.script.next(Refuse(70050))
        report = await session.apply(changes(900, users))

        assert (900, 1) == (report.succeeded, session.stats.pauses)
        assert 60.0 <= rig.now <= 70.0

    async def test_for_single_items(self, rig: VirtualRig) -> None:
        """A "slow down" on a single line pauses too, and only that line is sent again."""
        session = rig.session()
        await warm(session)
        rig.emulator.script.item((1, "peer_7"), 60007)
        report = await session.apply(changes(50))

        assert (50, 1) == (report.succeeded, session.stats.pauses)
        assert [1, 50, 1] == [len(call.conversations) for call in rig.emulator.calls]
        assert 1.0 <= rig.now <= 2.0

    @pytest.mark.parametrize(
        ("said", "seconds"),
        [
            *((said, 1.0) for said in (None, "", "0", "-5", "0.5", "nan", "soon", "date:-20")),
            *(("7.5", 7.5), ("60", 60.0), ("date:20", 20.0), ("Fri, 99 Foo 2026", 1.0)),
            *((said, 60.0) for said in ("61", "1e400", "date:3600")),
        ],
    )
    async def test_retry_after(self, rig: VirtualRig, said: str | None, seconds: float) -> None:
        """Retry-After of a 429, in seconds or as a date, is honoured, and capped."""
        headers: dict[str, str] = {}
        if said is not None and said.startswith("date:"):
            headers["Date"] = _date(0)
            said = _date(float(said.removeprefix("date:")))
        session = rig.session(deadline=600.0)
        rig.emulator.script.next(Status(429, retry_after=said, headers=headers))
        await session.apply(changes(30, 30))

        assert seconds == rig.started()[1]
        assert 31 == len(rig.emulator.calls)

    @pytest.mark.parametrize(("said", "seconds"), [("7", 7.0), ("61", 60.0)])
    async def test_retry_after_of_a_gateway(
        self, rig: VirtualRig, said: str, seconds: float
    ) -> None:
        """Retry-After of a 503 holds its lane for that long, and no other."""
        session = rig.session(deadline=600.0, backoff=lambda _: 0.5)
        await warm(session)
        rig.emulator.script.next(Status(503, retry_after=said), account="alice")
        marks = [session.mark(name, BOB, custom_mark="x") for name in ("alice", "carol")]
        await asyncio.gather(*marks)

        assert [0.0, 0.0, 0.0, seconds] == rig.started()


class TestLearning:
    """A "slow down" where the budget has a rate, and learns a lower one."""

    async def test_one_refusal(self, rig: VirtualRig) -> None:
        """
        One refusal among many calls costs a short pause and a few calls of pace, and no probes.
        """
        watch = Watch(asyncio.get_running_loop().time)
        rig.emulator._app._round_trip = lambda: 0.1
        session = rig.session(hooks=[watch], calls_per_second=190)
        await warm(session)
        rig.emulator.script.next(*[None] * 500, Refuse(60007))
        report = await session.apply(changes(950, 950))

        assert (950, 1) == (report.succeeded, session.stats.pauses)
        assert max(watch.pauses) < 0.1
        assert sum(watch.pauses) == pytest.approx(session.stats.paused)
        assert 0 < session.stats.paused
        assert rig.now < 950 / 190 * 1.06 + 0.3

    @pytest.mark.virtual_time(calls_per_second=200)
    async def test_a_neighbour_takes_half(self, rig: VirtualRig) -> None:
        """
        What somebody leaves who makes a hundred calls a second without a word is nearly all used.
        """

        async def neighbour() -> None:
            while True:
                with contextlib.suppress(Refusal):
                    rig.emulator._book.rate.admit("mark_contact")
                await asyncio.sleep(0.01)

        watch = Watch(asyncio.get_running_loop().time)
        rig.emulator._app._round_trip = lambda: rig.rng.uniform(0.05, 0.15)
        session = rig.session(hooks=[watch], calls_per_second=200)
        await warm(session)
        other = asyncio.create_task(neighbour())
        report = await session.apply(changes(1500, 1500))
        other.cancel()

        assert 1500 == report.succeeded
        assert rig.now < 15 / 0.95
        assert session.stats.calls - 1501 < 15 + 8
        assert max(watch.pauses) < 0.5

    async def test_a_server_that_says_how_long(self, rig: VirtualRig) -> None:
        """A server that says for how long it wants to be left alone is, and is probed then."""
        session = rig.session(calls_per_second=190)
        await warm(session)
        rig.emulator.script.next(Status(429, retry_after="7"))
        await session.mark("alice", BOB, custom_mark="x")

        assert 7.0 == pytest.approx(rig.started()[2], abs=0.01)

    async def test_a_server_that_refuses_everything(self, rig: VirtualRig) -> None:
        """A server that refuses everything from now on gets some dozen calls, and then probes."""
        watch = Watch(asyncio.get_running_loop().time)
        rig.emulator._app._round_trip = lambda: 0.1
        session = rig.session(hooks=[watch], calls_per_second=190, deadline=600.0)
        await warm(session)
        rig.emulator.script.always(Delay(0.1, Refuse(60007)))
        handles = [await session.submit(each) for each in changes(500, 500)]
        await asyncio.sleep(55)
        calls = rig.started()

        assert len(calls) <= 90
        assert len([at for at in calls if at > 3.0]) <= 12
        assert 10.0 in watch.pauses
        rig.emulator.script.clear()
        await session.flush()

        assert all(handle.result.ok for handle in handles)

    async def test_sessions_share_what_is_learned(self, rig: VirtualRig) -> None:
        """A refusal that one session gets slows down the others of its budget, too."""
        rig.emulator._app._round_trip = lambda: 0.05
        budget = CallBudget(100)
        first, second = (rig.session(budget=budget) for _ in range(2))
        await warm(first)
        await warm(second)
        for _ in range(5):
            rig.emulator.script.next(Refuse(60007))
            await first.mark("alice", BOB, custom_mark="x")
        started = rig.now
        await second.apply(changes(50, 50))

        assert rig.now - started > 50 / 100 * 2

    @pytest.mark.parametrize("listens", [False, True])
    async def test_a_budget_that_does_not_learn(self, rig: VirtualRig, *, listens: bool) -> None:
        """
        A budget of somebody's own, with no more than `acquire` and `pause`, pauses for a second.

        One that wants to hears when its call goes, ends, and what the server said, and may wait.
        """
        budget = OwnBudget(rest=0.5 if listens else None)
        session = rig.session(budget=budget)
        await warm(session)
        rig.emulator.script.next(Refuse(60007))
        await session.mark("alice", BOB, custom_mark="x")

        assert ["ADMITTED", "REFUSED", "ADMITTED"] == [each.heard[1] for each in budget.permits]
        assert {2} == {len(each.heard) for each in budget.permits}
        assert ([] if listens else [1.0]) == budget.pauses
        assert 1 == session.stats.pauses

    async def test_reading(self, rig: VirtualRig) -> None:
        """Reading is slowed down as marking is."""
        watch = Watch(asyncio.get_running_loop().time)
        session = rig.session(hooks=[watch], calls_per_second=190)
        await session.search("alice", [BOB])
        rig.emulator.script.next(Refuse(60007))
        await asyncio.gather(*(session.search(f"user_{n}", [BOB]) for n in range(30)))

        assert 32 == session.stats.calls
        assert rig.now < 0.5


def _date(seconds: float) -> str:
    return email.utils.format_datetime(datetime.fromtimestamp(_SOON + seconds, UTC), usegmt=True)


class TestDeadline:
    @pytest.mark.parametrize("fault", [Hang(), Delay(9.0, Status(503))], ids=repr)
    async def test_of_a_server_that_never_works(self, rig: VirtualRig, fault: Fault) -> None:
        """An error within the deadline and one attempt, for each of many lanes too."""
        session = rig.session()
        await warm(session)
        rig.emulator.script.always(fault)
        handles = [await session.submit(each) for each in changes(120, 40)]
        errors = [(await handle.settled()).error for handle in handles]

        assert {DeadlineExceededError} == set(map(type, errors))
        # What was not sent before the session was held counts from then.
        assert 60.0 <= rig.now <= 60.0 + 10.0 + 10.0 + 1.0

    async def test_runs_from_the_first_attempt(self, rig: VirtualRig) -> None:
        """A change that waited for its turn longer than its deadline still has it whole."""
        session = rig.session(calls_per_second=0.01, deadline=5.0)
        await warm(session)
        result = await session.mark("alice", BOB, custom_mark="x")

        assert (True, True) == (result.ok, rig.now >= 100)

    async def test_holds_in_the_pacer(self, rig: VirtualRig) -> None:
        """A change that failed and then waits for its turn is not sent after its deadline."""
        session = rig.session(calls_per_second=0.1)
        rig.emulator.script.always(Status(503), account="alice")
        handle = await session.submit(change("alice"))
        for each in changes(40, 40):
            await session.submit(each)
        result = await handle.settled()
        ended = rig.now
        await session.flush()
        late = [
            call.started
            for call in rig.emulator.calls
            if call.account == "alice" and call.started > 71.0
        ]

        assert not result.ok
        assert [] == late
        assert 60.0 <= ended <= 72.0

    async def test_is_each_changes_own(self, rig: VirtualRig) -> None:
        """A change that joins another's retries has a deadline of its own."""
        rig.emulator.script.always(Status(503))
        session = rig.session(deadline=30.0)
        first = asyncio.create_task(self._end(rig, session, "first"))
        await asyncio.sleep(20)
        second = asyncio.create_task(self._end(rig, session, "second"))
        ends = await asyncio.gather(first, second)

        assert 30.0 <= ends[0] <= 31.0
        assert 50.0 <= ends[1] <= 30.0 + 20.0 + 9.0

    async def _end(self, rig: VirtualRig, session: MarkSession, mark: str) -> float:
        with pytest.raises(DeadlineExceededError):
            await session.mark("alice", BOB, custom_mark=mark)
        return rig.now


class TestRefusedApplication:
    async def test_of_standard_marks(self, rig: VirtualRig) -> None:
        """
        A plan without standard marks makes one request of them, and is no obstacle to custom marks.
        """
        rig.emulator.script.next(Refuse(51013))
        session = rig.session()
        marks = [session.mark(f"u{n}", BOB, set_mark=ConversationMark.FAVORITE) for n in range(500)]
        customs = [session.mark(f"u{n}", BOB, custom_mark="x") for n in range(500, 800)]
        errors = await asyncio.gather(*marks, return_exceptions=True)
        results = await asyncio.gather(*customs)

        assert {51013} == {getattr(error, "code", None) for error in errors}
        assert all(result.ok for result in results)
        assert 301 == len(rig.emulator.calls)

    async def test_holds_for_a_second_and_then_is_probed(self, rig: VirtualRig) -> None:
        """
        New changes within a second get the same answer without a call, then one probe is made.
        """
        rig.emulator.script.always(Refuse(70009))
        session = rig.session()
        counts: list[int] = []
        for _ in range(4):
            for _ in range(10):
                with pytest.raises(ApplicationRefusedError, match="70009"):
                    await session.mark("alice", BOB, custom_mark="x")
                await asyncio.sleep(0.09)
            counts.append(len(rig.emulator.calls))
            await asyncio.sleep(0.2)
        rig.emulator.script.clear()
        await asyncio.sleep(1)

        assert [1, 2, 3, 4] == counts
        assert (await session.mark("alice", BOB, custom_mark="x")).ok

    async def test_a_job_costs_one_request_a_second(self, rig: VirtualRig) -> None:
        """A job of 5,000 rows at a refused application ends with a call or two."""
        rig.emulator.script.always(Refuse(60020))
        session = rig.session(max_pending=1000)
        report = await session.apply(changes(5_000, 1000))

        assert (5_000, {60020: 5_000}) == (report.failed, report.failures_by_code)
        assert len(rig.emulator.calls) <= 2

    async def test_with_others_in_flight(self, rig: VirtualRig) -> None:
        """Requests that were in flight beside the refused one keep their own answers."""
        session = rig.session()
        await warm(session)
        rig.emulator.script.next(Refuse(60020), *[Delay(1) for _ in range(9)])
        handles = [await session.submit(each) for each in changes(10, 10)]
        await session.flush()

        assert [False] + [True] * 9 == [handle.result.ok for handle in handles]


class TestSignature:
    @pytest.mark.virtual_time(clock=SERVER_CLOCK)
    async def test_a_hundred_wait_for_one_renewal(self, rig: VirtualRig) -> None:
        """A hundred lanes whose first requests need a UserSig: the provider is asked once."""
        asked = itertools.count()

        async def provider() -> str:
            next(asked)
            await asyncio.sleep(3)
            return usersig(_SOON)

        session = self._session(rig, provider, max_in_flight=100)
        session._engine.breaker._trusted = True
        for each in changes(100, 100):
            await session.submit(each)
        await asyncio.sleep(1)
        waiting = session.stats.in_flight
        await session.flush()

        assert (100, 1) == (waiting, next(asked))
        assert 100 == session.stats.succeeded

    @pytest.mark.virtual_time(clock=SERVER_CLOCK)
    async def test_a_hundred_are_refused_at_once(self, rig: VirtualRig) -> None:
        """A hundred requests in flight that all get 70001: one renewal, and all succeed."""
        asked = itertools.count()

        async def provider() -> str:
            next(asked)
            return usersig(_SOON)

        session = self._session(rig, provider, max_in_flight=100)
        await warm(session)
        rig.emulator.script.next(*[Delay(1, Refuse(70001)) for _ in range(100)])
        for each in changes(100, 100):
            await session.submit(each)
        await session.flush()

        assert (2, 101) == (next(asked), session.stats.succeeded)
        assert 201 == len(rig.emulator.calls)

    @pytest.mark.parametrize("lanes", [1, 100])
    @pytest.mark.virtual_time(clock=SERVER_CLOCK)
    async def test_refused_for_ever(self, rig: VirtualRig, lanes: int) -> None:
        """70001 for ever: one renewal, then the answer of the server, at once."""
        session = self._session(rig)
        await warm(session)
        rig.emulator.script.always(Refuse(70001))
        handles = [await session.submit(each) for each in changes(lanes, lanes)]
        await session.flush()

        assert {ApplicationRefusedError} == {type(handle.result.error) for handle in handles}
        assert (2, 0.0) == (session.stats.renewals, rig.now)
        assert len(rig.emulator.calls) <= 1 + 2 * min(lanes, 32)

    @pytest.mark.virtual_time(clock=SERVER_CLOCK)
    async def test_ready_usersig_refused(self, rig: VirtualRig) -> None:
        """A ready UserSig that expired cannot be renewed: one request."""
        credentials = Credentials(
            sdkappid=1400000001, identifier="administrator", usersig=usersig(_SOON - 100_000)
        )
        session = rig.session(credentials=credentials, wall_clock=SERVER_CLOCK)
        handles = [await session.submit(each) for each in changes(100, 100)]
        await session.flush()

        assert {70001} == {getattr(handle.result.error, "code", None) for handle in handles}
        assert 1 == len(rig.emulator.calls)
        rig.emulator._book.violations.clear()

    @pytest.mark.parametrize("days", [0.99, 1.01, 3650, -0.01, -3650])
    @pytest.mark.virtual_time(clock=SERVER_CLOCK)
    async def test_both_clocks_jump(self, rig: VirtualRig, days: float) -> None:
        """The time of day jumps, forward or back, here and at the server: no request is refused."""
        SERVER_CLOCK.now = _SOON
        session = self._session(rig)
        await warm(session)
        SERVER_CLOCK.now += days * 86_400
        await session.apply(changes(500, 5))
        SERVER_CLOCK.now = _SOON
        await session.apply(changes(500, 5))

        assert {0} == {call.code for call in rig.emulator.calls}
        assert session.stats.renewals <= 3

    @pytest.mark.virtual_time(clock=SERVER_CLOCK)
    async def test_own_clock_jumps_back_for_a_while(self, rig: VirtualRig) -> None:
        """
        A clock that is two days behind gets a refusal that says so; set right, it recovers.
        """
        SERVER_CLOCK.now = _SOON
        clock = Clock()
        session = self._session(rig, clock=clock)
        await warm(session)
        clock.now -= 2 * 86_400
        with pytest.raises(ApplicationRefusedError, match=r"70001.*check the clock"):
            await session.mark("alice", BOB, custom_mark="x")
        clock.now = _SOON
        await asyncio.sleep(2)

        assert (await session.mark("alice", BOB, custom_mark="x")).ok
        rig.emulator._book.violations.clear()

    @pytest.mark.virtual_time(clock=SERVER_CLOCK)
    async def test_expires_during_a_backoff(self, rig: VirtualRig) -> None:
        """A UserSig that expires while its change backs off is renewed for the next attempt."""
        SERVER_CLOCK.now = _SOON
        session = self._session(rig, backoff=lambda _: 30.0)
        rig.emulator.script.next(Status(503))
        mark = asyncio.create_task(session.mark("alice", BOB, custom_mark="x"))
        await asyncio.sleep(10)
        SERVER_CLOCK.now += 2 * 86_400
        result = await mark

        assert (True, 2, 2) == (result.ok, result.attempts, session.stats.renewals)
        assert [None, 0] == [call.code for call in rig.emulator.calls]

    def _session(
        self,
        rig: VirtualRig,
        provider: Any = None,
        *,
        clock: Clock = SERVER_CLOCK,
        **options: Any,
    ) -> MarkSession:
        SERVER_CLOCK.now = _SOON
        credentials = rig.credentials if provider is None else provided(provider)
        return rig.session(credentials=credentials, wall_clock=clock, **options)


class TestBudget:
    @pytest.mark.parametrize(("rate", "sessions"), [(1, 2), (7, 1), (50, 5), (190, 2)])
    async def test_no_window_of_a_second_holds_more(
        self, rig: VirtualRig, rate: int, sessions: int
    ) -> None:
        """
        Sessions that share a budget never make more calls than it in any second, at the server.
        """
        trips = itertools.cycle([0.0, 0.3, 0.011, 0.9, 0.05])
        rig.emulator._app._round_trip = lambda: next(trips)
        budget = CallBudget(rate)
        all_sessions = [rig.session(budget=budget) for _ in range(sessions)]
        calls = rate * 3 // sessions + 1
        await asyncio.gather(
            *(
                session.apply([change(f"{number}_{n}") for n in range(calls)])
                for number, session in enumerate(all_sessions)
            )
        )

        assert calls * sessions == len(rig.emulator.calls)
        assert windows(rig.started()) <= rate

    async def test_after_a_slow_signature(self, rig: VirtualRig) -> None:
        """Marks and searches that waited for a UserSig do not leave together."""

        async def provider() -> str:
            await asyncio.sleep(3)
            return usersig()

        session = rig.session(credentials=provided(provider), calls_per_second=10)
        searches = (session.search(f"u{n}", [BOB]) for n in range(40))
        await asyncio.gather(session.apply(changes(60, 60)), *searches)
        for command in ("mark_contact", "search_contact_group"):
            # Virtual time has no jitter, and a second may be a little less in floats.
            calls = [call.started for call in rig.emulator.calls if call.command == command]

            assert windows(calls, 1.0 - 1e-6) <= 10

    async def test_sessions_share_the_pause(self, rig: VirtualRig) -> None:
        """
        When one session is told to slow down, none that shares its budget makes a call meanwhile.
        """
        budget = CallBudget(190)
        first, second = (rig.session(budget=budget) for _ in range(2))
        await warm(first)
        await warm(second)
        rig.emulator.script.next(Status(429, retry_after="20"), account="alice")
        mark = asyncio.create_task(first.mark("alice", BOB, custom_mark="x"))
        await asyncio.sleep(0.5)
        await second.apply(changes(50, 50))
        await mark

        assert [] == [at for at in rig.started() if 0.5 <= at < 20.0]
        assert 20.0 <= rig.now <= 21.0

    async def test_sessions_share_fairly(self, rig: VirtualRig) -> None:
        """A session with a job of hours does not keep another with one mark waiting."""
        budget = CallBudget(10)
        job, service = (rig.session(budget=budget) for _ in range(2))
        await warm(job)
        task = asyncio.create_task(job.apply(changes(5000, 500)))
        await asyncio.sleep(5)
        started = rig.now
        await service.mark("alice", BOB, custom_mark="x")
        waited = rig.now - started
        task.cancel()
        await asyncio.wait([task])

        assert waited <= 0.5

    async def test_cancelled_in_the_pacer_wastes_no_turn(self, rig: VirtualRig) -> None:
        """Marks that are cancelled while they wait for the pace take no call from the others."""
        session = rig.session(calls_per_second=10)
        await warm(session)
        cancelled = [
            asyncio.create_task(session.mark(f"c{n}", BOB, custom_mark="x")) for n in range(100)
        ]
        others = [
            asyncio.create_task(session.mark(f"o{n}", BOB, custom_mark="x")) for n in range(100)
        ]
        await asyncio.sleep(0.05)
        for task in cancelled:
            task.cancel()
        await asyncio.gather(*others)
        left = sum(call.account.startswith("c") for call in rig.emulator.calls if call.account)

        assert left <= 2
        assert rig.now <= 11.0
