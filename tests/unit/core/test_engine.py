import functools
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import pytest
from sinks import Job, unsent

from chatmark.changes import MarkChange
from chatmark.conversations import Conversation, ConversationType
from chatmark.core.engine import Engine
from chatmark.core.pending import WITHDRAWN, Entry, Turn
from chatmark.core.request import Request
from chatmark.core.settlement import Settlement
from chatmark.failures import (
    AnswerError,
    ApplicationRefusedError,
    DeadlineExceededError,
    ItemRefusedError,
    OutcomeUnknownError,
    TransportError,
    UnsentError,
)
from chatmark.marks import ConversationMark
from chatmark.wire.classify import classify, classify_marks
from chatmark.wire.messages import HttpAnswer, MarkAnswer, NoAnswer, Reply

BOB: Final = Conversation.one_to_one("bob")
EVE: Final = Conversation.one_to_one("eve")
ZOE: Final = Conversation.one_to_one("zoe")
FAVORITE, HIDDEN = ConversationMark.FAVORITE, ConversationMark.HIDDEN

LOST: Final = NoAnswer(TransportError("lost"), "connection")
UNSENT: Final = NoAnswer(TransportError("refused"), "connection", sent=False)
DROPPED: Final = NoAnswer(TransportError("dropped"), "dropped", dropped=True)
SLOW_DOWN: Final = HttpAnswer(429, b"")


def crowd(count: int) -> list[Conversation]:
    """Return so many conversations."""
    return [Conversation.one_to_one(f"c{number}") for number in range(count)]


def answer(
    code: int = 0,
    lines: Iterable[tuple[Conversation, int]] = (),
    *,
    status: str | None = None,
) -> HttpAnswer:
    """Return an answer of the server with these lines."""
    document: dict[str, Any] = {
        "ActionStatus": status or ("FAIL" if code else "OK"),
        "ErrorCode": code,
        "ErrorInfo": "",
        "ResultItem": [
            {
                "ResultCode": line,
                "ContactItem": {
                    "Type": int(to.type),
                    "To_Account" if to.type is ConversationType.ONE_TO_ONE else "ToGroupId": to.id,
                },
            }
            for to, line in lines
        ],
    }
    return HttpAnswer(200, json.dumps(document).encode())


def doubling(retry: int) -> float:
    """Return the ceilings themselves, without jitter."""
    return min(8.0, 0.25 * 2.0 ** (retry - 1))


class Bench:
    """Engine with a clock that is set by hand; the server has already shown that it serves."""

    def __init__(
        self,
        *,
        backoff: Callable[[int], float] = doubling,
        deadline: float = 60.0,
        linger: float = 0.0,
    ) -> None:
        self.lanes = Engine(backoff=backoff, deadline=deadline, linger=linger, max_in_flight=1000)
        self.lanes.breaker.succeeded(0.0)
        self.now = 0.0

    def submit(
        self,
        conversation: Conversation = BOB,
        account: str = "ann",
        *,
        custom: str | None = None,
        put: ConversationMark | None = None,
        clear: ConversationMark | None = None,
        bulk: bool = False,
    ) -> Entry:
        """Admit a change: of the custom mark, where nothing else is said."""
        if custom is None and put is None and clear is None:
            custom = "x"
        nothing = ConversationMark(0)
        change = MarkChange(account, conversation, put or nothing, clear or nothing, custom)
        entry = Entry(change, Job() if bulk else None)
        self.lanes.admit([entry], self.now)
        return entry

    def submit_all(
        self, conversations: Iterable[Conversation], account: str = "ann", *, bulk: bool = False
    ) -> list[Entry]:
        """Admit a change of each."""
        return [self.submit(each, account, bulk=bulk) for each in conversations]

    def take(self) -> Request:
        """Take the next request, which must be there."""
        batch = self.lanes.take(self.now)

        assert batch is not None

        return batch

    def take_all(self) -> list[Request]:
        """Take all requests that may be sent now."""
        batches = []
        while (batch := self.lanes.take(self.now)) is not None:
            batches.append(batch)
        return batches

    def reply(self, batch: Request, reply: Reply) -> Settlement:
        """Give a reply to a request, which nothing of somebody's own may disturb."""
        settled = self.lanes.settle(batch, classify(reply, MarkAnswer), self.now)

        assert settled.error is None

        return settled

    def lines(self, batch: Request, codes: Mapping[Conversation, int | None] = {}) -> Settlement:
        """Answer with a line for each item, of success but for *codes*, where None is no line."""
        lines = [(item.conversation, codes.get(item.conversation, 0)) for item in batch.items()]
        return self.reply(batch, answer(0, [(to, code) for to, code in lines if code is not None]))

    def sleep(self) -> None:
        """Sleep until the lanes say."""
        while not self.lanes.has_ready(self.now):
            wake = self.lanes.wake_at(self.now)

            assert wake is not None

            self.now = wake

    def run(self, serve: Callable[[Request], Reply | None]) -> list[int]:
        """Send until nothing is pending, None for success; return the sizes of the requests."""
        sizes = []
        while self.lanes.ledger.pending:
            self.sleep()
            batch = self.take()
            sizes.append(len(batch.changes))
            reply = serve(batch)
            if reply is None:
                self.lines(batch)
            else:
                self.reply(batch, reply)
        return sizes


def names(batch: Request) -> list[str]:
    """Return whom a request names."""
    return [each.conversation.id for each in batch.changes]


def error_of(entry: Entry) -> BaseException | None:
    """Return what became of a change, which must have an outcome."""
    assert entry.outcome is not None

    return entry.outcome.error


@pytest.fixture
def bench() -> Bench:
    """Engine that do not linger."""
    return Bench()


class TestSizes:
    """How many items a request has."""

    @pytest.mark.parametrize(
        ("count", "sizes"),
        [
            (1, [1]),
            (99, [99]),
            (100, [100]),
            (101, [100, 1]),
            (250, [100, 100, 50]),
            (10_000, [100] * 100),
        ],
    )
    def test_fewest_requests(self, bench: Bench, count: int, sizes: list[int]) -> None:
        """Changes of one user go in as few requests as the limit of 100 allows."""
        entries = bench.submit_all(crowd(count))

        assert sizes == bench.run(lambda _: None)
        assert all(entry.report().ok for entry in entries)

    def test_one_in_flight(self, bench: Bench) -> None:
        """A user has one request in flight, however much waits."""
        bench.submit_all(crowd(250))

        assert 1 == len(bench.take_all())

    def test_users_run_in_parallel(self, bench: Bench) -> None:
        """The requests of different users do not wait for each other."""
        for number in range(30):
            bench.submit(account=f"user{number}")

        assert 30 == len(bench.take_all())

    def test_limit_holds_after_a_retry(self, bench: Bench) -> None:
        """What is put back does not make a request larger than 100."""
        bench.submit_all(crowd(250))
        batch = bench.take()
        bench.submit_all(crowd(250))
        bench.reply(batch, DROPPED)

        assert [100, 100, 50] == bench.run(lambda _: None)

    def test_older_lanes_first(self, bench: Bench) -> None:
        """Of lanes that became ready together the one that was there first goes first."""
        for account in ("ann", "bea"):
            bench.submit(BOB, account, bulk=True)
        bench.lanes.breaker.slow_down(bench.now, bench.now, 0.0)
        entries = [
            Entry(MarkChange(account, each, custom_mark="x"), Job())
            for account in ("cem", "bea", "ann")
            for each in crowd(100)
        ]

        assert [] == bench.lanes.admit(entries, bench.now)

        bench.lanes.breaker.succeeded(bench.now)

        assert ["ann", "bea", "cem"] == [batch.account for batch in bench.take_all()]

    def test_order_of_submission(self, bench: Bench) -> None:
        """Conversations go in the order in which they were first named."""
        bench.submit_all([EVE, BOB, ZOE])

        assert ["eve", "bob", "zoe"] == names(bench.take())


