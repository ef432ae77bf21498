import asyncio
import collections
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

import attrs
import pytest
from rig import model_state, windows
from strategies import random_changes
from virtual_rig import VirtualRig

from chatmark import Conversation, ConversationMark, MarkChange, MarkResult, MarkSession
from chatmark.emulator import (
    CloseAfterAnswer,
    CutBody,
    Delay,
    DropLines,
    DuplicateLines,
    Empty,
    Envelope,
    ExtraLines,
    Fault,
    Garbled,
    Hang,
    Html,
    NamelessLines,
    Refuse,
    ResetAfter,
    ResetBefore,
    Shuffle,
    Status,
)

pytestmark = pytest.mark.virtual_time

#: Every kind of fault that another attempt can cure, some before and some after the effect.
FAULTS: Final[tuple[Fault, ...]] = (
    Status(408),
    Status(429, retry_after="0.5"),
    Status(500),
    Status(502, html=True),
    Status(503, retry_after=1.0, applied=True),
    ResetBefore(),
    ResetBefore(rst=False),
    ResetAfter(),
    ResetAfter(rst=False),
    CloseAfterAnswer(),
    CutBody(0.0),
    CutBody(0.5),
    CutBody(1.0),
    Html(),
    Html(applied=True),
    Empty(applied=True),
    Garbled(b"\xff\x00"),
    Garbled(applied=True),
    Envelope({"ActionStatus": "FAIL"}, applied=True),
    Envelope({"ResultItem": None}, applied=True),
    Refuse(50004),
    Refuse(60007),
    Refuse(60008),
    Refuse(70169),
    DuplicateLines(3),
    ExtraLines(2),
    Shuffle(),
    Delay(1.5),
    Delay(1.0, late=True),
    Delay(0.5, ResetAfter()),
    # Longer than an attempt may take.
    Delay(5.0),
    Hang(),
    Hang(applied=True),
)
#: Answers without a word on some conversation; three in a row would rightly end as unknown.
SILENT: Final = (DropLines(2), DropLines(1, applied=False), NamelessLines(1))
ATTEMPT: Final = 3.0


def make_trouble(rig: VirtualRig, seed: int) -> None:
    """Let every fourth request and every twentieth item meet a fault."""
    rng = random.Random(seed)
    rig.emulator._app._round_trip = random.Random(rng.random()).random
    script = rig.emulator.script
    script.shuffle_lines = True
    script.randomly(0.25, FAULTS, rng=random.Random(rng.random()))
    script.randomly(0.01, SILENT, rng=random.Random(rng.random()))
    script.items_randomly(0.05, [50004, 50005], rng=random.Random(rng.random()))


async def in_bursts(changes: Sequence[MarkChange], rng: random.Random) -> AsyncIterator[MarkChange]:
    """Yield changes with pauses now and then."""
    for change in changes:
        if rng.random() < 0.05:
            await asyncio.sleep(rng.uniform(0.0, 0.3))
        yield change


async def make(session: MarkSession, change: MarkChange) -> MarkResult:
    """Make a change as a service does."""
    return await session.mark(
        change.from_account,
        change.conversation,
        set_mark=change.set_mark,
        clear_mark=change.clear_mark,
        custom_mark=change.custom_mark,
    )


class Callers:
    """The four ways to have changes made, each of which takes those of its own users."""

    def __init__(self, session: MarkSession, rng: random.Random) -> None:
        self.session = session
        self.rng = rng

    async def mark(self, changes: Sequence[MarkChange]) -> int:
        """Mark in groups of tasks; return how many took effect."""
        done = 0
        for start in range(0, len(changes), 20):
            marks = [make(self.session, change) for change in changes[start : start + 20]]
            done += sum(result.ok for result in await asyncio.gather(*marks))
        return done

    async def submit(self, changes: Sequence[MarkChange]) -> int:
        """Submit, flush now and then, and await the handles; return how many took effect."""
        handles = []
        async for change in in_bursts(changes, self.rng):
            handles.append(await self.session.submit(change))
            if self.rng.random() < 0.01:
                await self.session.flush()
        return sum([(await handle.settled()).ok for handle in handles])

    async def apply(self, changes: Sequence[MarkChange]) -> int:
        """Apply as one bulk job; return how many took effect."""
        report = await self.session.apply(in_bursts(changes, self.rng))
        return report.succeeded

    async def stream(self, changes: Sequence[MarkChange]) -> int:
        """Stream as a consumer who pauses; return how many took effect."""
        done = 0
        async for result in self.session.stream(changes):
            done += result.ok
            if self.rng.random() < 0.05:
                await asyncio.sleep(self.rng.uniform(0.0, 0.3))
        return done


