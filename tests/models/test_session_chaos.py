import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Final

import pytest
from rig import model_state, windows
from strategies import random_changes
from virtual_rig import VirtualRig, changes

from chatmark import Conversation, MarkChange, MarkResult, MarkSession
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


async def in_bursts(rows: Sequence[MarkChange], rng: random.Random) -> AsyncIterator[MarkChange]:
    """Yield changes with pauses now and then."""
    for change in rows:
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

    async def mark(self, rows: Sequence[MarkChange]) -> int:
        """Mark in groups of tasks; return how many took effect."""
        done = 0
        for start in range(0, len(rows), 20):
            marks = [make(self.session, change) for change in rows[start : start + 20]]
            done += sum(result.ok for result in await asyncio.gather(*marks))
        return done

    async def submit(self, rows: Sequence[MarkChange]) -> int:
        """Submit, flush now and then, and await the handles; return how many took effect."""
        handles = []
        async for change in in_bursts(rows, self.rng):
            handles.append(await self.session.submit(change))
            if self.rng.random() < 0.01:
                await self.session.flush()
        return sum([(await handle.settled()).ok for handle in handles])

    async def apply(self, rows: Sequence[MarkChange]) -> int:
        """Apply as one bulk job; return how many took effect."""
        report = await self.session.apply(in_bursts(rows, self.rng))
        return report.succeeded

    async def stream(self, rows: Sequence[MarkChange]) -> int:
        """Stream as a consumer who pauses; return how many took effect."""
        done = 0
        async for result in self.session.stream(rows):
            done += result.ok
            if self.rng.random() < 0.05:
                await asyncio.sleep(self.rng.uniform(0.0, 0.3))
        return done


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.virtual_time(calls_per_second=200)
async def test_six_thousand_changes(rig: VirtualRig, seed: int) -> None:
    """
    Six thousand changes on 20 users and 60 conversations with faults of every kind: exact.

    They are made by single marks, submissions, a job and a stream at once, under the pace.
    """
    make_trouble(rig, seed)
    wanted = random_changes(seed, 6000, 20, 30)
    groups: list[list[MarkChange]] = [[] for _ in range(4)]
    for each in wanted:
        groups[int(each.from_account.removeprefix("user_")) % 4].append(each)
    session = rig.session(calls_per_second=190, timeout=ATTEMPT, deadline=900.0, max_pending=150)
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


async def test_ten_thousand_waiters_of_whom_half_are_cancelled(rig: VirtualRig) -> None:
    """
    The other half all succeed, nobody hangs, and each verdict says what the server shows.
    """
    make_trouble(rig, 4)
    rng = random.Random(4)
    session = rig.session(calls_per_second=20, timeout=ATTEMPT, deadline=900.0, max_pending=3000)
    loop = asyncio.get_running_loop()
    waiters = [loop.create_task(make(session, each)) for each in changes(10_000, 100)]
    cancelled = set(rng.sample(waiters, 5_000))
    for waiter in cancelled:
        loop.call_later(rng.uniform(0.0, 60.0), waiter.cancel)
    await asyncio.wait(waiters)
    await session.flush()
    stats = session.stats

    assert all(waiter.result().ok for waiter in waiters if waiter not in cancelled)
    assert len(rig.emulator.state.snapshot()) == stats.succeeded
    assert stats.accepted == stats.succeeded + stats.withdrawn
    # Some came to each end: they took effect, were never sent, or were never accepted.
    assert min(stats.succeeded - 5_000, stats.withdrawn, 10_000 - stats.accepted) > 100


@pytest.mark.parametrize("seed", range(3))
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