class TestMerging:
    """Changes of one conversation that wait together."""

    def test_hot_conversation(self, bench: Bench) -> None:
        """
        Ten thousand changes of one conversation are one item, and each has a result of its own.
        """
        entries = [bench.submit(custom=str(number)) for number in range(10_000)]
        batch = bench.take()
        bench.lines(batch)

        assert ["9999"] == [change.custom_mark for change in batch.changes]
        assert all(entry.report().ok for entry in entries)
        assert 0 == bench.lanes.ledger.pending

    def test_newest_wins_bit_by_bit(self, bench: Bench) -> None:
        """A bit goes where the newest change that names it sends it."""
        bench.submit(put=FAVORITE | HIDDEN)
        bench.submit(clear=FAVORITE)
        batch = bench.take()

        assert [MarkChange("ann", BOB, HIDDEN, FAVORITE)] == batch.changes

    def test_user_and_group_of_one_name(self, bench: Bench) -> None:
        """User a and group a are different items, with verdicts of their own."""
        user, group = Conversation.one_to_one("a"), Conversation.group("a")
        first, second = bench.submit(user), bench.submit(group)
        batch = bench.take()
        bench.lines(batch, {group: 50001})

        assert [user, group] == [each.conversation for each in batch.changes]
        assert first.report().ok
        assert 50001 == second.report().code

    def test_users_are_apart(self, bench: Bench) -> None:
        """The same peer of two users is two conversations."""
        bench.submit(account="ann")
        bench.submit(account="bea")

        assert {"ann", "bea"} == {batch.account for batch in bench.take_all()}

    def test_nothing_joins_what_is_in_flight(self, bench: Bench) -> None:
        """A change that comes while an older one is in flight goes in the next request."""
        first = bench.submit(custom="1")
        batch = bench.take()
        second = bench.submit(custom="2")
        bench.lines(batch)

        assert first.report().ok
        assert second.outcome is None
        assert ["2"] == [change.custom_mark for change in bench.take().changes]

    def test_all_fail_together(self, bench: Bench) -> None:
        """When an item is refused, every change that was merged into it is told."""
        entries = [bench.submit(custom=str(number)) for number in range(3)]
        bench.lines(bench.take(), {BOB: 50001})

        assert [50001] * 3 == [entry.report().code for entry in entries]


class TestOrder:
    """Older and newer changes of one conversation, whatever fails between."""

    def test_failed_change_goes_under_the_newer(self, bench: Bench) -> None:
        """A change whose request certainly failed is merged under the one that came meanwhile."""
        bench.submit(put=FAVORITE | HIDDEN)
        batch = bench.take()
        bench.submit(clear=FAVORITE, custom="new")
        bench.reply(batch, UNSENT)
        bench.sleep()

        assert [MarkChange("ann", BOB, HIDDEN, FAVORITE, "new")] == bench.take().changes

    def test_failed_item_goes_under_the_newer(self, bench: Bench) -> None:
        """So is one whose line said "again", although others of its request succeeded."""
        bench.submit(custom="old")
        other = bench.submit(EVE)
        batch = bench.take()
        bench.submit(custom="new")
        bench.lines(batch, {BOB: 50004})
        bench.sleep()
        again = bench.take()

        assert other.report().ok
        assert ["new"] == [change.custom_mark for change in again.changes]

    def test_newer_joins_what_waits_for_a_backoff(self, bench: Bench) -> None:
        """A change cannot overtake an older one that waits to be sent again: it joins it."""
        first = bench.submit(custom="old")
        bench.lines(bench.take(), {BOB: 50005})
        second = bench.submit(custom="new")

        assert bench.lanes.take(bench.now) is None

        bench.now = 0.25
        batch = bench.take()
        bench.lines(batch)

        assert ["new"] == [change.custom_mark for change in batch.changes]
        assert (True, 2) == (first.report().ok, first.attempts)
        assert (True, 1) == (second.report().ok, second.attempts)

    def test_lane_goes_on_beside_a_backoff(self, bench: Bench) -> None:
        """Other conversations of the user do not wait for one item's backoff."""
        bench.submit()
        bench.lines(bench.take(), {BOB: 50004})
        bench.submit(EVE)

        assert ["eve"] == names(bench.take())

    def test_lost_answer(self, bench: Bench) -> None:
        """
        While a request without an answer may run, the same change goes again, and nothing newer.
        """
        bench.submit(custom="1")
        batch = bench.take()
        newer = bench.submit(custom="2")
        bench.reply(batch, DROPPED)
        again = bench.take()
        bench.lines(again)

        assert ["1"] == [change.custom_mark for change in again.changes]
        assert bench.lanes.take(bench.now) is None
        assert 3.0 == bench.lanes.wake_at(bench.now)

        last = bench.submit(custom="3")
        bench.now = 3.0
        batch = bench.take()
        bench.lines(batch)

        assert ["3"] == [change.custom_mark for change in batch.changes]
        assert newer.report().ok
        assert last.report().ok

    def test_doubt_outlives_the_change(self, bench: Bench) -> None:
        """A change that is submitted when the one in doubt has ended waits as well."""
        bench.submit(custom="1")
        bench.reply(bench.take(), DROPPED)
        bench.lines(bench.take())
        bench.now = 2.9
        bench.submit(custom="2")

        assert bench.lanes.take(bench.now) is None

        bench.now = 3.0

        assert ["2"] == [change.custom_mark for change in bench.take().changes]

    def test_doubt_is_of_one_conversation(self, bench: Bench) -> None:
        """Other conversations of the user go on."""
        bench.submit(custom="1")
        batch = bench.take()
        bench.submit(custom="2")
        bench.submit(EVE)
        bench.reply(batch, DROPPED)

        assert {"bob": "1", "eve": "x"} == {
            change.conversation.id: change.custom_mark for change in bench.take().changes
        }

    def test_same_change_again(self, bench: Bench) -> None:
        """A caller that asks for the very change that is in doubt need not wait."""
        bench.submit(custom="1")
        bench.reply(bench.take(), DROPPED)
        bench.lines(bench.take())
        again = bench.submit(custom="1")
        bench.lines(bench.take())

        assert again.report().ok

    def test_doubt_is_over(self, bench: Bench) -> None:
        """A lane whose last doubt is over is forgotten."""
        bench.submit(custom="1")
        bench.reply(bench.take(), DROPPED)
        bench.lines(bench.take())
        bench.now = 3.0

        assert not bench.lanes.has_ready(bench.now)
        assert [] == bench.lanes.scheduler.lanes()

    def test_retry_goes_first(self, bench: Bench) -> None:
        """What was put back goes before what came later, in its old order."""
        bench.submit_all([ZOE, EVE])
        batch = bench.take()
        bench.submit(BOB)
        bench.reply(batch, DROPPED)

        assert ["zoe", "eve", "bob"] == names(bench.take())

    def test_success_is_final(self, bench: Bench) -> None:
        """Of a request with one fault only that item is sent again."""
        bench.submit_all(crowd(100))
        bench.lines(bench.take(), {crowd(100)[42]: 50004})
        bench.sleep()

        assert ["c42"] == names(bench.take())

    def test_upgraded_row_is_not_sent_early(self, bench: Bench) -> None:
        """A bulk job's row that a caller joined leaves no trace that would skip its backoff."""
        bench.submit(BOB, bulk=True)
        bench.submit(BOB)
        bench.submit_all(crowd(100))
        bench.lines(bench.take(), {BOB: 50004})
        bench.submit(EVE, bulk=True)

        assert ["c99", "eve"] == names(bench.take())
        [lane] = bench.lanes.scheduler.lanes()

        assert [BOB] == [item.conversation for item in lane.items()]

    def test_backoffs_end_in_their_order(self) -> None:
        """Of two items that wait, the one with the shorter wait goes first."""
        waits = iter([8.0, 1.0])
        bench = Bench(backoff=lambda _: next(waits))
        for each in (BOB, EVE):
            bench.submit(each)
            bench.lines(bench.take(), {each: 50004})
        bench.sleep()

        assert (1.0, ["eve"]) == (bench.now, names(bench.take()))


