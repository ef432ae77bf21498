import json

import pytest
from rig import Rig
from spools import FAVORITE, peer, spool_of, spool_of_sizes
from virtual_rig import VirtualRig

from chatmark import ConversationMark, MarkChange, MarkNames
from chatmark.codes import Command
from chatmark.emulator import Refuse, Status
from chatmark.events import RequestEnded
from chatmark.jobs.forecast import Conditions, OnServer, OverLimit, Seconds, forecast
from chatmark.jobs.grouping import Loaded, Spool
from chatmark.jobs.options import JobOptions
from chatmark.jobs.planning import Plan, Planner, RoundTrips, plan_offline, plan_online
from chatmark.jobs.running import run_loaded


class TestForecast:
    @pytest.mark.parametrize(
        ("calls", "longest", "conditions", "least", "most"),
        [
            (0, 0, Conditions(190, 0.05), 0.0, 0.0),
            (1, 1, Conditions(190, 0.05), 0.05, 0.05),
            # 32 at once, or as many as are allowed.
            (64, 1, Conditions(None, 0.05), 0.1, 0.15),
            (100, 1, Conditions(None, 0.05, 1), 5.0, 5.05),
            # One user: one call at a time.
            (10, 10, Conditions(None, 0.05), 0.5, 0.5),
            # The pace.
            (200, 1, Conditions(20, 0.05), 10.0, 10.05),
            # The user with most calls may go beside the others, or behind them.
            (700, 100, Conditions(None, 0.05), 5.0, 10.0),
            (3_100, 100, Conditions(190, 0.05), 3_099 / 190 + 0.05, 3_099 / 190 + 5.05),
        ],
    )
    def test_limits(
        self, calls: int, longest: int, conditions: Conditions, least: float, most: float
    ) -> None:
        """The pace, the requests at once and the longest lane are what limits calls."""
        found = forecast(calls, longest, conditions)

        assert (least, most) == pytest.approx((found.least, found.most))

    def test_commands(self) -> None:
        """Commands with a limit each go side by side, or one after another, behind the check."""
        assert Seconds(7.0, 12.05) == forecast(200, 1, Conditions(20, 0.05), busiest=100) + 2.0


HIDDEN = ConversationMark.HIDDEN
VIP = ConversationMark.extension(40)
UNPACED = Conditions(None, 0.05)


async def plan_with(
    rig: Rig, spool: Spool, *, most_marked: int = 1000, conditions: Conditions = UNPACED
) -> Plan:
    """Return the plan that a server's state leads to."""
    planner = Planner(Loaded("f", spool, spool.changes, 0), 0.0)
    round_trips = RoundTrips()
    session = rig.session(hooks=[round_trips])
    return await plan_online(planner, session, round_trips, conditions, most_marked=most_marked)


def on_server(plan: Plan) -> OnServer:
    """Return what the server's state makes of a plan."""
    assert plan.server is not None
    return plan.server


class TestOffline:
    def test_counts(self) -> None:
        """
        The file alone tells users, conversations, calls, marks, and rows that repeat or contradict.
        """
        changes = [
            MarkChange("amy", peer(0), FAVORITE | VIP, HIDDEN),
            MarkChange("amy", peer(0), custom_mark="x"),
            MarkChange("amy", peer(1), FAVORITE),
            MarkChange("amy", peer(1), clear_mark=FAVORITE),
            MarkChange("amy", peer(2), custom_mark=""),
            *[MarkChange("zoe", peer(number), FAVORITE) for number in range(101)],
        ]
        with spool_of(changes) as spool:
            plan = plan_offline(
                Planner(Loaded("marks.jsonl", spool, 99, 0), 1.5), Conditions(190, 0.05)
            )
        document = json.loads(json.dumps(plan.document(MarkNames(vip=40))))

        assert (99, 106, 2, 104, 3) == tuple(
            document[key] for key in ("rows", "changes", "users", "conversations", "calls")
        )
        assert (2, 1) == (document["repeated"], document["contradicting"])
        assert [
            {"from_account": "amy", "conversation": "c2c_peer_00001", "line": 3, "rows": 2}
        ] == document["contradictions"]
        assert [
            {"name": "favorite", "bit": 0, "set": 102, "cleared": 1},
            {"name": "hidden", "bit": 3, "set": 0, "cleared": 1},
            {"name": "vip", "bit": 40, "set": 1, "cleared": 0},
        ] == document["marks"]
        assert (1, 1) == (document["custom_marks_set"], document["custom_marks_cleared"])
        assert (1.5, 0.1, 1.6) == (
            document["seconds_checking"],
            document["seconds_sending"],
            document["seconds"],
        )
        assert document["server"] is None


