"""Rows of jobs that wait together, by themselves and in the engine."""

from collections.abc import Sequence

import pytest
from engine_rig import (
    BOB,
    EVE,
    FAVORITE,
    LOST,
    SLOW_DOWN,
    ZOE,
    EngineRig,
    change,
    changes,
    codes,
    crowd,
    names,
    texts,
)
from sinks import Job, unsent

from chatmark.changes import MarkChange
from chatmark.core.compact_rows import CompactRows, Run
from chatmark.failures import DeadlineExceededError, UnsentError
from chatmark.wire.messages import HttpAnswer


@pytest.fixture
def rig() -> EngineRig:
    """An engine whose backoff is a second."""
    return EngineRig(backoff=lambda _: 1.0)


@pytest.fixture
def job() -> Job:
    """A job."""
    return Job()


def kept(
    rows: CompactRows, job: Job, *changes: MarkChange, epoch: int = 0, now: float = 0.0
) -> Run:
    """Keep rows, and return where."""
    run = Run(job, epoch, now, list(changes), [each.conversation.key for each in changes])
    rows.add(run, set(run.keys))
    return rows._bulk[-1]


def names_of(runs: Sequence[Run]) -> list[str]:
    """Return whom rows name."""
    return [each.conversation.id for run in runs for each in run.changes]


class TestRows:
    def test_come_together(self, job: Job) -> None:
        """Rows that come within a moment share the time of the last of them, however late it is."""
        rows = CompactRows()
        first = kept(rows, job, change(BOB), now=100.0)
        second = kept(rows, job, change(EVE), now=100.25)

        assert first is second
        assert 100.25 == first.admitted_at
        assert first is not kept(rows, job, change(ZOE), now=100.375)

    @pytest.mark.parametrize(
        ("other", "epoch", "now"),
        [(False, 0, 0.26), (False, 1, 0.0), (True, 0, 0.0)],
        ids=["later", "after a flush", "of another job"],
    )
    def test_come_apart(self, job: Job, other: bool, epoch: int, now: float) -> None:
        """Others have their own; the oldest counts."""
        rows = CompactRows()
        first = kept(rows, job, change(BOB))
        second = kept(rows, Job() if other else job, change(EVE), epoch=epoch, now=now)

        assert first is not second
        assert (2, 0.0) == (len(rows), rows._bulk[0].admitted_at)

    def test_stay_short(self, job: Job) -> None:
        """However many come at once, they are kept in parts that are cheap to cut."""
        rows = CompactRows()
        first = kept(rows, job, *changes(crowd(1000)))

        assert first is not kept(rows, job, change(BOB))

    def test_are_taken_in_their_order(self, job: Job) -> None:
        """The oldest go first, cut where the limit is."""
        rows = CompactRows()
        kept(rows, job, *changes(crowd(3)))
        kept(rows, job, *changes(crowd(3, 3)), epoch=1)
        taken = [rows.take(limit, urgent=False) for limit in (2, 3, 1, 1)]

        assert [["c0", "c1"], ["c2", "c3", "c4"], ["c5"], []] == [names_of(each) for each in taken]
        assert [[0], [0, 1], [1], []] == [[run.epoch for run in each] for each in taken]
        assert {(job, 0.0)} == {(run.sink, run.admitted_at) for each in taken for run in each}
        assert not rows.keys

    def test_become_entries(self, job: Job) -> None:
        """An entry has all that its row shared with others."""
        run = kept(CompactRows(), job, *changes([BOB, EVE]), epoch=3, now=5.0)
        run.start(6.0, None)
        entries = run.entries()

        assert changes([BOB, EVE]) == [entry.change for entry in entries]
        assert {(job, 3, 5.0, 6.0, 1)} == {
            (each.sink, each.epoch, each.admitted_at, each.first_sent_at, each.attempts)
            for each in entries
        }