class TestTurns:
    """Calls that take their turn among the marks of a user."""

    @staticmethod
    def queue(bench: Bench, begun: list[Turn]) -> Turn:
        """Queue a turn that notes when it begins."""
        turn = Turn("ann", lambda: begun.append(turn))
        bench.lanes.queue(turn, bench.now)
        return turn

    def test_between_marks(self, bench: Bench) -> None:
        """A turn waits for retries of what came before; nothing joins that, or overtakes."""
        begun: list[Turn] = []
        bench.submit(BOB, custom="before")
        turn = self.queue(bench, begun)
        bench.submit(BOB, custom="behind")
        bench.lines(bench.take(), {BOB: 50004})
        waiting = list(begun)
        bench.sleep()
        again = bench.take()
        bench.lines(again)

        assert ([], [turn], "before") == (waiting, begun, again.changes[0].custom_mark)
        assert bench.take_all() == []
        bench.lanes.end_turn(turn, bench.now)
        assert ["behind"] == [each.custom_mark for each in bench.take().changes]

    def test_of_an_idle_user(self, bench: Bench) -> None:
        """A turn of a user with nothing to do begins at once, and leaves nothing behind."""
        begun: list[Turn] = []
        turn = self.queue(bench, begun)
        bench.lanes.end_turn(turn, bench.now)

        assert ([turn], []) == (begun, bench.lanes.scheduler.lanes())

    def test_doubts(self, bench: Bench) -> None:
        """A turn begins when no request before it may run; what it left may run as long."""
        begun: list[Turn] = []
        bench.submit(BOB)
        bench.reply(bench.take(), DROPPED)
        bench.lines(bench.take())
        turn = self.queue(bench, begun)
        bench.submit(EVE)
        early = list(begun)
        bench.now = bench.lanes.wake_at(bench.now) or math.nan
        bench.lanes.has_ready(bench.now)
        began_at = bench.now
        turn.may_run_until = began_at + 3.0
        bench.lanes.end_turn(turn, bench.now)
        bench.sleep()

        assert ([], [turn], 3.0, 6.0) == (early, begun, began_at, bench.now)
        assert [EVE] == [each.conversation for each in bench.take().changes]

    def test_rows_before_it(self, bench: Bench) -> None:
        """Rows of a job that still reads do not wait for more when a turn waits for them."""
        bench.lanes.scheduler.readers = 1
        bench.submit(BOB, bulk=True)
        before = bench.lanes.has_ready(bench.now)
        self.queue(bench, [])

        assert (False, True) == (before, bench.lanes.has_ready(bench.now))

    def test_given_up(self, bench: Bench) -> None:
        """A turn that is given up before it begins lets the rest go on in order."""
        begun: list[Turn] = []
        bench.submit(BOB)
        batch = bench.take()
        first, second = self.queue(bench, begun), self.queue(bench, begun)
        bench.submit(BOB, custom="behind")
        bench.lanes.end_turn(first, bench.now)
        bench.lines(batch)

        assert ([second], []) == (begun, bench.take_all())
        bench.lanes.end_turn(second, bench.now)
        assert 1 == len(bench.take().changes)

    def test_behind(self, bench: Bench) -> None:
        """Changes behind a turn are withdrawn, expire and are given up like others."""
        begun: list[Turn] = []
        turn = self.queue(bench, begun)
        gone = bench.submit(BOB)
        row = bench.submit(EVE, bulk=True)
        bench.lanes.admit_many([MarkChange("ann", ZOE, FAVORITE)], Job(), bench.now)

        assert bench.lanes.withdraw(gone, bench.now)
        assert [row] == bench.lanes.withdraw_many(row.sink or Job(), bench.now)
        assert 1 == len(bench.lanes.fail_waiting(unsent))
        bench.lanes.end_turn(turn, bench.now)
        assert ([], 0) == (bench.take_all(), bench.lanes.ledger.pending)

    def test_behind_in_an_outage(self, bench: Bench) -> None:
        """A change behind a turn has its deadline in an outage, though it is not sent."""
        self.queue(bench, [])
        late = bench.submit(BOB)
        bench.lanes.breaker.failing_since = 0.0

        assert [late] == bench.lanes.expire(61.0)

    @pytest.mark.parametrize("seed", range(20))
    def test_at_random(self, seed: int) -> None:
        """Whatever fails, requests and turns of a user come in the order of their admission."""
        rng, bench = random.Random(seed), Bench(linger=seed % 2 * 0.5)
        steps: list[int] = []
        turns: dict[int, Turn] = {}
        for number in range(60):
            if rng.random() < 0.25:
                turns[number] = Turn("ann", functools.partial(steps.append, number))
                bench.lanes.queue(turns[number], bench.now)
            else:
                to = rng.choice([BOB, EVE, ZOE])
                bench.submit(to, custom=f"{number}", bulk=rng.random() < 0.3)
        while bench.lanes.ledger.pending or any(n not in steps for n in turns):
            running = [t for t in turns.values() if t.has_begun and t.ends_at == math.inf]
            if running:
                (turn,) = running
                assert not bench.take_all()
                turn.may_run_until = bench.now + rng.choice([-math.inf, 3.0])
                bench.lanes.end_turn(turn, bench.now)
            elif bench.lanes.has_ready(bench.now):
                batch = bench.take()
                steps += [int(change.custom_mark or "") for change in batch.changes]
                codes = {c.conversation: rng.choice([0, 0, 50004, None]) for c in batch.changes}
                if rng.random() < 0.2:
                    bench.reply(batch, DROPPED)
                else:
                    bench.lines(batch, codes)
            elif not any(t.has_begun and t.ends_at == math.inf for t in turns.values()):
                wake = bench.lanes.wake_at(bench.now)
                assert wake is not None
                bench.now = wake

        for at, step in enumerate(steps):
            if step in turns:
                assert max(steps[: at + 1]) == step == min(steps[at:])


class TestSplit:
    """Requests that are refused for their size or for one of their items."""

    def test_too_many_items(self, bench: Bench) -> None:
        """51006 halves the requests until they fit, and loses and doubles nothing."""
        entries = bench.submit_all(crowd(250))
        sent: Counter[Conversation] = Counter()

        def serve(batch: Request) -> Reply | None:
            if len(batch.changes) > 30:
                return answer(51006)
            sent.update(each.conversation for each in batch.changes)
            return None

        sizes = bench.run(serve)

        assert [100, 50, 25] == sizes[:3]
        assert {25} == set(sizes[3:])
        assert Counter(crowd(250)) == sent
        assert all(entry.report().ok for entry in entries)

    def test_too_many_items_for_all(self, bench: Bench) -> None:
        """What one user's lane learned of the size holds for the others."""
        bench.submit_all(crowd(100))
        bench.reply(bench.take(), answer(51006))
        bench.submit_all(crowd(100), "bea")

        assert {50} == {len(batch.changes) for batch in bench.take_all()}

    def test_more_is_tried_again_later(self) -> None:
        """
        A server that took fewer for once is asked for a hundred again after a hundred requests.
        """
        bench = Bench()
        bench.submit_all(crowd(100))
        bench.reply(bench.take(), answer(51006))
        sizes = bench.run(lambda _: None)
        for _ in range(110):
            bench.submit_all(crowd(100))
            sizes += bench.run(lambda _: None)

        assert 50 == max(sizes[:99])
        assert [100] * 50 == sizes[-50:]

    def test_more_is_tried_step_by_step(self, bench: Bench) -> None:
        """Each doubling comes after a hundred requests of the size before it."""
        bench.submit_all(crowd(7700))
        for _ in range(2):
            bench.reply(bench.take(), answer(51006))

        assert [25] * 100 + [50] * 100 + [100] * 2 == bench.run(lambda _: None)

    def test_old_news_of_the_size(self, bench: Bench) -> None:
        """A refusal that tells what is known already does not begin the hundred requests anew."""
        bench.submit_all(crowd(6000))
        bench.submit_all(crowd(100), "bea")
        first, second = bench.take_all()
        bench.reply(first, answer(51006))
        for _ in range(50):
            bench.lines(bench.take())
        bench.reply(second, answer(51006))

        assert [50] * 50 + [100] == bench.run(lambda _: None)[:51]

    def test_rows_that_fill_a_smaller_request(self, bench: Bench) -> None:
        """A bulk job's lane that is full by the new size goes without waiting for more rows."""
        bench.lanes.scheduler.readers = 1
        bench.submit_all(crowd(60), "bea", bulk=True)
        bench.submit_all(crowd(100), bulk=True)
        batch = bench.take()

        assert bench.lanes.take(bench.now) is None

        bench.reply(batch, answer(51006))

        assert {"ann", "bea"} == {batch.account for batch in bench.take_all()}

    def test_poisonous_item(self, bench: Bench) -> None:
        """50002 isolates the one item at fault; all others succeed, in few requests."""
        poison = crowd(100)[37]
        entries = bench.submit_all(crowd(100))
        sizes = bench.run(
            lambda batch: answer(50002) if poison.id in names(batch) else None,
        )

        assert [50002] == [entry.report().code for entry in entries if not entry.report().ok]
        assert poison == next(e.change.conversation for e in entries if not e.report().ok)
        assert 18 >= len(sizes)

    def test_single_item(self, bench: Bench) -> None:
        """An item that is refused alone is not sent again."""
        entry = bench.submit()
        bench.reply(bench.take(), answer(51006))

        assert 51006 == entry.report().code
        assert not bench.lanes.has_ready(bench.now)

    def test_recovery(self, bench: Bench) -> None:
        """After a poisonous item requests grow again."""
        bench.submit_all(crowd(2))
        bench.run(lambda batch: answer(50002) if "c0" in names(batch) else None)
        bench.submit_all(crowd(1000))
        sizes = bench.run(lambda _: None)

        assert 100 == sizes[-2]
        assert 16 >= len(sizes)

    def test_merged_with_newer(self, bench: Bench) -> None:
        """Halves that wait are joined by newer changes as any other item."""
        bench.submit_all([BOB, EVE])
        batch = bench.take()
        bench.submit(EVE, custom="new")
        bench.reply(batch, answer(50002))
        bench.lines(bench.take())

        assert ["new"] == [change.custom_mark for change in bench.take().changes]