class TestOnline:
    async def test_unchanged(self, rig: Rig) -> None:
        """The plan says what --skip-unchanged would save, and what it would cost."""
        for number in range(250):
            rig.emulator.state.seed_mark("amy", (1, peer(number).id), 1)
        with spool_of_sizes({"amy": 260, "eve": 10, "zoe": 100}) as spool:
            plan = await plan_with(rig, spool)
        server = on_server(plan)

        assert 5 == plan.size.calls
        assert 250 == server.unchanged
        # Three pages of amy's, one of each other's.
        assert 5 == server.calls_read
        assert (3, 3) == (server.skip_reading, server.skip_sending)
        assert -1 == plan.document(MarkNames())["server"]["skip_unchanged"]["calls_saved"]

    @pytest.mark.parametrize("most_marked", [20, 30])
    async def test_over_limit(self, rig: Rig, most_marked: int) -> None:
        """
        Users who would have too many marked conversations are foretold, with what is refused them.
        """
        state = rig.emulator.state
        state.max_marked = most_marked
        for user in ("amy", "eve"):
            for number in range(20):
                state.seed_mark(user, (1, peer(number).id), 9)
        state.seed_contact_group("eve", 1, "friends", [(1, "none_of_the_file")])
        frees = [MarkChange("eve", peer(number), clear_mark=FAVORITE | HIDDEN) for number in (0, 1)]
        asked = [
            MarkChange(user, peer(number), FAVORITE)
            for user in ("amy", "eve")
            for number in range(15, 33)
        ]
        with spool_of([*frees, *asked]) as spool:
            plan = await plan_with(rig, spool, most_marked=most_marked)
            report = await rig.session().apply(unit.change for unit in spool)
        server = on_server(plan)

        assert report.failed == server.conversations_over_limit == {20: 24, 30: 4}[most_marked]
        assert report.failures_by_code == {51008: server.conversations_over_limit}
        assert {
            20: [OverLimit("amy", 20, 13), OverLimit("eve", 20, 11)],
            30: [OverLimit("amy", 20, 3), OverLimit("eve", 20, 1)],
        }[most_marked] == server.first_over_limit
        assert 2 == server.users_over_limit

    async def test_unknown_users(self, rig: Rig) -> None:
        """Users whom the server does not know are told from those who could not be read."""
        rig.emulator.script.always(Refuse(50001), account="eve")
        rig.emulator.script.always(Status(502), account="zoe")
        with spool_of_sizes({"amy": 1, "eve": 150, "zoe": 1}) as spool:
            planner = Planner(Loaded("f", spool, 152, 0), 0.0)
            session = rig.session(deadline=0.0)
            plan = await plan_online(planner, session, RoundTrips(), UNPACED)
        server = on_server(plan)

        assert (1, ["eve"]) == (server.unknown_users, server.first_unknown_users)
        assert (1, ["zoe"]) == (server.unread_users, list(server.errors))
        assert (3, 4) == (server.skip_reading, server.skip_sending)
        assert 0.05 == plan.conditions.round_trip


SHAPES = {
    "scattered": {f"user_{number:03}": 1 + number % 5 for number in range(150)},
    "full": {f"user_{number:03}": 700 for number in range(5)},
    "ragged": {f"user_{number:03}": 37 * number % 350 for number in range(1, 40)},
    "long": {"a": 40, "b": 1_850, "c": 101},
    "long_last": {**{f"a{number:03}": 100 for number in range(20)}, "z": 1_500},
}


def seed_half(rig: Rig, shape: str) -> None:
    """Let the server have what the file wants of some users, and a part of it of the others."""
    for user, size in SHAPES[shape].items():
        for number in range(0, size, 1 if user < "user_020" else 7):
            rig.emulator.state.seed_mark(user, (1, peer(number).id), 1)


class TestAgainstTheRun:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize(("rate", "skip_unchanged"), [(None, False), (190, False), (20, True)])
    @pytest.mark.virtual_time(round_trip=0.05)
    async def test_estimates(
        self, rig: VirtualRig, shape: str, rate: float | None, skip_unchanged: bool
    ) -> None:
        """
        The calls of a plan are exact, and the time is in its range, but for a tenth of it.

        Reading and sending have a pace each, and go side by side.
        """
        rig.emulator.state.max_marked = 10_000
        if skip_unchanged:
            seed_half(rig, shape)
        round_trips = RoundTrips()
        with spool_of_sizes(SHAPES[shape]) as spool:
            loaded = Loaded("f", spool, spool.changes, 0)
            planning = rig.session(hooks=[round_trips])
            conditions = Conditions(rate, 1.0)
            plan = await plan_online(Planner(loaded, 0.0), planning, round_trips, conditions)
            calls = rig.emulator.counts["mark_contact"]
            session = rig.session(calls_per_second=rate)
            started = rig.now
            report = await run_loaded(session, loaded, JobOptions(skip_unchanged=skip_unchanged))
        took, server = rig.now - started, on_server(plan)
        sending = rig.emulator.counts["mark_contact"] - calls
        rig.results.clear()
        rig.emulator.state.clear()
        seconds = plan.skip_seconds if skip_unchanged else plan.seconds
        wanted = server.skip_sending, server.skip_calls, server.unchanged

        assert report.ok
        assert seconds is not None
        assert seconds.least * 0.9 - 0.06 <= took <= seconds.most * 1.1 + 0.06
        if not skip_unchanged:
            wanted = plan.size.calls, plan.size.calls, 0
        assert wanted == (sending, report.run.calls, report.accounts.unchanged)


class TestRoundTrips:
    def test_typical(self) -> None:
        """
        What waited for this very process, or had no answer, does not count for the round trip.
        """
        round_trips = RoundTrips()

        assert round_trips.typical is None
        for number, (reason, duration) in enumerate(
            [("0", 0.05)] * 5 + [("0", 0.4)] * 5 + [("502", 0.001)] * 20
        ):
            round_trips(RequestEnded(Command.GET_CONTACT_GROUP, f"u{number}", 0, reason, duration))

        assert 0.05 == round_trips.typical
