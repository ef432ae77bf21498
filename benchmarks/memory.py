"""
Memory: of a pending change, of jobs of all sizes, of the flag type over a million values.

Each figure comes from a fresh process, for which others have left nothing behind.
"""

import asyncio
import contextlib
import enum
import gc
import multiprocessing
import pathlib
import re
import resource
import tracemalloc
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, Final

import attrs

from benchmarks import farend, loads
from benchmarks.core import Core
from benchmarks.figures import Figure
from benchmarks.measure import stay_on_first_core
from benchmarks.silent import Silent
from benchmarks.throughput import open_session
from chatmark import ConversationMark, MarkHandle, MarkSession
from chatmark.failures import UnsentError

GROUP: Final = "memory"
_SPAWN: Final = multiprocessing.get_context("spawn")
_MEBI: Final = 1 << 20
_PER_USER: Final = 100


@attrs.frozen
class _Size:
    pending: int
    peaks: tuple[int, int, int]
    masks: int
    kept_masks: int


_FULL: Final = _Size(100_000, (30_000, 300_000, 3_000_000), 1_000_000, 200_000)
_QUICK: Final = _Size(1_000, (300, 3_000, 6_000), 10_000, 2_000)


def run(*, quick: bool) -> Iterator[Figure]:
    """Yield the figures of this group."""
    size = _QUICK if quick else _FULL
    yield from _pending(size)
    yield from _peaks(size)
    yield from _flags(size)


def _alone(function: Callable[..., Any], *arguments: object) -> Any:
    """Return what a function returns in a fresh process."""
    here, there = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_report, args=(there, function, arguments))
    process.start()
    there.close()
    try:
        return here.recv()
    finally:
        process.join()


def _report(pipe: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    stay_on_first_core()
    pipe.send(function(*arguments))


def _resident(field: str = "VmRSS") -> int:
    """Return the bytes that this process has in memory, or had at most for `VmHWM`."""
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = re.search(rf"{field}:\s+(\d+) kB", status.read_text(encoding="ascii"))
    return int(found[1]) * 1024 if found else 0


def _pending(size: _Size) -> Iterator[Figure]:
    for name, hold in (
        ("change by itself, with its conversation", _hold_changes),
        ("pending row of a job, the change included", _hold_rows),
        ("pending single change with its handle, the change included", _hold_handles),
    ):
        traced = _alone(_traced, hold, size.pending) / size.pending
        grown = _alone(_grown, hold, size.pending) / size.pending
        yield Figure(
            group=GROUP,
            name=f"a {name}",
            value=traced,
            unit="bytes",
            note=f"{grown:.0f} resident, {size.pending:,} of them",
        )


def _traced(hold: Callable[[int], "_Held"], count: int) -> int:
    hold(10).release()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    held = hold(count)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    held.release()
    return after - before


def _grown(hold: Callable[[int], "_Held"], count: int) -> int:
    hold(10).release()
    gc.collect()
    before = _resident()
    held = hold(count)
    gc.collect()
    after = _resident()
    held.release()
    return after - before


def _rows(count: int) -> Iterator[loads.Row]:
    return loads.rows(-(-count // _PER_USER), min(count, _PER_USER))


@attrs.frozen
class _Held:
    """What is measured, and what lets go of it."""

    things: object
    release: Callable[[], object] = lambda: None


def _hold_changes(count: int) -> _Held:
    return _Held(list(loads.changes(_rows(count))))


def _hold_rows(count: int) -> _Held:
    core = Core()
    core.admit(loads.changes(_rows(count)))
    return _Held(core)


def _hold_handles(count: int) -> _Held:
    async def submit() -> tuple[MarkSession, list[MarkHandle]]:
        session = MarkSession(
            farend.CREDENTIALS,
            base_url="http://127.0.0.1:1",
            transport=Silent(),
            max_pending=10 * count,
        )
        return session, [await session.submit(each) for each in loads.changes(_rows(count))]

    runner = asyncio.Runner()
    session, handles = runner.run(submit())

    def release() -> None:
        with contextlib.suppress(UnsentError):
            runner.run(session.close(0))
        runner.close()

    return _Held(handles, release)


def _peaks(size: _Size) -> Iterator[Figure]:
    peaks: dict[int, int] = {}
    with farend.fast() as far:
        for count in size.peaks:
            peaks[count] = _alone(_peak, far.url, count)
            yield Figure(
                group=GROUP,
                name=f"peak of a job of {count:,} rows",
                value=peaks[count] / _MEBI,
                unit="MiB",
            )
    *_, middle, most = size.peaks
    yield Figure(
        group=GROUP,
        name=f"peak of {most:,} rows over that of {middle:,}",
        value=peaks[most] / peaks[middle],
        goal=1.1,
    )


def _peak(url: str, count: int) -> int:
    async def apply() -> None:
        async with open_session(url) as session:
            report = await session.apply(loads.changes(_rows(count)))
        if report.succeeded != count:
            raise RuntimeError(f"not all went through: {report}")

    asyncio.run(apply())
    return _resident("VmHWM")


def _flags(size: _Size) -> Iterator[Figure]:
    yield Figure(
        group=GROUP,
        name=f"growth over {size.masks:,} different masks, ConversationMark",
        value=_alone(_masks_seen, _read_mark, size.masks) / _MEBI,
        goal=1.0,
        unit="MiB",
    )
    yield Figure(
        group=GROUP,
        name=f"growth over {size.kept_masks:,} different masks, enum.IntFlag",
        value=_alone(_masks_seen, _read_flag, size.kept_masks) / _MEBI,
        unit="MiB",
    )


def _masks_seen(read: Callable[[int], object], count: int) -> int:
    for value in range(100):
        read(value << 32)
    gc.collect()
    before = _resident()
    for value in range(count):
        read(value << 32)
    gc.collect()
    return _resident() - before


def _read_mark(value: int) -> object:
    return ConversationMark.from_wire(f"{value:b}") | ConversationMark.FAVORITE


class PlainFlag(enum.IntFlag):
    """What the standard library offers for the 64 bits."""

    FAVORITE = 1
    UNREAD = 2
    COLLAPSED = 4
    HIDDEN = 8
    EXTENSION_32 = 1 << 32
    EXTENSION_33 = 1 << 33


def _read_flag(value: int) -> object:
    return PlainFlag(value) | PlainFlag.FAVORITE
