"""
Which of the lanes that could send goes next.

The fullest goes first, because calls are scarce; every few turns the longest-waiting one does, so
that none starves. Lanes with a caller who waits for a single mark go before those that only hold a
bulk job's rows, but never take all the turns. A bulk lane that is not full waits for more rows
while its job still reads, though not for ever.

All operations take the same time for ten lanes as for a hundred thousand.
"""

from collections import OrderedDict
from typing import Final, Generic, Protocol, TypeVar

# Fill levels: 1, 2 to 3, 4 to 7, ... , full.
_LEVELS: Final = 8
# One turn in so many goes to the longest-waiting lane, and one to bulk lanes while single marks
# wait.
_TURNS: Final = 4
# Seconds that a bulk lane waits for more rows, however slowly they come.
_PATIENCE: Final = 5.0


class Ready(Protocol):
    """
    What a lane tells about itself.
    """

    level: int
    urgent: bool
    ready_at: float


L = TypeVar("L", bound=Ready)


def level_of(size: int, limit: int) -> int:
    """
    Return the fill level of a lane with *size* items when a request takes *limit*.
    """
    return _LEVELS - 1 if size >= limit else min(size.bit_length(), _LEVELS - 1) - 1


class _Queue(Generic[L]):
    """
    Lanes by fill level and by age.
    """

    def __init__(self) -> None:
        self.levels: list[OrderedDict[L, None]] = [OrderedDict() for _ in range(_LEVELS)]
        self.ages: OrderedDict[L, None] = OrderedDict()

    def add(self, lane: L) -> None:
        self.levels[lane.level][lane] = None
        self.ages[lane] = None

    def remove(self, lane: L) -> None:
        del self.levels[lane.level][lane]
        del self.ages[lane]

    def oldest(self) -> L:
        return next(iter(self.ages))

    def fullest(self) -> L:
        return next(next(iter(level)) for level in reversed(self.levels) if level)

    def has_full(self) -> bool:
        return bool(self.levels[-1])


class Schedule(Generic[L]):
    """
    The lanes that could send now.
    """

    def __init__(self) -> None:
        self._urgent = _Queue[L]()
        self._bulk = _Queue[L]()
        self._turn = 0

    def _queue(self, lane: L) -> _Queue[L]:
        return self._urgent if lane.urgent else self._bulk

    def add(self, lane: L) -> None:
        """
        Add a lane that is not in.
        """
        self._queue(lane).add(lane)

    def remove(self, lane: L) -> None:
        """
        Remove a lane that is in, before its urgency changes.
        """
        self._queue(lane).remove(lane)

    def move(self, lane: L, level: int) -> None:
        """
        Give a lane that is in another level; it keeps its place among the longest-waiting.
        """
        levels = self._queue(lane).levels
        del levels[lane.level][lane]
        lane.level = level
        levels[level][lane] = None

    def has_any(self, now: float, *, partial: bool) -> bool:
        """
        Whether a lane may send; *partial* lets bulk lanes that are not full.
        """
        return bool(self._urgent.ages) or self._bulk_may(now, partial=partial)

    @property
    def full(self) -> int:
        """
        How many bulk lanes fill a request.
        """
        return len(self._bulk.levels[-1])

    def next_overdue(self) -> float | None:
        """
        Return when the longest-waiting bulk lane may send although it is not full.
        """
        return self._bulk.oldest().ready_at + _PATIENCE if self._bulk.ages else None

    def pick(self, now: float, *, partial: bool) -> L | None:
        """
        Return the lane whose turn it is, without removing it.
        """
        self._turn += 1
        bulk_may = self._bulk_may(now, partial=partial)
        if self._urgent.ages and not (bulk_may and self._turn % _TURNS == 0):
            if self._turn % _TURNS == 1:
                return self._urgent.oldest()
            return self._urgent.fullest()
        if not bulk_may:
            return None
        overdue = self._overdue(now)
        if overdue and (self._turn % 2 or not (partial or self._bulk.has_full())):
            return self._bulk.oldest()
        return self._bulk.fullest()

    def _bulk_may(self, now: float, *, partial: bool) -> bool:
        if not self._bulk.ages:
            return False
        return partial or self._bulk.has_full() or self._overdue(now)

    def _overdue(self, now: float) -> bool:
        return self._bulk.oldest().ready_at + _PATIENCE <= now
