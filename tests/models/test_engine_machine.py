"""
The lanes against a model of the server, in any order of events that hypothesis can think of.

The model numbers the changes in the order of their submission, and the server remembers of each bit
and each custom mark which change wrote it last. What is proved at every step:

- a request carries, for each of its conversations, the merger of all changes of that conversation
  that have no outcome yet, in their order;
- no change overwrites what a newer one wrote;
- a change that succeeded wrote all it names, or a newer one did.

So at the end each bit is what the newest succeeded change that names it wrote, unless a newer one
whose fate is a failure took effect nevertheless, at its own place in the order.

`MACHINE_EXAMPLES` sets the number of examples.
"""

import itertools
import json
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sinks import Job, unsent

from chatmark.changes import MarkChange
from chatmark.conversations import Conversation, ConversationType
from chatmark.core.engine import Engine
from chatmark.core.lane import Lane
from chatmark.core.pending import SUCCESS, WITHDRAWN, Entry, Outcome
from chatmark.core.request import Request
from chatmark.failures import (
    DeadlineExceededError,
    OutcomeUnknownError,
    TransportError,
    UnsentError,
)
from chatmark.marks import ConversationMark
from chatmark.wire.classify import classify_marks
from chatmark.wire.messages import HttpAnswer, NoAnswer, Reply

ACCOUNTS: Final = ("ann", "bea", "cem", "dan")
FEW: Final = tuple(
    make(name) for name in ("p", "q") for make in (Conversation.one_to_one, Conversation.group)
)
CROWD: Final = tuple(Conversation.one_to_one(f"c{number}") for number in range(251))

# What a change writes: bit numbers to 0 or 1, and "custom" to text.
Writes = dict[int | str, int | str]
PARTS: Final[tuple[int | str, ...]] = (0, 3, 33, "custom")
_VALUES: Final[Iterable[tuple[int | str | None, ...]]] = itertools.product(
    (None, 1, 0), (None, 1, 0), (None, 1, 0), (None, "", "a", "b")
)
WRITES: Final[tuple[Writes, ...]] = tuple(
    {part: value for part, value in zip(PARTS, values, strict=True) if value is not None}
    for values in _VALUES
    if any(value is not None for value in values)
)

# What may become of a change when its request was answered, besides the vendor's codes.
AGAIN: Final = "again"
UNKNOWN: Final = "unknown"
Fate = int | str | None

Key = tuple[str, Conversation]
Line = tuple[Conversation | None, int]

# How a change comes: of a caller who waits, of an ordered stream, or as a row of another job.
ALONE: Final = "alone"
IN_ORDER: Final = "in order"
ROW: Final = "row"
# Rows that come together share their time, to within so many seconds.
TOGETHER: Final = 0.25

accounts = st.sampled_from(ACCOUNTS)
ways = st.sampled_from([ALONE, IN_ORDER, ROW, ROW])
which = st.integers(0, 5)
booleans = st.booleans()


class Tracked(Entry):
    """A change, and what the model knows of it."""

    __slots__ = ("admitted", "calls", "number", "started", "told", "way", "writes")

    def __init__(self, key: Key, writes: Writes, number: int, admitted: float, way: str) -> None:
        super().__init__(_change(key, writes), None if way == ALONE else ORDERED)
        self.way = way
        self.number = number
        self.writes = writes
        self.admitted = admitted
        # When its deadline began to run.
        self.started: float | None = None
        self.calls = 0
        self.told: Outcome | None = None

    @property
    def key(self) -> Key:
        """Whose conversation it is of."""
        return self.change.from_account, self.change.conversation


# Whose rows come in their order, beside those of another job.
ORDERED: Final = Job()


def _change(key: Key, writes: Writes) -> MarkChange:
    custom = writes.get("custom")
    bits = {part: value for part, value in writes.items() if isinstance(part, int)}
    return MarkChange(
        *key,
        ConversationMark.from_bits(part for part, value in bits.items() if value),
        ConversationMark.from_bits(part for part, value in bits.items() if not value),
        custom if isinstance(custom, str) else None,
    )


