"""
What a single `mark()` waits for.

On an idle session it is compared with the same POST by raw aiohttp, one after the other, against
the emulator and against the fast far end, which hides nothing. Under a bulk job its wait is counted
in round trips.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Iterator
from typing import Final

import aiohttp
import attrs

from benchmarks import farend, floors, loads
from benchmarks.figures import Figure
from benchmarks.measure import Spread, percentile
from benchmarks.throughput import open_session
from chatmark import Conversation, ConversationMark, MarkSession
from chatmark.failures import UnsentError

GROUP: Final = "latency"
_PEER: Final = Conversation.one_to_one("customer_0")
_BODY: Final = (
    b'{"From_Account":"user_0","MarkItem":[{"OptType":1,"ContactItem":{"Type":1,"To_Account":'
    b'"customer_0"},"SetMark":[0]}]}'
)
_ROUND_TRIP: Final = 0.1
# A mark that finds all places taken waits for one answer. Its turn is the pace's: three of four
# permits go to single marks, at 190 a second, and a late timer costs a little more.
_TURN: Final = 0.25


@attrs.frozen
class _Size:
    blocks: int
    marks: int
    under_bulk: int


_FULL: Final = _Size(blocks=20, marks=400, under_bulk=150)
_QUICK: Final = _Size(blocks=2, marks=20, under_bulk=3)


def run(*, quick: bool) -> Iterator[Figure]:
    """Yield the figures of this group."""
    size = _QUICK if quick else _FULL
    with farend.emulator() as far:
        yield from asyncio.run(_idle(far, size, "emulator", (1.25, 1.5)))
    with farend.fast() as far:
        yield from asyncio.run(_idle(far, size, "fast far end", (None, None)))
    with farend.fast(round_trip=_ROUND_TRIP) as far:
        yield from asyncio.run(_under_bulk(far, size))


async def _idle(
    far: farend.FarEnd, size: _Size, name: str, goals: tuple[float | None, float | None]
) -> Iterator[Figure]:
    url = floors.raw_url(far.signed_url)
    marks: list[float] = []
    posts: list[float] = []
    ratios: dict[float, list[float]] = {0.5: [], 0.99: []}
    async with aiohttp.ClientSession() as http, open_session(far.url) as session:
        for block in range(size.blocks + 1):
            block_marks, block_posts = [], []
            for _ in range(size.marks):
                started = time.perf_counter()
                await session.mark("user_0", _PEER, set_mark=ConversationMark.FAVORITE)
                between = time.perf_counter()
                await floors.post_raw(http, url, _BODY)
                block_marks.append(between - started)
                block_posts.append(time.perf_counter() - between)
            if block:
                marks += block_marks
                posts += block_posts
                for share, found in ratios.items():
                    found.append(percentile(block_marks, share) / percentile(block_posts, share))
    figures: list[Figure] = []
    for (share, found), goal in zip(ratios.items(), goals, strict=True):
        spread = Spread.of(found)
        figures.append(
            Figure(
                group=GROUP,
                name=f"mark() over raw POST, p{100 * share:.0f}, {name}",
                value=spread.median,
                goal=goal,
                spread=spread,
                note=f"{percentile(marks, share) * 1e6:.0f} us over all, "
                f"raw {percentile(posts, share) * 1e6:.0f}",
            )
        )
    return iter(figures)


async def _under_bulk(far: farend.FarEnd, size: _Size) -> Iterator[Figure]:
    figures: list[Figure] = []
    for name, user, pace in (
        ("another user's, paced", "single", 190.0),
        ("a user's of the job, paced", "user_000000", 190.0),
        ("another user's, unpaced", "single", None),
    ):
        async with _busy(far.url, pace) as session:
            waits = await _waits(session, user, size.under_bulk)
        figures.append(
            Figure(
                group=GROUP,
                name=f"wait of a mark under a bulk job, p99, {name}",
                value=percentile(waits, 0.99),
                goal=1 + _TURN,
                unit="round trips",
                note=f"median {percentile(waits, 0.5):.2f}, p90 {percentile(waits, 0.9):.2f}",
            )
        )
    return iter(figures)


@contextlib.asynccontextmanager
async def _busy(url: str, pace: float | None) -> AsyncIterator[MarkSession]:
    """Open a session with a bulk job that lasts for as long as anybody looks."""
    async with MarkSession(farend.CREDENTIALS, base_url=url, calls_per_second=pace) as session:
        rows = loads.rows(240, 100_000, interleaved=True)
        job = asyncio.create_task(session.apply(loads.changes(rows)))
        await asyncio.sleep(3 * _ROUND_TRIP)
        try:
            yield session
        finally:
            job.cancel()
            await asyncio.wait([job])
            with contextlib.suppress(UnsentError):
                await session.close(0)


async def _waits(session: MarkSession, user: str, count: int) -> list[float]:
    """Return for each of some marks how many round trips it waited before its own began."""
    rng = random.Random(11)
    waits: list[float] = []
    for number in range(count):
        await asyncio.sleep(rng.uniform(0, _ROUND_TRIP / 2))
        started = time.perf_counter()
        await session.mark(
            user, Conversation.one_to_one(f"p{number}"), set_mark=ConversationMark.FAVORITE
        )
        waits.append((time.perf_counter() - started) / _ROUND_TRIP - 1)
    return waits