class TestLines:
    """What the lines of an answer mean."""

    def test_confirmed(self, bench: Bench) -> None:
        """A request all of whose items were confirmed is settled whole, merged changes too."""
        entries = [bench.submit(BOB), bench.submit(BOB), bench.submit(EVE)]
        batch = bench.take()
        reply = answer(0, [(BOB, 0), (EVE, 0)])
        settled = bench.lanes.settle(batch, classify_marks(reply, batch.changes), bench.now)

        assert (entries, "0") == (settled.done, settled.reason)
        assert all(entry.report().ok for entry in entries)
        assert (3, 0) == (bench.lanes.ledger.succeeded, bench.lanes.ledger.pending)

    def test_missing_line(self, bench: Bench) -> None:
        """An item without a line is retried, then its outcome is unknown, never a success."""
        entry, other = bench.submit(), bench.submit(EVE)
        sizes = []
        while bench.lanes.ledger.pending:
            bench.sleep()
            batch = bench.take()
            sizes.append(len(batch.changes))
            bench.lines(batch, {BOB: None})

        assert [2, 1, 1] == sizes
        assert other.report().ok
        assert isinstance(error_of(entry), OutcomeUnknownError)
        assert entry.report().code is None

    def test_missing_line_appears(self, bench: Bench) -> None:
        """An item whose line comes at the second attempt succeeded."""
        entry = bench.submit()
        bench.lines(bench.take(), {BOB: None})
        bench.sleep()
        bench.lines(bench.take())

        assert (True, 2) == (entry.report().ok, entry.attempts)

    def test_unknown_group(self, bench: Bench) -> None:
        """51007 is retried once, after a backoff, then refused."""
        entry = bench.submit()
        bench.lines(bench.take(), {BOB: 51007})

        assert entry.outcome is None
        assert not bench.lanes.has_ready(bench.now)

        bench.sleep()
        bench.lines(bench.take(), {BOB: 51007})

        assert (51007, 2) == (entry.report().code, entry.attempts)

    def test_unknown_group_after_a_fault(self, bench: Bench) -> None:
        """An attempt that ended with another fault is not the one that 51007 allows."""
        entry = bench.submit()
        for code in (50004, 51007, 50004, 51007):
            bench.sleep()
            bench.lines(bench.take(), {BOB: code})

        assert (51007, 4) == (entry.report().code, entry.attempts)

    @pytest.mark.parametrize("code", [50001, 51008, 99999])
    def test_refused_item(self, bench: Bench, code: int) -> None:
        """A code that is not worth a retry ends the item at once, and only it."""
        entry, other = bench.submit(), bench.submit(EVE)
        bench.lines(bench.take(), {BOB: code})

        assert isinstance(error_of(entry), ItemRefusedError)
        assert (code, 1) == (entry.report().code, entry.attempts)
        assert other.report().ok

    def test_order_of_lines(self, bench: Bench) -> None:
        """Lines are found by conversation, not by position."""
        entries = bench.submit_all([BOB, EVE, ZOE])
        bench.reply(bench.take(), answer(0, [(ZOE, 50001), (EVE, 0), (BOB, 51008)]))

        assert [51008, 0, 50001] == [entry.report().code for entry in entries]

    @pytest.mark.parametrize("codes", [(0, 50001), (50001, 0)])
    def test_two_lines(self, bench: Bench, codes: tuple[int, int]) -> None:
        """Of two lines for one conversation the failure counts."""
        entry = bench.submit()
        bench.reply(bench.take(), answer(0, [(BOB, code) for code in codes]))

        assert 50001 == entry.report().code

    def test_strange_line(self, bench: Bench) -> None:
        """A line for a conversation that was not asked about changes nothing."""
        entry = bench.submit()
        batch = bench.take()
        waiting = bench.submit(EVE)
        bench.reply(batch, answer(0, [(EVE, 50001), (BOB, 0)]))

        assert entry.report().ok
        assert waiting.outcome is None

    def test_all_to_be_retried(self, bench: Bench) -> None:
        """A request whose every item failed comes back whole, after one backoff."""
        bench.submit_all(crowd(100))
        bench.lines(bench.take(), dict.fromkeys(crowd(100), 50005))
        bench.sleep()

        assert (0.25, 100) == (bench.now, len(bench.take().changes))

    def test_claims_under_a_refusal(self, bench: Bench) -> None:
        """In an answer that refuses the call a line's own refusal counts, its success does not."""
        entries = bench.submit_all([BOB, EVE, ZOE])
        bench.reply(bench.take(), answer(50001, [(BOB, 0), (EVE, 51008)]))

        assert [50001, 51008, 50001] == [entry.report().code for entry in entries]

    def test_fail_without_a_code(self, bench: Bench) -> None:
        """FAIL with code 0 is a fault of the call, whatever its lines say."""
        entry = bench.submit()
        bench.reply(bench.take(), answer(0, [(BOB, 0)], status="FAIL"))

        assert entry.outcome is None

    def test_reasons(self, bench: Bench) -> None:
        """Each item that is sent again is counted by its own reason."""
        bench.submit_all([BOB, EVE, ZOE])
        settled = bench.lines(bench.take(), {BOB: 50004, EVE: 51007, ZOE: None})

        assert 3 == settled.again
        assert {"50004": 1, "51007": 1, "missing line": 1} == bench.lanes.ledger.retries_by_reason


class TestApplicationRefusal:
    """Answers that refuse whatever the application asks."""

    def test_everything_fails_with_one_reason(self, bench: Bench) -> None:
        """All that waits, of all users, fails at once with that one reason."""
        entries = bench.submit_all(crowd(250)) + bench.submit_all(crowd(50), "bea")
        settled = bench.reply(bench.take(), answer(50003))

        assert {50003} == {entry.report().code for entry in entries}
        assert all(isinstance(error_of(entry), ApplicationRefusedError) for entry in entries)
        assert set(entries) == set(settled.done)
        assert not bench.lanes.has_ready(bench.now)

    def test_in_a_line(self, bench: Bench) -> None:
        """A line can refuse the application; other lines of the answer stand."""
        entries = bench.submit_all([BOB, EVE, ZOE])
        batch = bench.take()
        waiting = bench.submit(account="bea")
        bench.lines(batch, {EVE: 50003, ZOE: 50004})

        assert [0, 50003, 50003] == [entry.report().code for entry in entries]
        assert 50003 == waiting.report().code

    def test_of_standard_marks(self, bench: Bench) -> None:
        """51013 ends the changes of standard marks; custom marks go on, and fail by themselves."""
        standard = bench.submit(put=FAVORITE)
        custom = bench.submit(EVE)
        waiting = bench.submit(account="bea", put=FAVORITE)
        other = bench.submit(EVE, account="bea")
        bench.reply(bench.take(), answer(51013))

        assert [51013, 51013] == [standard.report().code, waiting.report().code]
        assert custom.outcome is None

        bench.sleep()
        bench.run(lambda _: None)

        assert custom.report().ok
        assert other.report().ok

    def test_wrong_server(self, bench: Bench) -> None:
        """A status that the API never gives ends everything, too."""
        entries = bench.submit_all(crowd(250))
        bench.reply(bench.take(), HttpAnswer(404, b""))

        assert all(isinstance(error_of(entry), AnswerError) for entry in entries)

    def test_what_is_in_flight(self, bench: Bench) -> None:
        """Another request in flight keeps its own fate."""
        bench.submit(account="ann")
        other = bench.submit(account="bea")
        first, second = bench.take_all()
        bench.reply(first, answer(50003))

        assert other.outcome is None

        bench.lines(second)

        assert other.report().ok

    def test_new_changes_for_a_second(self, bench: Bench) -> None:
        """For a second new changes get the same answer without a request."""
        bench.submit()
        bench.reply(bench.take(), answer(50003))
        bench.now = 0.9375
        entry = Entry(MarkChange("ann", BOB, custom_mark="x"))

        assert [entry] == bench.lanes.admit([entry], bench.now)
        assert 50003 == entry.report().code
        assert 0 == entry.attempts
        assert not bench.lanes.has_ready(bench.now)

    def test_then_another_attempt(self, bench: Bench) -> None:
        """After that second a change is sent again, and may succeed."""
        bench.submit()
        bench.reply(bench.take(), answer(50003))
        bench.now = 1.0
        entry = bench.submit()
        bench.lines(bench.take())

        assert entry.report().ok

    def test_one_asks_for_all(self, bench: Bench) -> None:
        """After a refusal one request asks anew while the others wait for its answer."""
        bench.submit()
        bench.reply(bench.take(), answer(50003))
        bench.now = 1.0
        bench.submit(account="ann")
        bench.submit(account="bea")

        assert 1 == len(bench.take_all())