@attrs.define(eq=False)
class Call:
    """A request in flight, and the changes that each of its items is made of."""

    batch: Request
    runs: list[list[Tracked]]


class Server:
    """What the server has: each part's value, and the number of the change that wrote it."""

    def __init__(self) -> None:
        self.marks: dict[Key, dict[int | str, tuple[int | str, int]]] = defaultdict(dict)

    def apply(self, run: Sequence[Tracked]) -> None:
        """Apply an item; what a newer change wrote must not be overwritten with something else."""
        marks = self.marks[run[0].key]
        for part, written in _merger(run).items():
            value, number = marks.get(part, written)

            assert number <= written[1] or value == written[0], "an older change won"

            marks[part] = max(written, (value, number), key=lambda each: each[1])

    def has(self, entry: Tracked) -> bool:
        """Whether all that a change names was written by it or by a newer one."""
        marks = self.marks[entry.key]
        return all(part in marks and marks[part][1] >= entry.number for part in entry.writes)


def _merger(run: Iterable[Tracked]) -> dict[int | str, tuple[int | str, int]]:
    return {part: (value, entry.number) for entry in run for part, value in entry.writes.items()}


def _line(line: Line) -> dict[str, Any]:
    conversation, code = line
    if conversation is None:
        return {"ResultCode": code, "ContactItem": {"Type": 7}}
    one_to_one = conversation.type is ConversationType.ONE_TO_ONE
    return {
        "ResultCode": code,
        "ResultInfo": "",
        "ContactItem": {
            "Type": int(conversation.type),
            "To_Account" if one_to_one else "ToGroupId": conversation.id,
        },
    }


def _answer(code: int, lines: Iterable[Line], *, status: str | None = None) -> HttpAnswer:
    document = {
        "ActionStatus": status or ("FAIL" if code else "OK"),
        "ErrorCode": code,
        "ErrorInfo": "",
        "ResultItem": [_line(line) for line in lines],
    }
    return HttpAnswer(200, json.dumps(document).encode())


# What leads to another attempt of the whole; None is FAIL without a code over lines of success.
FAULTS: Final[tuple[Reply | None, ...]] = (
    NoAnswer(TransportError("lost"), "dropped", dropped=True),
    NoAnswer(TransportError("lost"), "connection"),
    HttpAnswer(502, b"<html>"),
    HttpAnswer(503, b"", retry_after="3"),
    HttpAnswer(429, b"", retry_after="2"),
    HttpAnswer(200, b"no JSON"),
    HttpAnswer(200, b'{"ActionStatus": "OK", "ErrorCo'),
    *(_answer(code, []) for code in (60007, 60008, 50004, 70001)),
    None,
)


