"""CompactRows of jobs that wait together, by themselves and in the lanes."""

import json
from collections.abc import Sequence

import pytest
from sinks import Job, unsent

from chatmark.changes import MarkChange
from chatmark.conversations import Conversation
from chatmark.core.compact_rows import CompactRows, Run
from chatmark.core.engine import Engine
from chatmark.core.pending import Entry
from chatmark.core.request import Request
from chatmark.core.settlement import Settlement
from chatmark.failures import DeadlineExceededError, RefusedError, TransportError, UnsentError
from chatmark.marks import ConversationMark
from chatmark.wire.classify import classify_marks
from chatmark.wire.messages import HttpAnswer, NoAnswer, Reply

LOST = NoAnswer(TransportError("lost"), "connection")


def change(peer: str | int, account: str = "ann", text: str = "x") -> MarkChange:
    """Return a change of a conversation."""
    return MarkChange(account, Conversation.one_to_one(f"{peer}"), custom_mark=text)


def crowd(count: int, first: int = 0) -> list[MarkChange]:
    """Return changes of so many conversations."""
    return [change(number) for number in range(first, first + count)]


def answer(batch: Request, code: int = 0) -> HttpAnswer:
    """Return the answer that has a code for the first conversation and success for the others."""
    lines = [
        {
            "ContactItem": {"Type": 1, "To_Account": each.conversation.id},
            "ResultCode": 0 if place else code,
        }
        for place, each in enumerate(batch.changes)
    ]
    return HttpAnswer(
        200, json.dumps({"ActionStatus": "OK", "ErrorCode": 0, "ResultItem": lines}).encode()
    )


class Bench:
    """Engine and their time."""

    def __init__(self, deadline: float = 60.0, linger: float = 0.0, backoff: float = 1.0) -> None:
        self.now = 0.0
        self.lanes = Engine(backoff=lambda _: backoff, deadline=deadline, linger=linger)
        self.lanes.breaker.succeeded(0.0)

    def submit(self, job: Job, *changes: MarkChange) -> list[Entry]:
        """Submit rows."""
        return self.lanes.admit_many(changes, job, self.now)

    def take(self) -> Request:
        """Take the next request, which must be there."""
        batch = self.lanes.take(self.now)

        assert batch is not None

        return batch

    def reply(self, batch: Request, reply: Reply) -> Settlement:
        """Give a reply to a request."""
        return self.lanes.settle(batch, classify_marks(reply, batch.changes), self.now)


@pytest.fixture
def bench() -> Bench:
    """Engine that have nothing yet."""
    return Bench()


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


def keys_of(runs: Sequence[Run]) -> list[str]:
    """Return the keys of the conversations of rows."""
    return [change.conversation.key for run in runs for change in run.changes]


class TestRows:
    def test_come_together(self, job: Job) -> None:
        """
        CompactRows that come within a moment share their time, which is that of the last of them.
        """
        rows = CompactRows()
        first = kept(rows, job, change("a"))
        second = kept(rows, job, change("b"), now=0.25)

        assert first is second
        assert 0.25 == rows._bulk[0].admitted_at

    def test_come_together_later(self, job: Job) -> None:
        """How late it is does not matter, only how far apart they come."""
        rows = CompactRows()
        first = kept(rows, job, change("a"), now=100.0)

        assert first is kept(rows, job, change("b"), now=100.25)
        assert first is not kept(rows, job, change("c"), now=100.375)

    @pytest.mark.parametrize(
        ("other", "epoch", "now"),
        [(False, 0, 0.26), (False, 1, 0.0), (True, 0, 0.0)],
        ids=["later", "after a flush", "of another job"],
    )
    def test_come_apart(self, job: Job, other: bool, epoch: int, now: float) -> None:
        """Others have their own; the oldest counts."""
        rows = CompactRows()
        first = kept(rows, job, change("a"))
        second = kept(rows, Job() if other else job, change("b"), epoch=epoch, now=now)

        assert first is not second
        assert (2, 0.0) == (len(rows), rows._bulk[0].admitted_at)

    def test_stay_short(self, job: Job) -> None:
        """However many come at once, they are kept in parts that are cheap to cut."""
        rows = CompactRows()
        first = kept(rows, job, *crowd(1000))

        assert first is not kept(rows, job, change("b"))

    def test_are_taken_in_their_order(self, job: Job) -> None:
        """The oldest go first, cut where the limit is."""
        rows = CompactRows()
        kept(rows, job, *crowd(3))
        kept(rows, job, *crowd(3, 3), epoch=1)
        taken = [rows.take(limit, urgent=False) for limit in (2, 3, 1, 1)]

        assert [["0", "1"], ["2", "3", "4"], ["5"], []] == [keys_of(each) for each in taken]
        assert [[0], [0, 1], [1]] == [[stretch.epoch for stretch in each] for each in taken[:3]]
        assert {(job, 0.0)} == {(each.sink, each.admitted_at) for some in taken for each in some}
        assert not rows.keys

    def test_become_entries(self, job: Job) -> None:
        """An entry has all that its row shared with others."""
        run = kept(CompactRows(), job, *crowd(2), epoch=3, now=5.0)
        run.start(6.0, None)
        entries = run.entries()

        assert crowd(2) == [entry.change for entry in entries]
        assert {(job, 3, 5.0, 6.0, 1)} == {
            (each.sink, each.epoch, each.admitted_at, each.first_sent_at, each.attempts)
            for each in entries
        }


