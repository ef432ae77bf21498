"""
At the ceiling of 200 calls a second: an emulator that refuses the 201st call in any second.

The round trip is 50 to 150 ms at random. The session is told 200, as by a user who has the whole
application to himself, and once its default, 190. Then a neighbour takes half of the 200, over HTTP
of its own, and tells nobody.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

import attrs

from benchmarks import farend, loads
from benchmarks.figures import Figure
from chatmark import Event, MarkSession, RequestEnded
from chatmark.failures import UnsentError

GROUP: Final = "ceiling"
_CEILING: Final = 200
_DEFAULT: Final = 190
_ROUND_TRIP: Final = (0.05, 0.15)
_ADMITTED: Final = "0"


@attrs.frozen
class _Size:
    calls: int
    alone: float
    shared: float


_FULL: Final = _Size(calls=3000, alone=5.0, shared=25.0)
_QUICK: Final = _Size(calls=60, alone=0.3, shared=1.5)


def run(*, quick: bool) -> Iterator[Figure]:
    """Yield the figures of this group."""
    size = _QUICK if quick else _FULL
    for pace in (_CEILING, _DEFAULT):
        with farend.emulator(calls_per_second=_CEILING, round_trip=_ROUND_TRIP) as far:
            yield from asyncio.run(_alone(far, size, pace))
    with farend.emulator(calls_per_second=_CEILING, round_trip=_ROUND_TRIP) as far:
        yield from asyncio.run(_shared(far, size))


@attrs.define
class _Count:
    """A hook that counts requests by how they ended."""

    admitted: int = 0
    others: int = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, RequestEnded):
            if event.reason == _ADMITTED:
                self.admitted += 1
            else:
                self.others += 1


def _session(url: str, pace: int, count: _Count) -> MarkSession:
    return MarkSession(farend.CREDENTIALS, base_url=url, calls_per_second=pace, hooks=[count])


async def _alone(far: farend.FarEnd, size: _Size, pace: int) -> Iterator[Figure]:
    count = _Count()
    async with _session(far.url, pace, count) as session:
        report = await session.apply(loads.changes(loads.rows(size.calls, loads.ITEMS)))
    ideal = size.calls / _CEILING
    busy = far.totals().cpu / report.elapsed
    return iter(
        [
            Figure(
                group=GROUP,
                name=f"time over ideal, alone, told {pace}",
                value=report.elapsed / ideal,
                goal=1.06,
                note=f"{report.calls:,} calls in {report.elapsed:.1f} s; "
                f"the emulator works {busy:.0%} of the time",
            ),
            Figure(
                group=GROUP,
                name=f"refused, alone, told {pace}",
                value=count.others,
                goal=0,
                unit="calls",
            ),
        ]
    )


async def _shared(far: farend.FarEnd, size: _Size) -> Iterator[Figure]:
    count = _Count()
    loop = asyncio.get_running_loop()
    async with _session(far.url, _CEILING, count) as session:
        # More rows than can be sent: the job is cut off when the time is over.
        job = asyncio.create_task(session.apply(loads.changes(loads.rows(100_000, loads.ITEMS))))
        await asyncio.sleep(size.alone)
        far.neighbour(_CEILING // 2)
        before, started = attrs.evolve(count), loop.time()
        neighbour = far.totals().neighbour
        await asyncio.sleep(size.shared)
        seconds = loop.time() - started
        admitted, refused = count.admitted - before.admitted, count.others - before.others
        left = _CEILING * seconds - (far.totals().neighbour - neighbour)
        far.neighbour(0)
        job.cancel()
        await asyncio.wait([job])
        with contextlib.suppress(UnsentError):
            await session.close(0)
    calls = admitted + refused
    return iter(
        [
            Figure(
                group=GROUP,
                name="refused, while a neighbour uses half",
                value=refused / calls if calls else 1.0,
                goal=0.01,
                note=f"{refused} of {calls} calls",
            ),
            Figure(
                group=GROUP,
                name="used of what is left, while a neighbour uses half",
                value=admitted / left,
                goal=0.95,
                at_least=True,
                note=f"{admitted} of {left:.0f} calls in {seconds:.0f} s",
            ),
        ]
    )