class TestManyCallers:
    @pytest.mark.parametrize("seed", [1, 2, 3])
    @pytest.mark.virtual_time(calls_per_second=200)
    async def test_six_thousand_changes(self, rig: VirtualRig, seed: int) -> None:
        """
        Six thousand changes on 20 users and 60 conversations with faults of every kind: exact.

        They are made by single marks, submissions, a job and a stream at once, under the pace.
        """
        make_trouble(rig, seed)
        wanted = random_changes(seed, 6000, 20, 30)
        groups: list[list[MarkChange]] = [[] for _ in range(4)]
        for change in wanted:
            groups[int(change.from_account.removeprefix("user_")) % 4].append(change)
        session = rig.session(
            calls_per_second=190, timeout=ATTEMPT, deadline=900.0, max_pending=150
        )
        callers = Callers(session, random.Random(seed))
        ways = (callers.mark, callers.submit, callers.apply, callers.stream)
        done = await asyncio.gather(*(way(group) for way, group in zip(ways, groups, strict=True)))
        unscripted = [call for call in rig.emulator.calls if call.code == 60007 and not call.fault]

        assert [len(group) for group in groups] == done
        assert (6000, 6000) == (session.stats.accepted, session.stats.succeeded)
        assert model_state(wanted) == rig.emulator.state.snapshot()
        assert len(session.stats.retries_by_reason) >= 12
        assert session.stats.calls > 600
        assert [] == unscripted
        assert windows(call.started for call in rig.emulator.calls) <= 190


@attrs.define(eq=False)
class Waiter:
    """One who waits for a mark: a change with a bit of its own, and what became of both."""

    change: MarkChange
    tag: int
    succeeded: bool = False
    verdict: MarkResult | None = None

    @property
    def key(self) -> tuple[str, int, str]:
        """The conversation as the emulator's snapshot has it."""
        conversation = self.change.conversation
        return self.change.from_account, int(conversation.type), conversation.id


def waiters(rng: random.Random, count: int) -> Iterator[Waiter]:
    """Yield waiters who quarrel about few conversations, and whose changes can be told apart."""
    tags: collections.Counter[tuple[str, str]] = collections.Counter()
    while count:
        place = f"user_{rng.randrange(100)}", f"peer_{rng.randrange(20)}"
        tag = 32 + tags[place]
        if tag > 63:
            continue
        tags[place] += 1
        count -= 1
        quarrel = rng.choice((ConversationMark.FAVORITE, ConversationMark.HIDDEN))
        change = MarkChange(
            place[0],
            Conversation.one_to_one(place[1]),
            ConversationMark.extension(tag) | rng.choice((quarrel, ConversationMark(0))),
            rng.choice((ConversationMark.UNREAD, ~quarrel & _NAMED)) & ~quarrel,
            rng.choice((None, "", "a", "b")),
        )
        yield Waiter(change, tag)


_NAMED: Final = ConversationMark.FAVORITE | ConversationMark.HIDDEN | ConversationMark.UNREAD