class TestInLanes:
    def test_succeed_together(self, bench: Bench, job: Job) -> None:
        """CompactRows that succeed at once are told together, and were never entries."""
        other = Job()
        bench.submit(job, *crowd(30))
        bench.submit(other, *crowd(30, 30))
        batch = bench.take()
        settled = bench.reply(batch, answer(batch))

        assert [] == settled.done
        assert [(job, crowd(30)), (other, crowd(30, 30))] == settled.confirmed
        assert (60, 60, 0) == (
            bench.lanes.ledger.accepted,
            bench.lanes.ledger.succeeded,
            bench.lanes.ledger.pending,
        )

    def test_users_in_turns(self, bench: Bench, job: Job) -> None:
        """CompactRows of several users, however they are mixed, wait in their lanes."""
        users = ("ann", "bea", "ann", "cem", "bea", "ann")
        bench.submit(job, *(change(place, user) for place, user in enumerate(users)))
        sent = {}
        while (batch := bench.lanes.take(0.0)) is not None:
            sent[batch.account] = [each.conversation.id for each in batch.changes]

        assert {"ann": ["0", "2", "5"], "bea": ["1", "4"], "cem": ["3"]} == sent

    def test_one_conversation_twice(self, bench: Bench, job: Job) -> None:
        """CompactRows of one conversation are merged, in their order, and each has its outcome."""
        favorite = MarkChange("ann", Conversation.one_to_one("b"), ConversationMark.FAVORITE)
        bench.submit(job, change("a"), change("b"), favorite, change("b", text="y"), change("c"))
        batch = bench.take()
        settled = bench.reply(batch, answer(batch))

        assert ["a", "b", "c"] == [each.conversation.id for each in batch.changes]
        assert ("y", ConversationMark.FAVORITE) == (
            batch.changes[1].custom_mark,
            batch.changes[1].set_mark,
        )
        assert [job] * 5 == [entry.sink for entry in settled.done]
        assert 5 == bench.lanes.ledger.succeeded

    def test_a_caller_joins(self, bench: Bench, job: Job) -> None:
        """
        Who changes a conversation that waits as a row is merged over it, and not kept waiting.
        """
        bench.lanes.scheduler.readers = 1
        bench.submit(job, *crowd(50))
        handle = Entry(change(20, text="newer"))
        bench.lanes.admit([handle], 0.0)
        batch = bench.take()

        assert ("20", "newer") == (batch.changes[0].conversation.id, batch.changes[0].custom_mark)
        bench.reply(batch, answer(batch))
        assert handle.report().ok
        assert 51 == bench.lanes.ledger.succeeded

    def test_a_row_joins(self, bench: Bench, job: Job) -> None:
        """A row of a conversation that waits for its backoff waits with it."""
        bench.submit(job, change("a"))
        batch = bench.take()
        bench.reply(batch, answer(batch, 50004))
        bench.submit(job, change("a", text="newer"), change("b"))

        batch = bench.take()
        bench.reply(batch, answer(batch))
        bench.now = 1.0
        again = bench.take()

        assert ["b"] == [each.conversation.id for each in batch.changes]
        assert ["newer"] == [each.custom_mark for each in again.changes]

    def test_newer_rows_win(self, bench: Bench, job: Job) -> None:
        """What was in flight and may still run goes again before the rows that came meanwhile."""
        bench.submit(job, change("a", text="old"), change("b", text="old"))
        batch = bench.take()
        bench.submit(job, change("c"), change("a", text="new"))
        bench.reply(batch, LOST)
        bench.now = 1.0
        batch = bench.take()
        again = {each.conversation.id: each.custom_mark for each in batch.changes}
        bench.reply(batch, answer(batch))
        bench.submit(job, change("b", text="new"), change("d"))

        assert {"a": "old", "b": "old", "c": "x"} == again
        batch = bench.take()
        bench.reply(batch, answer(batch))

        assert [change("d")] == batch.changes

        bench.now = 3.0
        again = {each.conversation.id: each.custom_mark for each in bench.take().changes}

        assert {"a": "new", "b": "new"} == again
        assert 2 == bench.lanes.ledger.retries_by_reason["connection"]

    def test_a_newer_row_wins(self, bench: Bench, job: Job) -> None:
        """So it is where all that goes again meets rows: each conversation is named once."""
        bench.submit(job, change("a", text="old"))
        batch = bench.take()
        bench.submit(job, change("a", text="new"))
        bench.reply(batch, HttpAnswer(429, b""))
        bench.now = 1.0
        batch = bench.take()
        settled = bench.reply(batch, answer(batch))

        assert [change("a", text="new")] == batch.changes
        assert [2, 1] == [entry.attempts for entry in settled.done]

    def test_fail_with_others(self, bench: Bench, job: Job) -> None:
        """A request of single changes and of rows of several jobs goes again whole."""
        bench.lanes.admit([Entry(change("single"))], 0.0)
        bench.submit(job, change("a"))
        bench.submit(Job(), change("b"))
        bench.reply(bench.take(), LOST)
        bench.now = 1.0

        assert {"single", "a", "b"} == {each.conversation.id for each in bench.take().changes}

    def test_linger(self, job: Job) -> None:
        """CompactRows wait for others of their user, where a session is told to."""
        bench = Bench(linger=0.5)
        bench.submit(job, change("a"))
        bench.now = 0.25
        bench.submit(job, change("b"))
        early = bench.lanes.has_ready(0.25)

        assert (False, 0.5, True) == (early, bench.lanes.wake_at(0.25), bench.lanes.has_ready(0.5))

    def test_one_fails(self, bench: Bench, job: Job) -> None:
        """Of rows whose answer is not plainly good each has a fate of its own."""
        bench.submit(job, *crowd(3))
        batch = bench.take()
        settled = bench.reply(batch, answer(batch, 50001))

        assert [False, True, True] == [entry.report().ok for entry in settled.done]
        assert {(job, 1)} == {(entry.sink, entry.attempts) for entry in settled.done}
        assert [] == settled.confirmed
        error = settled.done[0].report().error
        assert isinstance(error, RefusedError)
        assert 50001 == error.code

    def test_flush(self, bench: Bench, job: Job) -> None:
        """A flush waits for the rows from before it, and for no others."""
        bench.submit(job, *crowd(150))
        ticket = bench.lanes.start_flush(0.0)
        bench.submit(job, *crowd(50, 150))
        ledger = bench.lanes.ledger
        seen = []
        for _ in range(2):
            batch = bench.take()
            bench.reply(batch, answer(batch))
            seen.append(ledger.is_settled(ticket))

        assert [False, True] == seen

    def test_withdrawn_with_their_job(self, bench: Bench, job: Job) -> None:
        """
        A job takes back its own rows that were not sent, whether they are entries by now or not.
        """
        other = Job()
        bench.submit(job, *crowd(100))
        batch = bench.take()
        bench.submit(other, *crowd(10, 200))
        bench.submit(job, *crowd(10, 300), change(300, text="y"))
        bench.submit(job, change("z", "bea"))
        bench.submit(other, change("z", "cem"))
        back = bench.lanes.withdraw_many(job, 0.0)

        assert {*crowd(10, 300), change(300, text="y"), change("z", "bea")} == {
            entry.change for entry in back
        }
        assert {job} == {entry.sink for entry in back}
        assert 12 == bench.lanes.ledger.withdrawn
        bench.reply(batch, answer(batch))
        assert 11 == bench.lanes.ledger.pending

    @pytest.mark.parametrize("waiting", [True, False])
    def test_end_with_the_session(self, bench: Bench, job: Job, waiting: bool) -> None:
        """All rows end, those in flight too where all is to end."""
        bench.submit(job, *crowd(150))
        bench.take()
        end = bench.lanes.fail_waiting if waiting else bench.lanes.fail_all
        ended = end(unsent)

        assert (50 if waiting else 150) == len(ended)
        assert (100 if waiting else 0) == bench.lanes.ledger.pending
        assert all(isinstance(entry.report().error, UnsentError) for entry in ended)

    def test_refused_at_once(self, bench: Bench, job: Job) -> None:
        """While the application is refused, rows are, too."""
        bench.submit(job, change("a"), change("b", "bea"))
        batch = bench.take()
        bench.reply(batch, HttpAnswer(404, b""))
        ended = bench.submit(job, *crowd(3))

        assert crowd(3) == [entry.change for entry in ended]
        assert all(entry.sink is job and not entry.report().ok for entry in ended)
        assert (5, 5) == (bench.lanes.ledger.accepted, bench.lanes.ledger.failed)

    def test_deadline_of_what_waits(self, job: Job) -> None:
        """In an outage rows that were never sent end by the time of their own admission."""
        bench = Bench(deadline=5.0)
        bench.lanes.breaker._failures = 19
        bench.submit(job, *crowd(100))
        bench.reply(bench.take(), LOST)
        bench.now = 3.0
        bench.submit(job, change("late", "bea"))
        early = bench.lanes.expire(4.9)
        kept_together = sum(len(lane._rows) for lane in bench.lanes.scheduler.lanes())
        first = bench.lanes.expire(5.0)
        nothing = bench.lanes.expire(7.9)
        last = bench.lanes.expire(8.0)

        assert ([], 100, [], 1) == (early, len(first), nothing, len(last))
        assert 1 == kept_together
        assert all(
            isinstance(entry.report().error, DeadlineExceededError) for entry in (*first, *last)
        )

    def test_deadline_of_what_was_sent(self, job: Job) -> None:
        """A deadline runs from the first attempt, not from the admission."""
        bench = Bench(deadline=5.0)
        bench.submit(job, *crowd(2))
        bench.now = 100.0
        batch = bench.take()
        bench.now = 104.0
        again = bench.reply(batch, LOST)
        bench.now = 105.0
        batch = bench.take()
        late = bench.reply(batch, LOST)

        assert (0, 2) == (len(again.done), len(late.done))
        assert {2} == {entry.attempts for entry in late.done}

    @pytest.mark.parametrize("is_row", [True, False])
    def test_deadline_under_a_hold(self, job: Job, is_row: bool) -> None:
        """
        Of what came under a hold it runs from its admission, not from the probe that carries it.
        """
        bench = Bench(backoff=3.0)
        bench.lanes.breaker._failures = 19
        bench.submit(job, change("a"))
        batch = bench.take()
        bench.now = 1.0
        bench.reply(batch, LOST)
        bench.now = 2.0
        if is_row:
            bench.submit(job, change("b", "bea"))
        else:
            bench.lanes.admit([Entry(change("b", "bea"))], 2.0)
        bench.now = 4.0
        since: dict[str, float | None] = {}
        while len(since) < 2:
            batch = bench.take()
            for entry in (entry for item in batch.items() for entry in item.entries):
                since[entry.change.from_account] = entry.first_sent_at
            bench.reply(batch, answer(batch))

        assert {"ann": 0.0, "bea": 2.0} == since