class LanesMachine(RuleBasedStateMachine):
    """Does to `Engine` whatever a session, its callers and a server can do."""

    def __init__(self) -> None:
        super().__init__()
        # Requests without an answer that the server executes later.
        self.late: list[tuple[float, Call]] = []
        # What each conversation's last request without an answer held, and when that is over.
        self.doubts: dict[Key, tuple[float, MarkChange]] = {}
        self.server = Server()
        self.now = 0.0
        self.all: list[Tracked] = []
        self.job = Job()
        self.rows: dict[int, Tracked] = {}
        self.live: dict[Key, list[Tracked]] = {}
        self.flying: list[Call] = []
        self.flushes = 0
        self.crowds = self.disasters = 0
        self.refused_until = 0.0
        self.refusal: Fate = 0
        self.ending = False

    @property
    def now(self) -> float:
        """The time; what the server executes late is executed as it passes."""
        return self._now

    @now.setter
    def now(self, now: float) -> None:
        self._now = now
        for at, call in self.late:
            if at <= now:
                self._execute(call)
        self.late = [each for each in self.late if each[0] > now]
        self.doubts = {key: doubt for key, doubt in self.doubts.items() if doubt[0] > now}

    @initialize(
        linger=st.sampled_from([0.0, 0.0, 0.5]),
        deadline=st.sampled_from([4.0, 60.0]),
        backoff=st.sampled_from([0.0, 0.25, 1.0]),
        failures=st.sampled_from([0, 19]),
        max_in_flight=st.sampled_from([None, 1, 2, 8]),
        trusted=st.sampled_from([True, True, False]),
        most=st.sampled_from([100, 30, 2]),
        senders=st.sampled_from([0, 3, 5]),
    )
    def start(
        self,
        linger: float,
        deadline: float,
        backoff: float,
        failures: int,
        max_in_flight: int | None,
        trusted: bool,
        most: int,
        senders: int,
    ) -> None:
        """Begin with a session that may have seen some of life."""
        self.deadline = deadline
        self.most = most
        self.senders = senders
        self.lanes = Engine(
            backoff=lambda retry: min(8.0, backoff * 2.0 ** (retry - 1)),
            deadline=deadline,
            linger=linger,
            max_in_flight=max_in_flight,
        )
        if trusted:
            self.lanes.breaker.succeeded(0.0)
        self.lanes.breaker._failures = failures

    # What callers do.

    @rule(
        wishes=st.lists(
            st.tuples(accounts, st.sampled_from(FEW), st.sampled_from(WRITES), ways),
            min_size=2,
            max_size=6,
        ),
    )
    def submit(self, wishes: list[tuple[str, Conversation, Writes, str]]) -> None:
        """Submit changes of a few conversations, of callers and of bulk jobs."""
        for account, conversation, writes, way in wishes:
            self._submit([(account, conversation)], writes, way)
        self._send()

    @precondition(lambda self: self.crowds < 2)
    @rule(
        account=accounts,
        first=st.sampled_from([0, 60]),
        count=st.sampled_from([30, 99, 101, 150]),
        writes=st.sampled_from(WRITES),
        way=ways,
    )
    def submit_crowd(self, account: str, first: int, count: int, writes: Writes, way: str) -> None:
        """Submit a change of each of many conversations."""
        self.crowds += 1
        keys = [(account, conversation) for conversation in CROWD[first : first + count]]
        self._submit(keys, writes, way)

    @rule(
        keys=st.lists(st.tuples(accounts, st.sampled_from(FEW)), min_size=2, max_size=12),
        writes=st.sampled_from(WRITES),
    )
    def submit_rows(self, keys: list[tuple[str, Conversation]], writes: Writes) -> None:
        """Submit rows of a job together, of several users and some of one conversation."""
        self._submit(keys, writes, ROW)
        self._send()

    # What a session does.

    @precondition(lambda self: self.live or self.now < self.refused_until)
    @rule(seconds=st.sampled_from([None, None, 0.125, 0.5, 1.0, 2.0, 5.0, 40.0]))
    def advance(self, seconds: float | None) -> None:
        """Let time pass, or sleep as long as the lanes say that there is nothing to do."""
        if seconds is not None:
            self.now += seconds
        elif not self._look():
            self.now = self.lanes.wake_at(self.now) or self.now
        self._expire()
        self._send()

    @precondition(lambda self: self.live)
    @rule(most=st.integers(1, 5))
    def take(self, most: int) -> None:
        """Have more requests in flight than this session is eager for."""
        while len(self.flying) < most and self._take():
            pass

    @precondition(lambda self: self.live)
    @rule(
        what=st.sampled_from(
            ["withdraw", "withdraw", "start flush", "end flush", "expire", "read", "fill"]
        ),
        place=st.integers(0, 1000),
        newest=booleans,
    )
    def manage(self, what: str, place: int, newest: bool) -> None:
        """Withdraw a change, flush, look at the deadlines, or read on."""
        if what == "withdraw":
            self._withdraw(place, newest=newest)
        elif what == "expire":
            self._expire()
        elif what == "read":
            self.lanes.scheduler.readers = 1 - self.lanes.scheduler.readers
        elif what == "fill":
            self.lanes.scheduler.is_full = not self.lanes.scheduler.is_full
        elif what == "end flush":
            if self.flushes:
                self.lanes.end_flush()
                self.flushes -= 1
        elif self.flushes < 2:
            ticket = self.lanes.start_flush(self.now)
            self.flushes += 1

            assert not self.lanes.ledger.is_settled(ticket)
        self._send()

    @precondition(lambda self: len(self.live) > 3 and self.disasters < 1)
    @rule()
    def fail_waiting(self) -> None:
        """Drop what is not in flight, as a close does that sends nothing more."""
        self.disasters += 1
        waiting = self._waiting()

        assert set(waiting) == set(self._told(self.lanes.fail_waiting(unsent)))
        assert all(isinstance(_error(entry), UnsentError) for entry in waiting)

    # What the server does.

    @precondition(lambda self: self.flying)
    @rule(place=which)
    def answer_well(self, place: int) -> None:
        """Do all that was asked."""
        self._answer_well(self._pick(place))

    @precondition(lambda self: self.flying)
    @rule(
        place=which,
        codes=st.lists(
            st.sampled_from([0, 0, 0, 50004, 50005, 51007, 50001, 51008, 60007, 99999, None]),
            min_size=1,
            max_size=7,
        ),
        applied=booleans,
        turned=booleans,
        doubled=st.sampled_from([None, None, 0, 50004, 50001]),
        extra=booleans,
    )
    def answer_in_parts(
        self,
        place: int,
        codes: list[int | None],
        applied: bool,
        turned: bool,
        doubled: int | None,
        extra: bool,
    ) -> None:
        """Give each item a code of its own, or no line; claims of a fault may be wrong."""
        call = self._pick(place)
        lines: list[Line] = []
        fates: list[set[Fate]] = []
        for run, code in zip(call.runs, itertools.cycle(codes), strict=False):
            if code == 0 or (applied and code in (None, 50004, 50005)):
                self.server.apply(run)
            if code is not None:
                lines.append((run[0].change.conversation, code))
            fates.append(_fates_of(code))
        if doubled is not None and lines:
            # The first line counts, unless it claims success.
            lines.append((lines[0][0], doubled))
            if lines[0][1] == 0:
                fates[next(i for i, fate in enumerate(fates) if fate == {0})] = _fates_of(doubled)
        elif turned:
            lines.reverse()
        if extra:
            lines[:0] = [(Conversation.group("stranger"), 50001), (None, 50001)]
        self._settle(call, _answer(0, lines), fates)

    @precondition(lambda self: self.flying)
    @rule(
        place=which,
        lands=st.sampled_from([None, 0.0, 0.4, 2.9]),
        reply=st.sampled_from(FAULTS),
    )
    def answer_with_a_fault(self, place: int, lands: float | None, reply: Reply | None) -> None:
        """
        Answer so that all is to be sent again, whether it takes effect, at once or later, or not.
        """
        call = self._pick(place)
        if reply is None:
            lines = [(run[0].change.conversation, 0) for run in call.runs]
            reply = _answer(0, lines, status="FAIL")
        if lands is not None and classify_marks(reply, call.batch.changes).may_run:
            self.late.append((self.now + lands, call))
            self.now += 0.0
        elif lands is not None:
            self._execute(call)
        self._settle_alike(call, reply, AGAIN)

    @precondition(lambda self: any(len(call.runs) > self.most for call in self.flying))
    @rule()
    def refuse_size(self) -> None:
        """Say that a request has too many items."""
        call = next(call for call in self.flying if len(call.runs) > self.most)
        self.flying.remove(call)
        self._settle_alike(call, _answer(51006, []), AGAIN)

    @precondition(lambda self: self.flying)
    @rule(place=which, code=st.sampled_from([50001, 50002]))
    def refuse_request(self, place: int, code: int) -> None:
        """Refuse a call with a code that stands for all, over lines of which some differ."""
        call = self._pick(place)
        if code == 50002 and len(call.runs) > 1:
            self._settle_alike(call, _answer(code, []), AGAIN)
            return
        codes = itertools.cycle([0, 50004, 51008, None])
        each = [(run[0].change.conversation, next(codes)) for run in call.runs]
        lines = [(to, line) for to, line in each if line is not None]
        self._settle(
            call, _answer(code, lines), [_fates_of(line) if line else {code} for _, line in each]
        )

    @precondition(lambda self: len(self.flying) > 1 and self.disasters < 1)
    @rule(place=which, answer=st.sampled_from([50003, 404]))
    def refuse_application(self, place: int, answer: int) -> None:
        """Refuse whatever this application asks."""
        self.disasters += 1
        call = self._pick(place)
        self.refusal = None if answer == 404 else answer
        self.refused_until = self.now + 1.0
        reply = HttpAnswer(404, b"") if answer == 404 else _answer(answer, [])
        self._settle_alike(call, reply, self.refusal, waiting=True)

    @precondition(lambda self: len(self.flying) > 1 and self.disasters < 1)
    @rule(place=which, codes=st.lists(st.sampled_from([0, 50004, 50001]), min_size=1, max_size=3))
    def refuse_application_in_a_line(self, place: int, codes: list[int]) -> None:
        """Refuse it in the line of one conversation."""
        self.disasters += 1
        call = self._pick(place)
        self.refusal, self.refused_until = 50003, self.now + 1.0
        each = [50003, *itertools.islice(itertools.cycle(codes), len(call.runs) - 1)]
        for run, code in zip(call.runs, each, strict=True):
            if code == 0:
                self.server.apply(run)
        lines = [
            (run[0].change.conversation, code) for run, code in zip(call.runs, each, strict=True)
        ]
        fates: list[set[Fate]] = [{code if code in (0, 50001) else 50003} for code in each]
        self._settle(call, _answer(0, lines), fates, waiting=True)

    # What must hold after each step.

    @invariant()
    def books_balance(self) -> None:
        """Every change has at most one outcome, for ever, and is told once; the sums agree."""
        ledger = self.lanes.ledger
        counts = {"succeeded": 0, "failed": 0, "withdrawn": 0}
        for entry in self.all:
            assert entry.outcome is entry.told
            assert entry.calls == entry.attempts or (entry.way == ROW and entry.told is None)

            if entry.told is not None:
                counts[_kind(entry.told)] += 1
        pending = sum(map(len, self.live.values()))

        assert len(self.all) == ledger.accepted
        assert (pending, counts) == (
            ledger.pending,
            {kind: getattr(ledger, kind) for kind in counts},
        )
        assert ledger.accepted == ledger.pending + sum(counts.values())
        assert ledger.failed == sum(ledger.failures_by_code.values())
        assert len(self.flying) == self.lanes.in_flight

    @invariant()
    def lanes_count_right(self) -> None:
        """What lanes remember of their items is what their items are."""
        for lane in self.lanes.scheduler._lanes.values():
            items = lane._index.values()
            going = [item for item in items if not item.is_parked]
            queued = {id(item) for item in (*lane._front, *lane._rear)}

            runs = lane._rows._urgent + lane._rows._bulk
            rows = [row for run in runs for row in run.changes]

            assert {row.conversation.key for row in rows} == lane._rows.keys
            assert len(rows) == len(lane._rows)
            assert not lane._rows.keys & lane._index.keys()
            assert len(going) + len(rows) == lane.size
            assert sum(item.is_urgent for item in going) == lane._urgent_count
            assert all(id(item) in queued for item in going)
            assert not lane.is_idle

    def teardown(self) -> None:
        """With a server that obliges everything ends, soon, and nothing is left behind."""
        if not hasattr(self, "lanes"):
            return
        self.ending = True
        while self.flying:
            self._answer_well(self._pick(0))
        # The longest pause, the longest backoff, the deadline and the patience with a bulk job.
        end = self.now + 30.0 + 8.0 + 5.0 + 3.0 + self.deadline
        # What is newer than a change in doubt goes by itself.
        most_calls = len(self.live) + len(self.doubts)
        while self.live:
            if self._take():
                most_calls -= 1
                if len(self.flying) == 3:
                    self._answer_well(self._pick(0))
            elif self.flying:
                self._answer_well(self._pick(0))
            else:
                self.now = self.lanes.wake_at(self.now) or end + 1.0

                assert self.now <= end, "a lane was forgotten"
        while self.flying:
            self._answer_well(self._pick(0))
        self.books_balance()

        assert not self.lanes.has_ready(self.now)

        while (wake := self.lanes.wake_at(self.now)) is not None:
            self.now = wake

            assert self.now <= end
            assert not self.lanes.has_ready(self.now)
        self._check_end()

        assert most_calls >= 0, "more calls than conversations"

    def _check_end(self) -> None:
        lanes = self.lanes

        assert not lanes.scheduler._lanes
        assert not lanes.scheduler._timers
        assert lanes.ledger.is_settled(lanes.ledger.start_epoch())
        assert not lanes.scheduler._ready.has_any(self.now, partial=True)

        for key, marks in self.server.marks.items():
            ours = [entry for entry in self.all if entry.key == key]
            for part, (value, number) in marks.items():
                writer = self.all[number]
                done = [e for e in ours if part in e.writes and _kind(e.told) == "succeeded"]

                assert value == writer.writes[part]
                assert _kind(writer.told) in ("succeeded", "failed")
                assert number >= max((entry.number for entry in done), default=0)
        assert all(self.server.has(e) for e in self.all if _kind(e.told) == "succeeded")

    # How it is done.

    def _withdraw(self, place: int, *, newest: bool) -> None:
        runs = list(self.live.values())
        entry = runs[place % len(runs)][-1 if newest else 0]
        if entry.way == ROW:
            mine = {e for run in runs for e in run if e.way == ROW and not e.calls}

            assert mine == set(self._told(self.lanes.withdraw_many(self.job, self.now)))
            assert all(each.outcome is WITHDRAWN for each in mine)

            return

        assert (entry.calls == 0) == self.lanes.withdraw(entry, self.now)

        if not entry.calls:
            self._told([entry])

            assert entry.outcome is WITHDRAWN

    def _expire(self) -> None:
        held, resumes = self.lanes.breaker.held_since, self.lanes.breaker.resume_at
        failing = self.lanes.breaker.failing_since
        has_attempt = held is None or abs(self.now - resumes) <= 1
        due, almost = [], []
        if self.lanes.may_be_late(self.now):
            for entry in self._waiting():
                if entry.started is not None:
                    # A last attempt at the deadline may be late for want of a turn.
                    end = entry.started + self.deadline
                else:
                    end = math.inf if failing is None else max(failing, entry.admitted)
                    end += self.deadline
                end += has_attempt
                if self.now >= end + (TOGETHER if entry.way == ROW else 0.0):
                    due.append(entry)
                elif self.now >= end:
                    almost.append(entry)
        late = self._told(self.lanes.expire(self.now))

        assert set(due) <= set(late) <= {*due, *almost}
        assert all(isinstance(_error(entry), DeadlineExceededError) for entry in late)

    def _submit(self, keys: list[Key], writes: Writes, way: str) -> None:
        entries = [
            Tracked(key, writes, number, self.now, way)
            for number, key in enumerate(keys, len(self.all))
        ]
        self.all += entries
        if way == ROW:
            self.rows.update((id(entry.change), entry) for entry in entries)
            rows = [entry.change for entry in entries]
            ended = self.lanes.admit_many(rows, self.job, self.now)
            accepted = not ended

            assert accepted or rows == [entry.change for entry in ended]

            self._learn(ended)
        else:
            accepted = not self.lanes.admit(entries, self.now)

        assert (self.now >= self.refused_until) == accepted

        for entry in entries:
            if accepted:
                self.live.setdefault(entry.key, []).append(entry)
            else:
                entry.told = entry.outcome

                assert entry.told is not None
                assert self.refusal == entry.told.code

    def _learn(self, done: Iterable[Entry]) -> list[Tracked]:
        """
        Return the changes of entries; what became of rows is known of the entries they became.
        """
        learnt = []
        for entry in done:
            if not isinstance(entry, Tracked):
                row = self.rows[id(entry.change)]

                assert self.job is entry.sink

                row.outcome, row.attempts = entry.outcome, entry.attempts
                entry = row  # noqa: PLW2901
            learnt.append(entry)
        return learnt

    def _look(self) -> bool:
        """
        Look for work as the sending task does; if there is none, it must know when to look again.
        """
        lanes = self.lanes
        ready = lanes.has_ready(self.now)
        wake = lanes.wake_at(self.now)
        times = [
            self._ready_from(lane)
            for lane in lanes.scheduler._lanes.values()
            if not lane.is_scheduled
        ]

        assert all(time > self.now for time in times), "a lane was forgotten"

        wakes = [time for time in times if time < math.inf]

        assert not wakes or (wake is not None and wake <= min(wakes)), "a lane was forgotten"
        assert ready or self.flying or not self.live or wake is not None, "all were forgotten"

        return ready

    def _ready_from(self, lane: Lane) -> float:
        """Return when a lane may send, infinity while a request of it is in flight."""
        if lane.in_flight is not None:
            return math.inf
        times = [lane.backoff_until, -math.inf if lane.size else lane.due]
        if lane.size < min(lane.limit, self.lanes.scheduler._limit) and not self.flushes:
            times.append(lane.linger_until)
        return max(times)

    def _send(self) -> None:
        """Keep as many requests in flight as this example's session is eager for."""
        while len(self.flying) < self.senders and self._take():
            pass

    def _take(self) -> bool:
        ready = self._look()
        held = self.lanes.breaker.held_since
        batch = self.lanes.take(self.now)

        assert ready == (batch is not None)

        if batch is None:
            return False
        account = batch.account
        named = [change.conversation for change in batch.changes]

        assert held is None or not self.flying, "more than one probe"
        assert all(account != call.batch.account for call in self.flying)
        assert 1 <= len(named) <= 100
        assert len(set(named)) == len(named)
        assert self.now == batch.sent_at

        # A copy: the lists in `live` change when the call has ended.
        runs = [self._sendable((account, conversation)) for conversation in named]
        items = batch._items
        since = {id(row): run.first_sent_at for run in batch._runs for row in run.changes}

        assert len(items) + len(since) == len(named)

        for place, (run, change) in enumerate(zip(runs, batch.changes, strict=True)):
            merger = {part: value for part, (value, _) in _merger(run).items()}

            assert _change(run[0].key, merger) == change

            if place < len(items):
                sent = [entry.change for entry in items[place].entries]
                begun = items[place].entries[0].first_sent_at
            else:
                sent, begun = [change], since[id(change)]

            assert list(map(id, sent)) == [id(entry.change) for entry in run]

            for entry in run:
                entry.calls += 1
                if entry.started is None:
                    entry.started = self.now if held is None else max(held, entry.admitted)
                    if entry.way == ROW and len(run) == 1 and begun is not None:
                        assert 0 <= begun - entry.started <= TOGETHER

                        entry.started = begun
        self.flying.append(Call(batch, runs))
        return True

    def _sendable(self, key: Key) -> list[Tracked]:
        """
        Return what may be sent for a conversation: while it is in doubt, the same change only.
        """
        run = self.live[key]
        if key not in self.doubts:
            return list(run)
        _, change = self.doubts[key]
        sendable = itertools.takewhile(lambda e: bool(e.calls) or e.change == change, run)
        return list(sendable)

    def _pick(self, place: int) -> Call:
        """Take a request out of the air."""
        return self.flying.pop(place % len(self.flying))

    def _execute(self, call: Call) -> None:
        for run in call.runs:
            self.server.apply(run)

    def _answer_well(self, call: Call) -> None:
        self._execute(call)
        lines = [(run[0].change.conversation, 0) for run in call.runs]
        self._settle_alike(call, _answer(0, lines), 0)

    def _settle_alike(self, call: Call, reply: Reply, fate: Fate, *, waiting: bool = False) -> None:
        self._settle(call, reply, [{fate} for _ in call.runs], waiting=waiting)

    def _settle(
        self, call: Call, reply: Reply, fates: list[set[Fate]], *, waiting: bool = False
    ) -> None:
        """Give the answer; *waiting* says that it ends what waits, too."""
        sent = {entry for run in call.runs for entry in run}
        others = [entry for entry in self._waiting() if entry not in sent] if waiting else []
        verdict = classify_marks(reply, call.batch.changes)
        if verdict.may_run:
            for run, change in zip(call.runs, call.batch.changes, strict=True):
                self.doubts[run[0].key] = (self.now + 3.0, change)
        settled = self.lanes.settle(call.batch, verdict, self.now)
        rows = [self.rows[id(row)] for _, changes in settled.confirmed for row in changes]
        for row in rows:
            row.outcome, row.attempts = SUCCESS, 1
        ended = self._told([*settled.done, *rows])
        for run, fate in zip(call.runs, fates, strict=True):
            for entry in run:
                self._check_fate(entry, fate)
        for entry in others:
            self._check_fate(entry, {self.refusal})

        assert set(ended) <= {*sent, *others}

        if not self.ending:
            self._send()

    def _check_fate(self, entry: Tracked, allowed: set[Fate]) -> None:
        late = entry.started is not None and self.now >= entry.started + self.deadline
        error = _error(entry)
        fate: Fate
        if entry.outcome is None:
            assert not late

            fate = AGAIN
        elif isinstance(error, DeadlineExceededError):
            assert late

            fate = AGAIN
        elif isinstance(error, OutcomeUnknownError):
            fate = UNKNOWN
        else:
            fate = entry.outcome.code

        assert fate in allowed
        assert fate != 0 or self.server.has(entry), "a success that took no effect"

    def _told(self, done: Iterable[Entry]) -> list[Tracked]:
        """Take note of the changes that ended: each once, and each with an outcome."""
        entries = self._learn(done)
        for entry in entries:
            assert entry.told is None, "told twice"
            assert entry.outcome is not None

            entry.told = entry.outcome
            run = self.live[entry.key]
            run.remove(entry)
            if not run:
                del self.live[entry.key]
        return entries

    def _waiting(self) -> list[Tracked]:
        flying = {entry for call in self.flying for run in call.runs for entry in run}
        return [entry for run in self.live.values() for entry in run if entry not in flying]


def _fates_of(code: int | None) -> set[Fate]:
    """Return what may become of an item with that code in its line, None for no line."""
    special: Mapping[int | None, set[Fate]] = {
        None: {AGAIN, UNKNOWN},
        51007: {AGAIN, 51007},
        **{retry: {AGAIN} for retry in (50004, 50005, 60007)},
    }
    return special.get(code, {code})


def _error(entry: Entry) -> BaseException | None:
    return None if entry.outcome is None else entry.outcome.error


def _kind(outcome: Outcome | None) -> str:
    if outcome is WITHDRAWN:
        return "withdrawn"
    if outcome is None:
        return "pending"
    return "succeeded" if outcome.error is None else "failed"


TestLanesMachine = LanesMachine.TestCase
TestLanesMachine.settings = settings(
    max_examples=int(os.environ.get("MACHINE_EXAMPLES", "200")),
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