class TestBackoff:
    """The waits between attempts of a request."""

    def test_grows(self, bench: Bench) -> None:
        """Failures in a row wait longer and longer, up to the cap."""
        bench.submit()
        waits = []
        for _ in range(7):
            bench.reply(bench.take(), LOST)
            before = bench.now
            bench.sleep()
            waits.append(bench.now - before)

        assert [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0] == waits

    def test_starts_over(self, bench: Bench) -> None:
        """After an answer the next failure waits as the first did."""
        bench.submit()
        for reply in (LOST, LOST, answer(0, [(BOB, 50004)]), LOST):
            bench.sleep()
            bench.reply(bench.take(), reply)
        before = bench.now
        bench.sleep()

        assert 0.25 == bench.now - before

    def test_dropped_connection(self, bench: Bench) -> None:
        """A dropped connection is tried again at once, but only once."""
        bench.submit()
        bench.reply(bench.take(), DROPPED)

        assert bench.lanes.has_ready(bench.now)

        bench.reply(bench.take(), DROPPED)

        assert not bench.lanes.has_ready(bench.now)

    def test_retry_after(self, bench: Bench) -> None:
        """A gateway's Retry-After is the least wait of that user's lane."""
        bench.submit()
        bench.reply(bench.take(), HttpAnswer(503, b"", retry_after="7"))
        bench.sleep()

        assert 7.0 == bench.now

    def test_one_lane_only(self, bench: Bench) -> None:
        """Other users do not wait for one user's backoff."""
        bench.submit()
        bench.reply(bench.take(), LOST)
        bench.submit(account="bea")

        assert "bea" == bench.take().account

    def test_of_items_grows(self, bench: Bench) -> None:
        """An item that is refused again and again waits longer each time."""
        bench.submit()
        waits = []
        for _ in range(4):
            bench.lines(bench.take(), {BOB: 50004})
            before = bench.now
            bench.sleep()
            waits.append(bench.now - before)

        assert [0.25, 0.5, 1.0, 2.0] == waits

    @pytest.mark.parametrize("reply", [LOST, answer(0, [(BOB, 50004), (EVE, 0)])])
    def test_that_raises(self, reply: Reply) -> None:
        """When somebody's own backoff raises that is told, and no change is lost or told twice."""
        mistake = ZeroDivisionError()

        def own(_: int) -> float:
            raise mistake

        bench = Bench(backoff=own)
        entries = [bench.submit(BOB), bench.submit(EVE)]
        settled = bench.lanes.settle(bench.take(), classify(reply, MarkAnswer), bench.now)
        rest = bench.lanes.fail_all(unsent)

        assert mistake is settled.error
        assert Counter(entries) == Counter(settled.done + rest)
        assert 0 == bench.lanes.ledger.pending

    def test_signature(self, bench: Bench) -> None:
        """A new signature needs no wait."""
        entry = bench.submit()
        settled = bench.reply(bench.take(), answer(70001))

        assert ("70001", 1) == (settled.reason, settled.again)

        bench.lines(bench.take())

        assert entry.report().ok


class TestDeadline:
    """When a change is given up."""

    def test_unless_told_otherwise(self) -> None:
        """It is a minute."""
        bench = Bench()
        bench.lanes = Engine(backoff=doubling, max_in_flight=1000)
        entry = bench.submit()
        batch = bench.take()
        bench.now = 60.0
        bench.reply(batch, LOST)

        assert isinstance(error_of(entry), DeadlineExceededError)

    def test_runs_from_the_first_attempt(self) -> None:
        """Time before the first attempt does not count."""
        bench = Bench(deadline=10.0)
        entry = bench.submit()
        bench.now = 1000.0
        batch = bench.take()
        bench.now = 1009.0
        bench.reply(batch, LOST)

        assert entry.outcome is None

    def test_runs_from_the_first_attempt_in_a_hold(self) -> None:
        """So it is with a change that was admitted while the session was held."""
        bench = Bench(deadline=10.0)
        bench.submit(account="ann")
        bench.reply(bench.take(), SLOW_DOWN)
        entry = bench.submit(account="bea")
        bench.now = 9.0
        bench.lines(bench.take())
        batch = bench.take()
        bench.now = 18.0
        bench.reply(batch, LOST)

        assert "bea" == batch.account
        assert entry.outcome is None

    def test_last_attempt(self) -> None:
        """
        The last attempt is made at the deadline, however long the backoff, and its failure is told.
        """
        bench = Bench(deadline=10.0, backoff=lambda _: 8.0)
        entry = bench.submit()
        times = []
        while entry.outcome is None:
            bench.sleep()
            times.append(bench.now)
            bench.reply(bench.take(), LOST)
        error = error_of(entry)

        assert [0.0, 8.0, 10.0] == times
        assert isinstance(error, DeadlineExceededError)
        assert isinstance(error.last, TransportError)

    def test_last_attempt_of_an_item(self) -> None:
        """So it is with an item that the server sends back, and the server's code is kept."""
        bench = Bench(deadline=10.0, backoff=lambda _: 8.0)
        entry = bench.submit()
        times = []
        while entry.outcome is None:
            bench.sleep()
            times.append(bench.now)
            bench.lines(bench.take(), {BOB: 50004})

        assert [0.0, 8.0, 10.0] == times
        assert isinstance(error_of(entry), DeadlineExceededError)
        assert 50004 == entry.report().code

    def test_last_attempt_may_succeed(self) -> None:
        """An answer that comes after the deadline counts."""
        bench = Bench(deadline=10.0)
        entry = bench.submit()
        batch = bench.take()
        bench.now = 11.0
        bench.lines(batch)

        assert entry.report().ok

    def test_own_code(self) -> None:
        """Of items that were given up together each has the code of its own last fault."""
        bench = Bench(deadline=10.0)
        entries = bench.submit_all([BOB, EVE, ZOE])
        batch = bench.take()
        bench.now = 10.0
        bench.lines(batch, {BOB: 50004, EVE: 51007, ZOE: None})

        assert [50004, 51007, None] == [entry.report().code for entry in entries]
        assert all(isinstance(error_of(entry), DeadlineExceededError) for entry in entries)

    def test_newer_change_goes_on(self) -> None:
        """A newer change of the same conversation outlives the older, and goes without it."""
        bench = Bench(deadline=10.0)
        old = bench.submit(put=FAVORITE)
        bench.reply(bench.take(), LOST)
        new = bench.submit(custom="new")
        bench.now = 9.0
        batch = bench.take()

        assert [MarkChange("ann", BOB, FAVORITE, custom_mark="new")] == batch.changes

        bench.now = 10.0
        bench.reply(batch, LOST)
        bench.sleep()

        assert isinstance(error_of(old), DeadlineExceededError)
        assert new.outcome is None
        assert [MarkChange("ann", BOB, custom_mark="new")] == bench.take().changes

    def test_others_keep_their_backoff(self) -> None:
        """Items that are given up do not spare the rest of their request the backoff."""
        bench = Bench(deadline=10.0)
        bench.submit(BOB)
        bench.reply(bench.take(), LOST)
        bench.now = 9.5
        bench.submit(EVE)
        batch = bench.take()
        bench.now = 12.0
        bench.reply(batch, LOST)
        bench.sleep()

        assert (12.5, ["eve"]) == (bench.now, names(bench.take()))

    def test_nothing_is_counted_for_what_ended(self) -> None:
        """A request of which nothing is sent again counts no retries."""
        bench = Bench(deadline=10.0)
        bench.submit()
        batch = bench.take()
        bench.now = 10.0
        settled = bench.reply(batch, LOST)

        assert (0, {}) == (settled.again, bench.lanes.ledger.retries_by_reason)