class TestInEngine:
    def test_succeed_together(self, rig: EngineRig, job: Job) -> None:
        """Rows that succeed at once are told together, and were never entries."""
        other = Job()
        rig.submit_rows(job, *changes(crowd(30)))
        rig.submit_rows(other, *changes(crowd(30, 30)))
        settlement = rig.send()
        ledger = rig.engine.ledger

        assert [] == settlement.done
        assert [(job, changes(crowd(30))), (other, changes(crowd(30, 30)))] == settlement.confirmed
        assert (60, 60, 0) == (ledger.accepted, ledger.succeeded, ledger.pending)

    def test_users_in_turns(self, rig: EngineRig, job: Job) -> None:
        """Rows of several users, however they are mixed, wait in their lanes."""
        users = ("ann", "bea", "ann", "cem", "bea", "ann")
        rows = [change(each, user) for each, user in zip(crowd(6), users, strict=True)]
        rig.submit_rows(job, *rows)

        assert {"ann": ["c0", "c2", "c5"], "bea": ["c1", "c4"], "cem": ["c3"]} == {
            request.account: names(request) for request in rig.take_all()
        }

    def test_one_conversation_twice(self, rig: EngineRig, job: Job) -> None:
        """Rows of one conversation are merged, in their order, and each has its outcome."""
        rows = (change(BOB), change(BOB, put=FAVORITE), change(BOB, text="y"))
        rig.submit_rows(job, change(EVE), *rows, change(ZOE))
        request = rig.take()
        settlement = rig.reply(request)

        assert [change(EVE), change(BOB, put=FAVORITE, text="y"), change(ZOE)] == request.changes
        assert [job] * 5 == [entry.sink for entry in settlement.done]
        assert 5 == rig.engine.ledger.succeeded

    def test_a_caller_joins(self, rig: EngineRig, job: Job) -> None:
        """A caller's change of a conversation that waits as a row is merged, and goes at once."""
        rig.engine.scheduler.readers = 1
        rig.submit_rows(job, *changes(crowd(50)))
        entry = rig.submit(crowd(50)[20], text="newer")
        request = rig.take()
        rig.reply(request)

        assert ("c20", "newer") == next(iter(texts(request).items()))
        assert entry.report().ok
        assert 51 == rig.engine.ledger.succeeded

    def test_a_row_joins(self, rig: EngineRig, job: Job) -> None:
        """A row of a conversation that waits for its backoff waits with it."""
        rig.submit_rows(job, change(BOB))
        rig.send({BOB: 50004})
        rig.submit_rows(job, change(BOB, text="newer"), change(EVE))
        meanwhile = rig.take()
        rig.reply(meanwhile)
        rig.sleep()

        assert ({"eve": "x"}, {"bob": "newer"}) == (texts(meanwhile), texts(rig.take()))

    def test_newer_rows_wait(self, rig: EngineRig, job: Job) -> None:
        """What was in flight and may still run goes again before the rows that came meanwhile."""
        rig.submit_rows(job, change(BOB, text="old"), change(EVE, text="old"))
        request = rig.take()
        rig.submit_rows(job, change(ZOE), change(BOB, text="new"))
        rig.reply(request, LOST)
        rig.sleep()
        again = rig.take()
        rig.reply(again)
        rig.submit_rows(job, change(EVE, text="new"), *changes(crowd(1)))
        others = rig.take()
        rig.reply(others)

        assert {"bob": "old", "eve": "old", "zoe": "x"} == texts(again)
        assert ({"c0": "x"}, 2.0) == (texts(others), rig.sleep())
        assert {"bob": "new", "eve": "new"} == texts(rig.take())
        assert 2 == rig.engine.ledger.retries_by_reason["connection"]

    def test_a_newer_row_wins(self, rig: EngineRig, job: Job) -> None:
        """Where all that goes again meets rows each conversation is named once."""
        rig.submit_rows(job, change(text="old"))
        request = rig.take()
        rig.submit_rows(job, change(text="new"))
        rig.reply(request, SLOW_DOWN)
        rig.sleep()
        request = rig.take()
        settlement = rig.reply(request)

        assert [change(text="new")] == request.changes
        assert [2, 1] == [entry.attempts for entry in settlement.done]

    def test_fail_with_others(self, rig: EngineRig, job: Job) -> None:
        """A request of single changes and of rows of several jobs goes again whole."""
        rig.submit(ZOE)
        rig.submit_rows(job, change(BOB))
        rig.submit_rows(Job(), change(EVE))

        assert [1.0] == rig.waits(LOST)
        assert {"zoe", "bob", "eve"} == set(names(rig.take()))

    def test_linger(self, job: Job) -> None:
        """Rows wait for others of their user, where a session is told to."""
        rig = EngineRig(linger=0.5)
        rig.submit_rows(job, change(BOB))
        rig.now = 0.25
        rig.submit_rows(job, change(EVE))

        assert (0.25, ["bob", "eve"]) == (rig.sleep(), names(rig.take()))

    def test_one_fails(self, rig: EngineRig, job: Job) -> None:
        """Of rows whose answer is not plainly good each has an outcome of its own."""
        rig.submit_rows(job, *changes([BOB, EVE, ZOE]))
        settlement = rig.send({BOB: 50001})

        assert [50001, 0, 0] == codes(*settlement.done)
        assert {(job, 1)} == {(entry.sink, entry.attempts) for entry in settlement.done}
        assert [] == settlement.confirmed

    def test_flush(self, rig: EngineRig, job: Job) -> None:
        """A flush waits for the rows from before it, and for no others."""
        rig.submit_rows(job, *changes(crowd(150)))
        ticket = rig.engine.start_flush(0.0)
        rig.submit_rows(job, *changes(crowd(50, 150)))
        settled = []
        for _ in range(2):
            rig.send()
            settled.append(rig.engine.ledger.is_settled(ticket))

        assert [False, True] == settled

    def test_withdrawn_with_their_job(self, rig: EngineRig, job: Job) -> None:
        """A job withdraws its own rows that were not sent, whether they are entries or not."""
        other = Job()
        mine = [*changes(crowd(10, 300)), change(crowd(301)[300], text="y")]
        rig.submit_rows(job, *changes(crowd(100)))
        request = rig.take()
        rig.submit_rows(other, *changes(crowd(10, 200)))
        rig.submit_rows(job, *mine)
        rig.submit_rows(job, change(ZOE, "bea"))
        rig.submit_rows(other, change(ZOE, "cem"))
        back = rig.engine.withdraw_many(job, 0.0)

        assert {*mine, change(ZOE, "bea")} == {entry.change for entry in back}
        assert ({job}, 12) == ({entry.sink for entry in back}, rig.engine.ledger.withdrawn)
        rig.reply(request)
        assert 11 == rig.engine.ledger.pending

    @pytest.mark.parametrize(("waiting", "count"), [(True, 50), (False, 150)])
    def test_end_with_the_session(
        self, rig: EngineRig, job: Job, waiting: bool, count: int
    ) -> None:
        """All rows end, those in flight too where all is to end."""
        rig.submit_rows(job, *changes(crowd(150)))
        rig.take()
        ended = (rig.engine.fail_waiting if waiting else rig.engine.fail_all)(unsent)

        assert (count, 150 - count) == (len(ended), rig.engine.ledger.pending)
        assert all(isinstance(entry.report().error, UnsentError) for entry in ended)

    def test_refused_at_once(self, rig: EngineRig, job: Job) -> None:
        """While the application is refused, rows are, too."""
        rig.submit_rows(job, change(BOB), change(EVE, "bea"))
        rig.send(HttpAnswer(404, b""))
        ended = rig.submit_rows(job, *changes(crowd(3)))

        assert changes(crowd(3)) == [entry.change for entry in ended]
        assert all(entry.sink is job and not entry.report().ok for entry in ended)
        assert (5, 5) == (rig.engine.ledger.accepted, rig.engine.ledger.failed)