class Crowd:
    """Many waiters at once, half of whom are cancelled at random moments."""

    def __init__(self, rig: VirtualRig, session: MarkSession, seed: int, count: int) -> None:
        self.rig = rig
        self.session = session
        self.rng = random.Random(seed)
        self.all = list(waiters(self.rng, count))
        self.cancelled = self.rng.sample(self.all, count // 2)

    async def wait(self, seconds: float) -> None:
        """Let them wait, and cancel half of them within that time."""
        loop = asyncio.get_running_loop()
        tasks = {waiter: loop.create_task(make(self.session, waiter.change)) for waiter in self.all}
        for waiter in self.cancelled:
            loop.call_later(self.rng.uniform(0.0, seconds), tasks[waiter].cancel)
        await asyncio.wait(tasks.values())
        await self.session.flush()
        for waiter, task in tasks.items():
            waiter.succeeded = not task.cancelled() and task.result().ok
        verdicts = {result.change: result for result in self.rig.results}
        for waiter in self.all:
            waiter.verdict = verdicts.get(waiter.change)

    @property
    def patient(self) -> list[Waiter]:
        """Those who were not cancelled."""
        gone = set(self.cancelled)
        return [waiter for waiter in self.all if waiter not in gone]


class TestTenThousandWaiters:
    async def test_half_of_them_cancelled(self, rig: VirtualRig) -> None:
        """
        Ten thousand waiters, half cancelled at random moments: the other half all succeed.

        Nobody hangs, and each verdict says what the server shows.
        """
        make_trouble(rig, 4)
        session = rig.session(
            calls_per_second=20, timeout=ATTEMPT, deadline=900.0, max_pending=3000
        )
        crowd = Crowd(rig, session, 4, 10_000)
        await crowd.wait(60.0)
        state = rig.emulator.state.snapshot()
        shown = [w for w in crowd.all if state.get(w.key, (0, ""))[0] >> w.tag & 1]
        kinds = collections.Counter(_kind(waiter) for waiter in crowd.all)
        stats = session.stats

        assert 5000 == sum(waiter.succeeded for waiter in crowd.patient)
        assert {"succeeded"} == {_kind(waiter) for waiter in shown}
        assert len(shown) == kinds["succeeded"] == stats.succeeded
        assert kinds["withdrawn"] == stats.withdrawn
        assert kinds.total() - kinds["never accepted"] == stats.accepted
        assert min(kinds.values()) > 100
        assert model_state(waiter.change for waiter in shown) == state


def _kind(waiter: Waiter) -> str:
    if waiter.verdict is None:
        return "never accepted"
    if waiter.verdict.ok:
        return "succeeded"
    return "withdrawn" if waiter.verdict.attempts == 0 else "failed"


@pytest.mark.parametrize("seed", range(12))
async def test_many_beside_others(rig: VirtualRig, seed: int) -> None:
    """Of one conversation, the last of what mark_many, mark and apply were told stands."""
    make_trouble(rig, seed)
    rng = random.Random(seed)
    session = rig.session(timeout=ATTEMPT, deadline=1e6, max_in_flight=4)
    pool = [Conversation.one_to_one(f"peer_{number}") for number in range(230)]
    pool += [Conversation.group(f"peer_{number}") for number in range(30)]
    last: dict[tuple[str, Conversation], str] = {}
    work: list[asyncio.Task[object]] = []
    for number in range(60):
        account, text = f"user_{rng.randrange(3)}", f"text_{number}"
        some = rng.sample(pool, rng.choice([1, 3, 100, 130, 260]))
        last |= dict.fromkeys([(account, each) for each in some], text)
        kind = rng.randrange(3)
        if kind == 0:
            rows = [MarkChange(account, each, custom_mark=text) for each in some]
            handles = [session.submit_nowait(row) for row in rows]
            work += [asyncio.ensure_future(handle.settled()) for handle in handles]
        else:
            work.append(asyncio.ensure_future(session.mark_many(account, some, custom_mark=text)))
        # A task accepts its changes in its first turn.
        await asyncio.sleep(0)
        if rng.random() < 0.5:
            await asyncio.sleep(rng.uniform(0.0, 2.0))
    await asyncio.gather(*work)

    found = {
        (account, Conversation(kind, peer)): custom  # type: ignore[arg-type]
        for (account, kind, peer), (_, custom) in rig.emulator.state.snapshot().items()
    }
    assert last == found