class TestLinger:
    """Waiting a little for more changes."""

    @pytest.fixture
    def bench(self) -> Bench:
        """Engine that linger for half a second."""
        return Bench(linger=0.5)

    def test_time(self, bench: Bench) -> None:
        """A change waits for others no longer than the linger."""
        bench.submit()

        assert not bench.lanes.has_ready(0.4375)
        assert 0.5 == bench.lanes.wake_at(0.4375)
        assert bench.lanes.has_ready(0.5)

    def test_trickle(self, bench: Bench) -> None:
        """The first change sets the time; later ones do not put it off."""
        for number, each in enumerate(crowd(4)):
            bench.now = number / 8
            bench.submit(each)
        bench.now = 0.5

        assert 4 == len(bench.take().changes)

    def test_size(self, bench: Bench) -> None:
        """A full request does not wait."""
        bench.submit_all(crowd(99))

        assert not bench.lanes.has_ready(bench.now)

        bench.submit(BOB)

        assert 100 == len(bench.take().changes)

    def test_flush(self, bench: Bench) -> None:
        """A flush lets everything go at once, changes that come during it too."""
        bench.submit()
        bench.lanes.start_flush(bench.now)
        bench.submit(account="bea")

        assert 2 == len(bench.take_all())

    def test_two_flushes(self, bench: Bench) -> None:
        """When one of two flushes has ended the other still lets everything go."""
        for _ in range(2):
            bench.lanes.start_flush(bench.now)
        bench.lanes.end_flush()
        bench.submit()

        assert bench.lanes.has_ready(bench.now)

    def test_after_a_flush(self, bench: Bench) -> None:
        """When the flush has ended changes linger again."""
        bench.lanes.start_flush(bench.now)
        bench.lanes.end_flush()
        bench.submit()

        assert not bench.lanes.has_ready(bench.now)

    def test_no_longer_full(self, bench: Bench) -> None:
        """A lane that is not full any more, because a change was withdrawn, waits again."""
        entries = bench.submit_all(crowd(100))
        bench.lanes.withdraw(entries[0], bench.now)

        assert not bench.lanes.has_ready(bench.now)

        bench.sleep()

        assert (0.5, 99) == (bench.now, len(bench.take().changes))


class TestBulk:
    """Rows of bulk jobs, which may wait for full requests."""

    def test_waits_for_full_requests(self, bench: Bench) -> None:
        """While a job reads, its rows wait until they fill a request."""
        bench.lanes.scheduler.readers = 1
        bench.submit_all(crowd(99), bulk=True)

        assert not bench.lanes.has_ready(bench.now)

        bench.submit(BOB, bulk=True)

        assert 100 == len(bench.take().changes)

    def test_plenty(self, bench: Bench) -> None:
        """There is plenty when so many full requests wait; what is not full does not count."""
        for account, count in (("ann", 100), ("bea", 100), ("cem", 99)):
            bench.submit_all(crowd(count), account, bulk=True)

        assert [True, False] == [bench.lanes.scheduler.has_full(requests) for requests in (2, 3)]

    def test_no_reader(self, bench: Bench) -> None:
        """When nobody reads any more partial requests go."""
        bench.lanes.scheduler.readers = 1
        bench.submit_all(crowd(99), bulk=True)
        bench.lanes.scheduler.readers = 0

        assert 99 == len(bench.take().changes)

    def test_full_session(self, bench: Bench) -> None:
        """When the session has room for no more rows partial requests go."""
        bench.lanes.scheduler.readers = 1
        bench.submit_all(crowd(99), bulk=True)
        bench.lanes.scheduler.is_full = True

        assert 99 == len(bench.take().changes)

    def test_flush(self, bench: Bench) -> None:
        """A flush lets partial requests go."""
        bench.lanes.scheduler.readers = 1
        bench.submit_all(crowd(99), bulk=True)
        bench.lanes.start_flush(bench.now)

        assert 99 == len(bench.take().changes)

    def test_patience(self, bench: Bench) -> None:
        """A row waits for others no longer than five seconds, however slowly they come."""
        bench.lanes.scheduler.readers = 1
        for number, each in enumerate(crowd(40)):
            bench.now = number / 8
            bench.submit(each, bulk=True)
            bench.submit(each, "bea", bulk=True)
        bench.sleep()

        assert 5.0 == bench.now
        assert {"ann", "bea"} == {batch.account for batch in bench.take_all()}

    def test_patience_with_a_growing_lane(self, bench: Bench) -> None:
        """Rows that come do not put off the first one's time, nor behind that of other lanes."""
        bench.lanes.scheduler.readers = 1
        bench.submit(BOB, "ann", bulk=True)
        bench.now = 4.0
        bench.submit(BOB, "bea", bulk=True)
        bench.submit(EVE, "ann", bulk=True)
        bench.sleep()

        assert (5.0, "ann") == (bench.now, bench.take().account)

    def test_single_mark_does_not_wait(self, bench: Bench) -> None:
        """A change that a caller awaits goes at once, and takes the rows of its lane with it."""
        bench.lanes.scheduler.readers = 1
        bench.submit_all(crowd(40), bulk=True)
        bench.submit(BOB)

        assert ["bob", "c0"] == names(bench.take())[:2]

    def test_joined_row_does_not_wait(self, bench: Bench) -> None:
        """So does a row whose conversation a caller changes."""
        bench.lanes.scheduler.readers = 1
        bench.submit_all(crowd(40), bulk=True)
        bench.submit(crowd(40)[7])

        assert ["c7", "c0"] == names(bench.take())[:2]

    def test_withdrawn_mark_does_not_hurry(self, bench: Bench) -> None:
        """When the awaited change is withdrawn the rows wait on."""
        bench.lanes.scheduler.readers = 1
        bench.submit_all(crowd(40), bulk=True)
        bench.lanes.withdraw(bench.submit(BOB), bench.now)

        assert not bench.lanes.has_ready(bench.now)

    def test_backoff_beside_rows(self, bench: Bench) -> None:
        """An awaited item whose backoff ends goes, although the rows beside it would wait."""
        bench.submit(BOB)
        batch = bench.take()
        bench.lanes.scheduler.readers = 1
        bench.submit_all(crowd(40), bulk=True)
        bench.lines(batch, {BOB: 50004})
        bench.sleep()

        assert (0.25, "bob") == (bench.now, names(bench.take())[0])


class TestFairness:
    """Whose turn it is."""

    def test_fullest_first(self, bench: Bench) -> None:
        """The lanes with the most to send go first."""
        bench.lanes.start_flush(bench.now)
        for account, count in (("one", 1), ("ten", 10), ("full", 100), ("some", 50)):
            bench.submit_all(crowd(count), account, bulk=True)

        assert ["full", "some", "ten", "one"] == [b.account for b in bench.take_all()]

    def test_small_lane_beside_full_ones(self, bench: Bench) -> None:
        """A single mark is not starved by lanes that are always full."""
        for number in range(10):
            bench.submit_all(crowd(100), f"big{number}")
        bench.submit(account="small")
        turns = 1
        while (batch := bench.take()).account != "small":
            account = batch.account
            bench.lines(batch)
            bench.submit_all(crowd(100), account)
            turns += 1

        assert 4 * 11 >= turns

    def test_bulk_beside_single_marks(self, bench: Bench) -> None:
        """A bulk job gets a quarter of the turns while single marks always wait."""
        for number in range(10):
            bench.submit(account=f"single{number}")
        bench.submit_all(crowd(4000), "bulk", bulk=True)
        turns: Counter[str] = Counter()
        for _ in range(100):
            batch = bench.take()
            account = batch.account
            turns[account.strip("0123456789")] += 1
            bench.lines(batch)
            if account != "bulk":
                bench.submit(account=account)

        assert {"single": 75, "bulk": 25} == turns

    def test_single_marks_beside_bulk(self, bench: Bench) -> None:
        """A single mark waits for one turn of a bulk job at most."""
        for number in range(10):
            bench.submit_all(crowd(1000), f"bulk{number}", bulk=True)
        waits = []
        for number in range(20):
            bench.submit(account=f"single{number}")
            wait = 0
            while (batch := bench.take()).account != f"single{number}":
                bench.lines(batch)
                wait += 1
            waits.append(wait)

        assert 1 >= max(waits)


