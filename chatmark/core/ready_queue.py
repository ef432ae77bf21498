"""
Which of the lanes that could send goes next.

The fullest goes first, because calls are scarce; every few turns the longest-waiting one does, so
that none starves. Lanes with a caller who waits for a single mark go before those that only hold a
bulk job's rows, but never take all the turns. A bulk lane that is not full waits for more rows
while its job still reads, though not for ever. Lanes are kept apart by the health of their account,
so that only those of good health may be asked for.

All operations take the same time for ten lanes as for a hundred thousand.
"""

from collections import OrderedDict
from typing import Final, Generic, Protocol, TypeVar

from chatmark.core.concurrency import Health

# Fill levels: 1, 2 to 3, 4 to 7, ... , full.
_LEVELS: Final = 8
_FULL: Final = _LEVELS - 1
# One turn in so many goes to the longest-waiting lane, and one to bulk lanes while single marks
# wait.
_TURNS: Final = 4
# Seconds that a bulk lane waits for more rows, however slowly they come.
_PATIENCE: Final = 5.0


class Ready(Protocol):
    """The facts about a lane that decide on its place."""

    level: int
    urgent: bool
    health: int
    ready_at: float


L = TypeVar("L", bound=Ready)


def level_of(size: int, limit: int) -> int:
    """Return the fill level of a lane with *size* items when a request takes *limit*."""
    return _FULL if size >= limit else min(size.bit_length(), _FULL) - 1


class _Queue(Generic[L]):
    """Lanes of one health by fill level and by age."""

    def __init__(self) -> None:
        self.levels: list[OrderedDict[L, None]] = [OrderedDict() for _ in range(_LEVELS)]
        self.ages: OrderedDict[L, None] = OrderedDict()

    def oldest(self) -> L:
        return next(iter(self.ages))

    def fullest(self) -> L:
        return next(next(iter(level)) for level in reversed(self.levels) if level)


class _Queues(Generic[L]):
    """Lanes by health."""

    def __init__(self) -> None:
        self._by_health: list[_Queue[L]] = [_Queue() for _ in Health]
        self._count = 0
        # How many of them fill a request.
        self.full_count = 0

    def add(self, lane: L) -> None:
        self._count += 1
        self.full_count += lane.level == _FULL
        queue = self._by_health[lane.health]
        queue.levels[lane.level][lane] = None
        queue.ages[lane] = None

    def remove(self, lane: L) -> None:
        self._count -= 1
        self.full_count -= lane.level == _FULL
        queue = self._by_health[lane.health]
        del queue.levels[lane.level][lane]
        del queue.ages[lane]

    def move(self, lane: L, level: int) -> None:
        levels = self._by_health[lane.health].levels
        del levels[lane.level][lane]
        self.full_count += (level == _FULL) - (lane.level == _FULL)
        lane.level = level
        levels[level][lane] = None

    def has_any(self, lowest: int) -> bool:
        # Asked for each request, mostly of all.
        return self._count > 0 and (
            not lowest or any(queue.ages for queue in self._by_health[lowest:])
        )

    def newest(self, lowest: int) -> L:
        return max((next(reversed(each.ages)) for each in self._filled(lowest)), key=_ready_at)

    def oldest(self, lowest: int) -> L:
        return min((each.oldest() for each in self._filled(lowest)), key=_ready_at)

    def fullest(self, lowest: int) -> L:
        return max((each.fullest() for each in self._filled(lowest)), key=_fullness)

    def has_full(self, lowest: int) -> bool:
        return self.full_count > 0 and any(each.levels[_FULL] for each in self._filled(lowest))

    def _filled(self, lowest: int) -> list[_Queue[L]]:
        return [queue for queue in self._by_health[lowest:] if queue.ages]


class ReadyQueue(Generic[L]):
    """The lanes that could send now."""

    def __init__(self) -> None:
        self._urgent = _Queues[L]()
        self._bulk = _Queues[L]()
        self._turn = 0

    def _queues(self, lane: L) -> _Queues[L]:
        return self._urgent if lane.urgent else self._bulk

    def add(self, lane: L) -> None:
        self._queues(lane).add(lane)

    def remove(self, lane: L) -> None:
        """Remove a lane that is in, before its urgency or health changes."""
        self._queues(lane).remove(lane)

    def move(self, lane: L, level: int) -> None:
        """Give a lane that is in another level; it keeps its place among the longest-waiting."""
        self._queues(lane).move(lane, level)

    def has_any(self, now: float, *, partial: bool, lowest: int = 0) -> bool:
        """Whether a lane of that health or better may send; *partial* lets bulk lanes not full."""
        return self._urgent.has_any(lowest) or self._bulk_may(now, lowest, partial=partial)

    @property
    def full(self) -> int:
        """How many bulk lanes fill a request."""
        return self._bulk.full_count

    def next_overdue(self) -> float | None:
        """Return when the longest-waiting bulk lane may send although it is not full."""
        return self._bulk.oldest(0).ready_at + _PATIENCE if self._bulk.has_any(0) else None

    def pick(self, now: float, *, partial: bool, lowest: int = 0) -> L | None:
        """Return the lane whose turn it is, without removing it."""
        self._turn += 1
        bulk_may = self._bulk_may(now, lowest, partial=partial)
        if self._urgent.has_any(lowest) and not (bulk_may and self._turn % _TURNS == 0):
            if self._turn % _TURNS == 1:
                return self._urgent.oldest(lowest)
            return self._urgent.fullest(lowest)
        if not bulk_may:
            return None
        overdue = self._overdue(now, lowest)
        if overdue and (self._turn % 2 or not (partial or self._bulk.has_full(lowest))):
            return self._bulk.oldest(lowest)
        return self._bulk.fullest(lowest)

    def newest(self, lowest: int) -> L | None:
        """Return the lane with a single mark that waits for the shortest time."""
        return self._urgent.newest(lowest) if self._urgent.has_any(lowest) else None

    def _bulk_may(self, now: float, lowest: int, *, partial: bool) -> bool:
        if not self._bulk.has_any(lowest):
            return False
        return partial or self._bulk.has_full(lowest) or self._overdue(now, lowest)

    def _overdue(self, now: float, lowest: int) -> bool:
        return self._bulk.oldest(lowest).ready_at + _PATIENCE <= now


def _ready_at(lane: Ready) -> float:
    return lane.ready_at


def _fullness(lane: Ready) -> tuple[int, float]:
    return lane.level, -lane.ready_at
