"""
Marks a second through the whole session: merged, sent, answered, matched, settled.

A hundred items a request, 16 requests in flight, no pace. The floors run in the same process, in
turns with the session, against the same far end.
"""

import asyncio
import importlib.util
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import aiohttp
import attrs

from benchmarks import farend, floors, loads, stages
from benchmarks.figures import Figure
from benchmarks.measure import Side, Times, in_turns, ratio
from chatmark import Conversation, ConversationMark, MarkChange, MarkSession

GROUP: Final = "throughput"
_CONVERSATIONS: Final = 200


@attrs.frozen
class _Size:
    rounds: int
    users: int
    file_rounds: int
    file_users: int


_FULL: Final = _Size(rounds=30, users=100, file_rounds=3, file_users=1500)
_QUICK: Final = _Size(rounds=2, users=4, file_rounds=1, file_users=5)


def run(*, quick: bool) -> Iterator[Figure]:
    """Yield the figures of this group."""
    size = _QUICK if quick else _FULL
    with farend.fast() as far:
        yield from asyncio.run(_sessions(far, size))
        yield from _stages(quick=quick)
        for name, suffix, write in (
            ("JSON Lines", "jsonl", _write_json_lines),
            ("Parquet", "parquet", _write_parquet),
        ):
            yield _apply(far, size, name, suffix, write)


async def _sessions(far: farend.FarEnd, size: _Size) -> list[Figure]:
    rows = list(loads.rows(size.users, _CONVERSATIONS))
    ready = list(loads.changes(rows))
    bodies = loads.bodies(rows)
    count = len(bodies)
    groups = [
        (user, [Conversation.one_to_one(peer) for _, peer, *_ in some])
        for user, some in loads.requests(rows)
    ]
    url = floors.raw_url(far.signed_url)
    async with aiohttp.ClientSession() as http, open_session(far.url) as session:
        # What is fast runs longer, so that all meet the same noise.
        sides = {
            "raw": Side(4 * count, lambda: floors.send_raw(http, url, 4 * bodies)),
            "hand": Side(2 * count, lambda: floors.send_by_hand(http, str(url), 2 * rows)),
            "beforehand": Side(count, lambda: send(session, ready, count)),
            "on the way": Side(count, lambda: send(session, loads.changes(rows), count)),
            "many": Side(count, lambda: _send_many(session, groups)),
        }
        before, started = far.totals(), time.perf_counter()
        times = await in_turns(sides, size.rounds)
        busy = (far.totals().cpu - before.cpu) / (time.perf_counter() - started)
    return list(_compare(times, busy))


def open_session(url: str) -> MarkSession:
    """Return a session as all benchmarks of speed use it."""
    return MarkSession(
        farend.CREDENTIALS,
        base_url=url,
        calls_per_second=None,
        max_in_flight=floors.IN_FLIGHT,
    )


async def send(session: MarkSession, source: Iterable[MarkChange], fewest: int) -> None:
    """Apply changes that all take effect, in the fewest calls."""
    report = await session.apply(source)
    if report.failed or report.calls != fewest:
        raise RuntimeError(f"this is no throughput: {report}")


async def _send_many(session: MarkSession, groups: list[tuple[str, list[Conversation]]]) -> None:
    source = iter(groups)

    async def work() -> None:
        for user, conversations in source:
            report = await session.mark_many(
                user, conversations, set_mark=ConversationMark.FAVORITE, custom_mark="call back"
            )
            report.raise_for_failures()

    await asyncio.gather(*(work() for _ in range(floors.IN_FLIGHT)))


def _compare(times: dict[str, Times], busy: float) -> Iterator[Figure]:
    raw, hand = times["raw"], times["hand"]
    for above, name, below, goal in (
        (raw, "session over raw aiohttp, changes made beforehand", times["beforehand"], 0.5),
        (raw, "session over raw aiohttp, changes made on the way", times["on the way"], 0.35),
        (hand, "session over the hand-written loop, on the way", times["on the way"], 1.5),
        (raw, "mark_many of a hundred over raw aiohttp", times["many"], 0.6),
        (hand, "mark_many of a hundred over the hand-written loop", times["many"], 2.0),
        (raw, "hand-written loop over raw aiohttp", hand, None),
    ):
        spread = above.over(below)
        yield Figure(
            group=GROUP,
            name=name,
            value=spread.median,
            spread=spread,
            goal=goal,
            at_least=True,
            note=f"{below.work:.0f} us of work a request over {above.work:.0f}; "
            f"{above.longer_than(below):.2g} by the clock",
        )
    marks = loads.ITEMS / statistics.median(times["beforehand"].wall)
    yield Figure(group=GROUP, name="session, changes made beforehand", value=marks, unit="marks/s")
    yield Figure(group=GROUP, name="share of its time that the far end works", value=busy)


def _stages(*, quick: bool) -> Iterator[Figure]:
    for name, spread in stages.measure(rounds=3 if quick else 300).items():
        yield Figure(
            group=GROUP,
            name=f"stage: {name}",
            unit="us/request",
            value=spread.median,
            spread=spread,
        )


def _apply(
    far: farend.FarEnd,
    size: _Size,
    name: str,
    suffix: str,
    write: Callable[[pathlib.Path, int], str | None],
) -> Figure:
    """Compare `chatmark apply` of a file, the start of the process included, with raw aiohttp."""
    figure = Figure(group=GROUP, name=f"chatmark apply over raw aiohttp, from {name}", value=None)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, f"marks.{suffix}")
        reason = write(path, size.file_users)
        if reason is not None:
            return attrs.evolve(figure, note=reason)
        raw: list[float] = []
        applied: list[float] = []
        for _ in range(size.file_rounds):
            raw.append(asyncio.run(_raw_alone(far, size.file_users)))
            started = time.perf_counter()
            done = _run_apply(far, path)
            applied.append(time.perf_counter() - started)
            if done.returncode:
                last = done.stderr.strip().splitlines()[-1:]
                return attrs.evolve(figure, note=f"status {done.returncode}: {''.join(last)}")
    changes = size.file_users * _CONVERSATIONS
    speed = changes / statistics.median(applied)
    spread = ratio(raw, applied)
    return attrs.evolve(
        figure,
        note=f"{speed:,.0f} marks/s of {changes:,}, checked first; start included",
        value=spread.median,
        spread=spread,
    )


def _run_apply(far: farend.FarEnd, path: pathlib.Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "chatmark", "apply", str(path)]
    return subprocess.run(
        [*command, "--base-url", far.url, "--rate", "0", "--quiet"],
        env=os.environ | farend.ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )


async def _raw_alone(far: farend.FarEnd, users: int) -> float:
    bodies = loads.bodies(loads.rows(users, _CONVERSATIONS))
    async with aiohttp.ClientSession() as http:
        started = time.perf_counter()
        await floors.send_raw(http, floors.raw_url(far.signed_url), bodies)
        return time.perf_counter() - started


def _write_json_lines(path: pathlib.Path, users: int) -> str | None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(loads.json_lines(loads.rows(users, _CONVERSATIONS)))
    return None


def _write_parquet(path: pathlib.Path, users: int) -> str | None:
    if importlib.util.find_spec("pyarrow") is None:
        return "needs pyarrow"
    loads.write_parquet(path, loads.rows(users, _CONVERSATIONS))
    return None