class TestHold:
    """The whole session in an outage, or told to slow down."""

    def fail(self, bench: Bench, count: int) -> None:
        """Let requests of so many users fail at once."""
        for number in range(count):
            bench.submit(account=f"user{number}")
        for batch in bench.take_all():
            bench.reply(batch, LOST)

    def test_one_probe_at_a_time(self, bench: Bench) -> None:
        """In an outage one request at a time is sent, and none before its time."""
        self.fail(bench, 32)

        assert bench.lanes.breaker.held_since is not None

        for _ in range(5):
            bench.sleep()
            batch = bench.take()

            assert bench.lanes.take(bench.now) is None
            assert bench.lanes.take(bench.now + 100.0) is None

            bench.reply(batch, LOST)

    def test_probes_are_few(self, bench: Bench) -> None:
        """A minute of outage costs a dozen probes, however many users wait."""
        self.fail(bench, 1000)
        probes = 0
        while bench.now < 60.0:
            bench.sleep()
            bench.reply(bench.take(), LOST)
            probes += 1

        assert 15 >= probes

    def test_end(self, bench: Bench) -> None:
        """One good probe lets everything go again."""
        self.fail(bench, 32)
        bench.sleep()
        bench.lines(bench.take())
        bench.now += 8.0

        assert 31 == len(bench.take_all())

    def test_slow_down(self, bench: Bench) -> None:
        """A slow-down pauses all users, not only the one who was told."""
        bench.submit(account="ann")
        settled = bench.reply(bench.take(), SLOW_DOWN)
        bench.submit(account="bea")

        assert 1.0 == settled.pause
        assert not bench.lanes.has_ready(0.9375)
        assert 1.0 == bench.lanes.wake_at(bench.now)
        assert bench.lanes.has_ready(1.0)

    @pytest.mark.parametrize(
        "reply", [SLOW_DOWN, answer(60007), answer(0, [(BOB, 60007)])], ids=["429", "call", "item"]
    )
    def test_pause_grows(self, bench: Bench, reply: HttpAnswer) -> None:
        """Each probe that is told to slow down doubles the pause, up to 10 seconds."""
        bench.submit()
        pauses = []
        for _ in range(7):
            bench.sleep()
            pauses.append(bench.reply(bench.take(), reply).pause)

        assert [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0] == pauses

    def test_many_refusals_are_one(self, bench: Bench) -> None:
        """Refusals of requests that were sent before the pause do not lengthen it."""
        for number in range(30):
            bench.submit(account=f"user{number}")
        batches = bench.take_all()
        bench.now = 0.25
        pauses = [bench.reply(batch, SLOW_DOWN).pause for batch in batches]

        assert {1.0} == set(pauses)
        assert 1.25 == bench.lanes.wake_at(bench.now)

    def test_many_refusals_of_items_are_one(self, bench: Bench) -> None:
        """Nor do those of items: the pause ends when it would have ended."""
        for number in range(3):
            bench.submit(account=f"user{number}")
        pauses = []
        for batch in bench.take_all():
            bench.now += 0.25
            pauses.append(bench.lines(batch, {BOB: 60007}).pause)

        assert [1.0, 0.75, 0.5] == pauses

    def test_has_nothing_to_wait_for_beside_a_probe(self, bench: Bench) -> None:
        """While a request is in flight no time ends a pause, and what may go now waits for none."""
        bench.submit(account="ann")
        bench.submit(account="bea")
        first, second = bench.take_all()
        bench.now = 0.25
        bench.reply(first, SLOW_DOWN)
        beside = bench.lanes.wake_at(bench.now)
        bench.lines(second)

        assert (None, 1.25) == (beside, bench.lanes.wake_at(bench.now))
        assert bench.lanes.has_ready(1.25)
        assert bench.lanes.wake_at(1.25) is None

    def test_nobody_is_late_while_all_is_well(self, bench: Bench) -> None:
        """Without a hold nothing that was never sent ends while it waits."""
        bench.submit()

        assert not bench.lanes.may_be_late(1000.0)
        assert [] == bench.lanes.expire(1000.0)

    def test_unsent_change(self) -> None:
        """A change that was never sent counts from the start of the hold."""
        bench = Bench(deadline=10.0)
        bench.submit(account="ann")
        batch = bench.take()
        waiting = bench.submit(account="bea")
        bench.now = 7.0
        bench.reply(batch, SLOW_DOWN)

        assert waiting not in bench.lanes.expire(16.9375)
        assert [waiting] == bench.lanes.expire(17.0)
        assert isinstance(error_of(waiting), DeadlineExceededError)

    def test_change_of_the_hold(self) -> None:
        """One that came during the hold counts from its admission."""
        bench = Bench(deadline=10.0)
        bench.submit(account="ann")
        bench.reply(bench.take(), SLOW_DOWN)
        bench.now = 5.0
        late = bench.submit(account="bea")

        assert late not in bench.lanes.expire(14.9375)
        assert [late] == bench.lanes.expire(15.0)

    def test_change_of_before_the_bad_news(self, bench: Bench) -> None:
        """
        One that came while the request that was to fail was on its way counts from its admission.
        """
        bench.submit(account="ann")
        batch = bench.take()
        bench.now += 100.0
        late = bench.submit(account="ann")
        bench.reply(batch, LOST)

        assert [] == bench.lanes.expire(bench.now)
        assert late.outcome is None

    def test_sent_change(self) -> None:
        """One that was sent counts from its first attempt, and is told why it failed."""
        bench = Bench(deadline=10.0)
        entry = bench.submit()
        batch = bench.take()
        bench.now = 5.0
        bench.reply(batch, SLOW_DOWN)

        assert [] == bench.lanes.expire(9.9375)
        assert [entry] == bench.lanes.expire(10.0)

        error = error_of(entry)

        assert isinstance(error, DeadlineExceededError)
        assert isinstance(error.last, AnswerError)

    def test_what_is_in_flight(self) -> None:
        """A request in flight is not given up."""
        bench = Bench(deadline=10.0)
        bench.submit(account="ann")
        entry = bench.submit(account="bea")
        first, second = bench.take_all()
        bench.reply(first, SLOW_DOWN)

        assert entry not in bench.lanes.expire(100.0)

        bench.now = 100.0
        bench.lines(second)

        assert entry.report().ok

    def test_probe_is_made_before_the_deadline(self) -> None:
        """What waits behind a probe is given up; the books and the lanes are empty then."""
        bench = Bench(deadline=10.0)
        self.fail(bench, 32)
        bench.now = 20.0

        assert 32 == len(bench.lanes.expire(bench.now))
        assert 0 == bench.lanes.ledger.pending
        assert not bench.lanes.scheduler._lanes

    def test_probe_gives_no_more_time(self) -> None:
        """
        The deadline of a change that waited under the hold does not start over with its probe.
        """
        bench = Bench(deadline=10.0)
        bench.submit(account="ann")
        bench.lines(bench.take())
        bench.lanes.breaker.slow_down(1.0, 1.0, 0.0)
        bench.now = 1.0
        waiting = bench.submit(account="bea")
        bench.now = 8.0
        batch = bench.take()
        bench.now = 11.0
        bench.reply(batch, LOST)

        assert isinstance(error_of(waiting), DeadlineExceededError)

    def test_retry_that_waits_for_its_turn(self) -> None:
        """
        Without a hold too what waits ends a second after its deadline, while nothing succeeds.
        """
        bench = Bench(deadline=10.0)
        entry = bench.submit()
        bench.reply(bench.take(), LOST)
        new = bench.submit()

        assert bench.lanes.may_be_late(10.0)
        assert [] == bench.lanes.expire(10.9375)
        assert [entry, new] == bench.lanes.expire(11.0)

    def test_item_that_waits_for_its_turn(self) -> None:
        """So does an item that was sent back while all is well; what was never sent waits on."""
        bench = Bench(deadline=10.0)
        entry = bench.submit(BOB)
        bench.lines(bench.take(), {BOB: 50004})
        bench.submit(EVE)

        assert [] == bench.lanes.expire(10.9375)
        assert [entry] == bench.lanes.expire(11.0)

    def test_how_long_somebody_may_be_late(self) -> None:
        """Two seconds after the deadline of what was sent back nobody looks any more."""
        bench = Bench(deadline=10.0)
        bench.submit()
        bench.lines(bench.take(), {BOB: 50004})

        assert bench.lanes.may_be_late(11.9375)
        assert not bench.lanes.may_be_late(12.0)

    def test_next_hold(self) -> None:
        """A change that outlived a hold counts anew in the next."""
        bench = Bench(deadline=10.0)
        brake = bench.lanes.breaker
        brake.slow_down(0.0, 0.0, 0.0)
        entry = bench.submit()
        brake.succeeded(2.0)
        brake.slow_down(50.0, 49.0, 0.0)

        assert [] == bench.lanes.expire(59.9375)
        assert [entry] == bench.lanes.expire(60.0)

        error = error_of(entry)

        assert isinstance(error, DeadlineExceededError)
        assert error.last is None

    def test_beside_a_backoff(self) -> None:
        """When an item is given up in its backoff the rest of its lane goes on."""
        bench = Bench(deadline=10.0, backoff=lambda _: 60.0)
        bench.submit(account="ann")
        bench.submit(account="bea")
        first, second = bench.take_all()
        bench.now = 1.0
        bench.reply(first, SLOW_DOWN)
        bench.lines(second, {BOB: 50004})
        bench.submit(EVE, account="bea")
        bench.now = 10.0
        bench.lanes.expire(bench.now)

        assert ["eve"] == names(bench.take())