class TestDeadlines:
    def test_of_what_waits(self, job: Job) -> None:
        """In an outage rows that were never sent end by the time of their own admission."""
        rig = EngineRig(deadline=5.0, backoff=lambda _: 1.0)
        rig.engine.breaker._failures = 19
        rig.submit_rows(job, *changes(crowd(100)))
        rig.send(LOST)
        rig.now = 3.0
        rig.submit_rows(job, change(BOB, "bea"))
        ended = [rig.engine.expire(now) for now in (4.9, 5.0, 7.9)]
        kept_together = [len(lane._rows) for lane in rig.engine.scheduler.lanes()]
        ended.append(rig.engine.expire(8.0))

        assert ([0, 100, 0, 1], [1]) == ([len(each) for each in ended], kept_together)
        errors = [entry.report().error for each in ended for entry in each]
        assert all(isinstance(error, DeadlineExceededError) for error in errors)

    def test_of_what_was_sent(self, job: Job) -> None:
        """A deadline runs from the first attempt, not from the admission."""
        rig = EngineRig(deadline=5.0, backoff=lambda _: 1.0)
        rig.submit_rows(job, *changes([BOB, EVE]))
        rig.now = 100.0
        request = rig.take()
        rig.now = 104.0
        again = rig.reply(request, LOST)
        rig.sleep()
        late = rig.send(LOST)

        assert (105.0, [], 2) == (rig.now, again.done, len(late.done))
        assert {2} == {entry.attempts for entry in late.done}

    @pytest.mark.parametrize("is_row", [True, False])
    def test_under_a_hold(self, job: Job, is_row: bool) -> None:
        """
        Of what came under a hold it runs from its admission, not from the probe that carries it.
        """
        rig = EngineRig(backoff=lambda _: 3.0)
        rig.engine.breaker._failures = 19
        rig.submit_rows(job, change(BOB))
        request = rig.take()
        rig.now = 1.0
        rig.reply(request, LOST)
        rig.now = 2.0
        if is_row:
            rig.submit_rows(job, change(BOB, "bea"))
        else:
            rig.submit(account="bea")
        rig.now = 4.0
        since: dict[str, float | None] = {}
        for _ in range(2):
            request = rig.take()
            since[request.account] = request.items()[0].entries[0].first_sent_at
            rig.reply(request)

        assert {"ann": 0.0, "bea": 2.0} == since
