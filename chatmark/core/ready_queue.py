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
from collections.abc import Sequence
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
    """Lanes of one urgency and health, by fill level and by age."""

    def __init__(self) -> None:
        self.levels: list[OrderedDict[L, None]] = [OrderedDict() for _ in range(_LEVELS)]
        self.full = self.levels[_FULL]
        self.ages: OrderedDict[L, None] = OrderedDict()

    def oldest(self) -> L:
        return next(iter(self.ages))

    def newest(self) -> L:
        return next(reversed(self.ages))

    def fullest(self) -> L:
        return next(next(iter(level)) for level in reversed(self.levels) if level)


class ReadyQueue(Generic[L]):
    """The lanes that could send now."""

    def __init__(self) -> None:
        # By health.
        self._urgent: list[_Queue[L]] = [_Queue() for _ in Health]
        self._bulk: list[_Queue[L]] = [_Queue() for _ in Health]
        self._turn = 0

    def add(self, lane: L) -> None:
        queue = self._queue(lane)
        queue.levels[lane.level][lane] = None
        queue.ages[lane] = None

    def remove(self, lane: L) -> None:
        """Remove a lane that is in, before its urgency or health changes."""
        queue = self._queue(lane)
        del queue.levels[lane.level][lane]
        del queue.ages[lane]

    def move(self, lane: L, level: int) -> None:
        """Give a lane that is in another level; it keeps its place among the longest-waiting."""
        levels = self._queue(lane).levels
        del levels[lane.level][lane]
        lane.level = level
        levels[level][lane] = None

    def full_count(self) -> int:
        """Return how many bulk lanes fill a request."""
        return sum(len(queue.full) for queue in self._bulk)

    def has_any(self, now: float, *, partial: bool, lowest: int = 0) -> bool:
        """Whether a lane of that health or better may send; *partial* lets bulk lanes not full."""
        if _filled(self._urgent, lowest):
            return True
        bulk = _filled(self._bulk, lowest)
        return bool(bulk) and (partial or _has_full(bulk) or _is_overdue(bulk, now))

    def next_overdue(self) -> float | None:
        """Return when the longest-waiting bulk lane may send although it is not full."""
        bulk = _filled(self._bulk)
        return _oldest(bulk).ready_at + _PATIENCE if bulk else None

    def pick(self, now: float, *, partial: bool, lowest: int = 0) -> L | None:
        """Return the lane whose turn it is, without removing it."""
        self._turn += 1
        urgent, bulk = _filled(self._urgent, lowest), _filled(self._bulk, lowest)
        may_fullest = bool(bulk) and (partial or _has_full(bulk))
        # A lane that waits for too long has every second turn of bulk lanes.
        may_oldest = self._turn % 2 == 1 or not may_fullest
        overdue = bool(bulk) and may_oldest and _is_overdue(bulk, now)
        if urgent and not ((overdue or may_fullest) and self._turn % _TURNS == 0):
            return _oldest(urgent) if self._turn % _TURNS == 1 else _fullest(urgent)
        if overdue:
            return _oldest(bulk)
        return _fullest(bulk) if may_fullest else None

    def newest(self, lowest: int) -> L | None:
        """Return the lane with a single mark that waits for the shortest time."""
        lanes = [queue.newest() for queue in _filled(self._urgent, lowest)]
        return max(lanes, key=_ready_at, default=None)

    def _queue(self, lane: L) -> _Queue[L]:
        return (self._urgent if lane.urgent else self._bulk)[lane.health]


def _filled(queues: Sequence[_Queue[L]], lowest: int = 0) -> list[_Queue[L]]:
    return [queue for queue in queues[lowest:] if queue.ages]


def _has_full(queues: list[_Queue[L]]) -> bool:
    return any(queue.full for queue in queues)


def _is_overdue(queues: list[_Queue[L]], now: float) -> bool:
    return _oldest(queues).ready_at + _PATIENCE <= now


def _oldest(queues: list[_Queue[L]]) -> L:
    return min([queue.oldest() for queue in queues], key=_ready_at)


def _fullest(queues: list[_Queue[L]]) -> L:
    return max([queue.fullest() for queue in queues], key=_fullness)


def _ready_at(lane: Ready) -> float:
    return lane.ready_at


def _fullness(lane: Ready) -> tuple[int, float]:
    return lane.level, -lane.ready_at