class TestProbation:
    """A session that does not know yet whether the server serves it."""

    @pytest.fixture
    def bench(self) -> Bench:
        """Engine of a new session, with three users."""
        bench = Bench()
        bench.lanes = Engine(backoff=doubling, max_in_flight=1000)
        for account in ("ann", "bea", "cem"):
            bench.submit(account=account)
        return bench

    def test_one_request_first(self, bench: Bench) -> None:
        """The first request goes alone, for a second at most."""
        bench.take()

        assert bench.lanes.take(0.9375) is None
        assert 1.0 == bench.lanes.wake_at(0.0)
        assert bench.lanes.has_ready(1.0)

    def test_any_good_answer_ends_it(self, bench: Bench) -> None:
        """When the server has answered the others go."""
        bench.lines(bench.take())

        assert 2 == len(bench.take_all())


class TestWithdraw:
    """Taking a change back."""

    def test_unsent(self, bench: Bench) -> None:
        """A change that was never sent is withdrawn, and never is."""
        entry = bench.submit()

        assert bench.lanes.withdraw(entry, bench.now)
        assert entry.outcome is WITHDRAWN
        assert not bench.lanes.has_ready(bench.now)

    def test_in_flight(self, bench: Bench) -> None:
        """One in flight is not."""
        entry = bench.submit()
        bench.take()

        assert not bench.lanes.withdraw(entry, bench.now)
        assert entry.outcome is None

    def test_sent_before(self, bench: Bench) -> None:
        """One that was sent and waits to be sent again is not: it may have taken effect."""
        entry = bench.submit()
        bench.reply(bench.take(), LOST)

        assert not bench.lanes.withdraw(entry, bench.now)

    def test_settled(self, bench: Bench) -> None:
        """One that has its outcome keeps it."""
        entry = bench.submit()
        bench.lines(bench.take())

        assert not bench.lanes.withdraw(entry, bench.now)
        assert entry.report().ok

    def test_never_admitted(self, bench: Bench) -> None:
        """One that was never admitted is not the lanes' to take back."""
        assert not bench.lanes.withdraw(Entry(MarkChange("ann", BOB, custom_mark="x")), bench.now)

    def test_twice(self, bench: Bench) -> None:
        """The second time nothing happens."""
        entry = bench.submit()
        bench.lanes.withdraw(entry, bench.now)

        assert not bench.lanes.withdraw(entry, bench.now)
        assert 1 == bench.lanes.ledger.withdrawn

    def test_touches_nobody_else(self, bench: Bench) -> None:
        """The other changes of the conversation go without it."""
        bench.submit(put=FAVORITE)
        entry = bench.submit(clear=FAVORITE)
        bench.submit(custom="x")
        bench.lanes.withdraw(entry, bench.now)

        assert [MarkChange("ann", BOB, FAVORITE, custom_mark="x")] == bench.take().changes

    def test_behind_a_retry(self, bench: Bench) -> None:
        """A change that joined one that waits to be sent again can be withdrawn."""
        bench.submit(custom="old")
        batch = bench.take()
        entry = bench.submit(custom="new")
        bench.reply(batch, DROPPED)

        assert bench.lanes.withdraw(entry, bench.now)
        assert ["old"] == [change.custom_mark for change in bench.take().changes]


class TestFlush:
    """The ticket of a flush."""

    def test_covers_what_is_in_flight(self, bench: Bench) -> None:
        """What is in flight or waits for a retry belongs to it; what comes later does not."""
        bench.submit()
        batch = bench.take()
        ticket = bench.lanes.start_flush(bench.now)
        bench.submit(EVE)
        bench.reply(batch, DROPPED)
        settled_before = bench.lanes.ledger.is_settled(ticket)
        batch = bench.take()
        bench.lines(batch, {EVE: 50004})

        assert not settled_before
        assert bench.lanes.ledger.is_settled(ticket)
        assert 1 == bench.lanes.ledger.pending


class TestEnding:
    """Giving up."""

    def test_what_waits(self, bench: Bench) -> None:
        """What waits fails with one error that holds the changes; what is in flight does not."""
        flying = bench.submit(BOB)
        batch = bench.take()
        waiting = [bench.submit(BOB), bench.submit(EVE)]

        assert waiting == bench.lanes.fail_waiting(unsent)

        error = error_of(waiting[0])

        assert isinstance(error, UnsentError)
        assert [entry.change for entry in waiting] == list(error.unsent)

        bench.lines(batch)

        assert flying.report().ok

    def test_retry_after_it(self, bench: Bench) -> None:
        """What was in flight then and fails is still sent again."""
        entry = bench.submit()
        batch = bench.take()
        bench.lanes.fail_waiting(unsent)
        bench.reply(batch, DROPPED)
        bench.lines(bench.take())

        assert entry.report().ok

    def test_everything(self, bench: Bench) -> None:
        """In flight, parked, in backoff, waiting: all fail, and nothing is left."""
        bench.submit(account="flying")
        bench.take()
        bench.submit(account="parked")
        bench.lines(bench.take(), {BOB: 50004})
        bench.submit(account="backoff")
        bench.reply(bench.take(), LOST)
        bench.submit(account="flying")
        failed = bench.lanes.fail_all(unsent)

        assert 4 == len(failed)
        assert (0, 4) == (bench.lanes.ledger.pending, bench.lanes.ledger.failed)
        assert 0 == bench.lanes.in_flight
        assert not bench.lanes.has_ready(math.inf)
        assert bench.lanes.wake_at(bench.now) is None


class TestMemory:
    """What is left when the work is done."""

    def test_idle_lanes_are_dropped(self, bench: Bench) -> None:
        """A user without pending changes costs nothing."""
        for number in range(1000):
            bench.submit(account=f"user{number}")
        bench.run(lambda _: None)

        assert not bench.lanes.scheduler._lanes
        assert not bench.lanes.scheduler._timers
        assert bench.lanes.wake_at(bench.now) is None

    @pytest.mark.parametrize("bulk", [False, True])
    def test_submit_and_withdraw(self, bench: Bench, bulk: bool) -> None:
        """Changes that come and are withdrawn leave nothing, although their lane lives on."""
        bench.submit()
        batch = bench.take()
        waiting = bench.submit(EVE, bulk=bulk)
        for number in range(50_000):
            entry = bench.submit(Conversation.one_to_one(f"p{number}"), bulk=bulk)
            bench.lanes.withdraw(entry, bench.now)
        lane = bench.lanes.scheduler.find(batch.account)

        assert 1 == lane.size
        assert 200 >= len(lane._front) + len(lane._rear)

        bench.lines(batch)
        bench.lines(bench.take())

        assert waiting.report().ok
        assert not bench.lanes.scheduler._lanes

    def test_submit_and_withdraw_with_a_linger(self) -> None:
        """Nor do they leave timers, once their time has passed."""
        bench = Bench(linger=0.5)
        for number in range(1000):
            bench.lanes.withdraw(bench.submit(account=f"user{number}"), bench.now)

        assert not bench.lanes.has_ready(1.0)
        assert not bench.lanes.scheduler._timers
        assert not bench.lanes.scheduler._lanes

    def test_many_changes_in_one_linger(self) -> None:
        """However many changes wait for the same moment, there is one timer."""
        bench = Bench(linger=0.5)
        bench.submit_all(crowd(50))

        assert 1 == len(bench.lanes.scheduler._timers)

    def test_backoff_that_ends_unnoticed(self, bench: Bench) -> None:
        """
        When what waited goes on before its timer is looked at, no timer is left that never ends.
        """
        bench.submit(BOB)
        bench.lines(bench.take(), {BOB: 50004})
        bench.now = 0.25
        bench.submit(EVE)
        bench.lines(bench.take())

        assert not bench.lanes.scheduler._timers

    def test_books(self, bench: Bench) -> None:
        """After a mixed day the books have counters and nothing else."""
        for number in range(1000):
            bench.submit(account=f"user{number % 7}", custom=str(number))
            bench.lanes.start_flush(bench.now)
            bench.lanes.end_flush()
        bench.run(lambda _: None)
        ledger = bench.lanes.ledger

        assert (1000, 1000, 0) == (ledger.accepted, ledger.succeeded, ledger.pending)
        assert {} == ledger._older

    def test_retries(self, bench: Bench) -> None:
        """An item counts a retry each time it is sent again."""
        bench.submit_all([BOB, EVE])
        bench.reply(bench.take(), DROPPED)
        for _ in range(2):
            bench.lines(bench.take(), {EVE: 50004})
            bench.sleep()
        bench.lines(bench.take())

        assert 4 == bench.lanes.ledger.retries
        assert {"dropped": 2, "50004": 2} == bench.lanes.ledger.retries_by_reason
