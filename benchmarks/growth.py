"""
Time per change as more is pending, and as more users have something pending: flat.

The core is measured without a loop: its whole work for one change, from admission to outcome, on
top of so many others. Then the admission of a session. Sizes are measured in turns.

Two costs are the machine's. What is pending is spread over more memory than any cache has. And
Python's garbage collector goes through all of it now and then: it counts while the lanes are
filled, and is hardly seen by the medians.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import attrs

from benchmarks import farend, loads
from benchmarks.core import Core, answer_to
from benchmarks.figures import Figure
from benchmarks.measure import in_turns_sync, ratio
from benchmarks.silent import Silent
from chatmark import MarkChange, MarkSession
from chatmark.failures import UnsentError

GROUP: Final = "growth"
_GOAL: Final = 1.2


@attrs.frozen
class _Size:
    rounds: int
    pending: tuple[int, ...]
    users: int
    lanes: tuple[int, ...]
    lanes_pending: int


_FULL: Final = _Size(
    rounds=60,
    pending=(1_000, 10_000, 100_000, 1_000_000),
    users=100,
    lanes=(1, 100, 10_000, 100_000),
    lanes_pending=100_000,
)
_QUICK: Final = _Size(2, (100, 1_000), 10, (1, 10), 1_000)


def run(*, quick: bool) -> Iterator[Figure]:
    """Yield the figures of this group."""
    size = _QUICK if quick else _FULL
    yield from _core_by_pending(size)
    yield from _core_by_lanes(size)
    yield from asyncio.run(_admission(size))


class _Filled:
    """A core with so many changes pending, evenly over its users."""

    def __init__(self, users: int, pending: int) -> None:
        self.core = Core()
        self._users = users
        self._next = pending // users
        self._turn = 0
        waiting = loads.rows(users, pending // users, interleaved=True)
        changes = list(loads.changes(waiting))
        started = time.perf_counter()
        self.core.admit(changes)
        self.filling = (time.perf_counter() - started) / len(changes)

    def cycle(self) -> float:
        """Take a hundred changes more through the core, and return the seconds for one."""
        user = f"user_{self._turn % self._users:06}"
        rows = [
            (user, f"customer_{self._next + number:06}", "star", None)
            for number in range(loads.ITEMS)
        ]
        self._turn += 1
        self._next += loads.ITEMS if self._turn % self._users == 0 else 0
        changes = list(loads.changes(rows))
        started = time.perf_counter()
        self.core.admit(changes)
        batch = self.core.take()
        taken = time.perf_counter()
        answer = answer_to(self.core.encode(batch))
        answered = time.perf_counter()
        self.core.settle(batch, answer)
        spent = taken - started + time.perf_counter() - answered
        return spent / loads.ITEMS


def _core_by_pending(size: _Size) -> Iterator[Figure]:
    filled = {count: _Filled(size.users, count) for count in size.pending}
    times = in_turns_sync({str(count): each.cycle for count, each in filled.items()}, size.rounds)
    yield _flat("core, with {} pending over {}", size.pending, times)
    small, large = filled[size.pending[0]], filled[size.pending[-1]]
    yield Figure(
        group=GROUP,
        name=f"core, filling up to {size.pending[-1]:,} over {size.pending[0]:,}",
        value=large.filling / small.filling,
        note=f"{large.filling * 1e6:.2f} us a change, garbage collector included",
    )


def _core_by_lanes(size: _Size) -> Iterator[Figure]:
    filled = {count: _Filled(count, size.lanes_pending) for count in size.lanes}
    times = in_turns_sync({str(count): each.cycle for count, each in filled.items()}, size.rounds)
    yield _flat("core, with {} lanes over {}", size.lanes, times)


def _flat(name: str, sizes: Sequence[int], times: dict[str, list[float]]) -> Figure:
    """Compare the largest of the sizes with the smallest."""
    spread = ratio(times[str(sizes[-1])], times[str(sizes[0])])
    each = ", ".join(
        f"{size:,}: {sorted(times[str(size)])[len(times[str(size)]) // 2] * 1e6:.2f}"
        for size in sizes
    )
    return Figure(
        group=GROUP,
        name=name.format(f"{sizes[-1]:,}", f"{sizes[0]:,}"),
        goal=_GOAL,
        note=f"us a change with {each}",
        value=spread.median,
        spread=spread,
    )


async def _admission(size: _Size) -> list[Figure]:
    sessions: dict[str, MarkSession] = {}
    submits: dict[str, Callable[[], float]] = {}
    for count in size.pending:
        session = MarkSession(
            farend.CREDENTIALS,
            base_url="http://127.0.0.1:1",
            transport=Silent(),
            max_pending=10 * size.pending[-1],
        )
        for change in loads.changes(loads.rows(size.users, count // size.users)):
            await session.submit(change)
        sessions[str(count)] = session
        submits[str(count)] = _Submits(session, size.users, count // size.users)
    times = in_turns_sync(submits, size.rounds)
    for session in sessions.values():
        with contextlib.suppress(UnsentError):
            await session.close(0)
    return [_flat("submit, with {} pending over {}", size.pending, times)]


class _Submits:
    """Submits further changes to a session, and tells the seconds for one."""

    def __init__(self, session: MarkSession, users: int, conversations: int) -> None:
        self._session = session
        self._users = users
        self._next = conversations

    def __call__(self) -> float:
        rows = [
            (f"user_{number % self._users:06}", f"customer_{self._next + number:06}", "star", None)
            for number in range(loads.ITEMS)
        ]
        self._next += len(rows)
        changes = list(loads.changes(rows))
        started = time.perf_counter()
        for change in changes:
            _step(self._session, change)
        return (time.perf_counter() - started) / len(changes)


def _step(session: MarkSession, change: MarkChange) -> None:
    """Submit a change without giving the loop a turn: there is room, so that nothing waits."""
    try:
        session.submit(change).send(None)
    except StopIteration:
        return
    raise RuntimeError("the session is full")
