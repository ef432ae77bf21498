from collections import Counter

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmark.core.concurrency import Health
from chatmark.core.ready_queue import ReadyQueue, level_of


@attrs.define(eq=False)
class Place:
    """What a lane tells about itself."""

    name: str = ""
    level: int = 0
    urgent: bool = False
    ready_at: float = 0.0
    health: int = Health.UNKNOWN


def schedule_of(*places: Place) -> ReadyQueue[Place]:
    """Return a schedule that holds these."""
    schedule: ReadyQueue[Place] = ReadyQueue()
    for place in places:
        schedule.add(place)
    return schedule


class TestLevelOf:
    """Fill levels."""

    @pytest.mark.parametrize(
        ("size", "level"),
        [(1, 0), (2, 1), (3, 1), (4, 2), (7, 2), (8, 3), (63, 5), (64, 6), (99, 6), (100, 7)],
    )
    def test_of_a_hundred(self, size: int, level: int) -> None:
        """Each level begins at a power of two; the last is for full lanes."""
        assert level == level_of(size, 100)

    @pytest.mark.parametrize(("size", "level"), [(1, 0), (2, 7), (3, 7)])
    def test_of_smaller_requests(self, size: int, level: int) -> None:
        """A lane is full when it fills a request of its own limit."""
        assert level == level_of(size, 2)

    def test_of_larger_requests(self) -> None:
        """However many items a lane has, only what fills a request is on the last level."""
        assert [6, 6, 7] == [level_of(size, 300) for size in (128, 299, 300)]

    @given(st.integers(1, 500), st.integers(1, 500))
    def test_range(self, size: int, limit: int) -> None:
        """Levels are 0 to 7, and 7 is for full lanes alone."""
        level = level_of(size, limit)

        assert level in range(8)
        assert (size >= limit) == (level == 7)

    @given(st.integers(1, 500), st.integers(1, 100))
    def test_order(self, size: int, limit: int) -> None:
        """A fuller lane is on no lower level."""
        assert level_of(size, limit) <= level_of(size + 1, limit)


class TestHasAny:
    """Whether a lane may send."""

    def test_empty(self) -> None:
        """Nobody may when nobody is there."""
        schedule = schedule_of()

        assert not schedule.has_any(1000.0, partial=True)
        assert schedule.pick(1000.0, partial=True) is None
        assert schedule.next_overdue() is None

    def test_single_mark(self) -> None:
        """A lane with a caller who waits may always."""
        assert schedule_of(Place(urgent=True)).has_any(0.0, partial=False)

    def test_partial_lane(self) -> None:
        """A bulk lane that is not full may when partial requests may."""
        schedule = schedule_of(Place(level=6))

        assert not schedule.has_any(0.0, partial=False)
        assert schedule.pick(0.0, partial=False) is None
        assert schedule.has_any(0.0, partial=True)

    def test_full_lane(self) -> None:
        """A full one may always."""
        assert schedule_of(Place(), Place(level=7)).has_any(0.0, partial=False)

    def test_patience(self) -> None:
        """Any bulk lane may after five seconds, and the schedule says when that is."""
        schedule = schedule_of(Place(ready_at=1.0), Place(ready_at=2.0))

        assert 6.0 == schedule.next_overdue()
        assert not schedule.has_any(5.9375, partial=False)
        assert schedule.has_any(6.0, partial=False)

    def test_removed(self) -> None:
        """One that was removed does not count."""
        place = Place(urgent=True)
        schedule = schedule_of(place)
        schedule.remove(place)

        assert not schedule.has_any(1000.0, partial=True)


class TestPick:
    """Whose turn it is."""

    def test_is_not_removed(self) -> None:
        """Picking changes nothing but the turn."""
        place = Place(urgent=True)
        schedule = schedule_of(place)

        assert [place] * 9 == [schedule.pick(0.0, partial=True) for _ in range(9)]

    def test_fullest(self) -> None:
        """Of bulk lanes the fullest goes; among equals the first that came."""
        places = [Place("a", 3), Place("b", 5), Place("c", 5), Place("d", 1)]
        schedule = schedule_of(*places)
        order = []
        while (place := schedule.pick(0.0, partial=True)) is not None:
            order.append(place.name)
            schedule.remove(place)

        assert ["b", "c", "a", "d"] == order

    def test_oldest_gets_turns(self) -> None:
        """Of lanes with callers every fourth turn is the longest-waiting one's."""
        schedule = schedule_of(Place("old", 0, urgent=True), Place("full", 7, urgent=True))
        turns = Counter(getattr(schedule.pick(0.0, partial=True), "name", "") for _ in range(100))

        assert {"old": 25, "full": 75} == turns

    def test_bulk_gets_turns(self) -> None:
        """Every fourth turn is a bulk lane's."""
        schedule = schedule_of(Place("bulk"), Place("urgent", urgent=True))
        turns = Counter(getattr(schedule.pick(0.0, partial=True), "name", "") for _ in range(100))

        assert {"bulk": 25, "urgent": 75} == turns

    def test_four_turns(self) -> None:
        """Of four turns the first is the longest-waiting caller's, the last a bulk lane's."""
        schedule = schedule_of(
            Place("old", 0, urgent=True), Place("full", 7, urgent=True), Place("bulk")
        )
        turns = [getattr(schedule.pick(0.0, partial=True), "name", "") for _ in range(8)]

        assert ["old", "full", "full", "bulk"] * 2 == turns

    def test_bulk_that_waits_gets_none(self) -> None:
        """A bulk lane that waits for more rows leaves its turns to the others."""
        schedule = schedule_of(Place("bulk"), Place("urgent", urgent=True))
        turns = Counter(getattr(schedule.pick(0.0, partial=False), "name", "") for _ in range(100))

        assert {"urgent": 100} == turns

    @pytest.mark.parametrize("partial", [False, True])
    def test_overdue_shares_with_the_fullest(self, partial: bool) -> None:
        """A bulk lane whose patience is over and the fullest one take turns."""
        schedule = schedule_of(Place("old", 0), Place("full", 7, ready_at=5.0))
        turns = Counter(
            getattr(schedule.pick(5.0, partial=partial), "name", "") for _ in range(100)
        )

        assert {"old": 50, "full": 50} == turns

    def test_overdue_alone(self) -> None:
        """When nobody else may send, every turn is its."""
        schedule = schedule_of(Place("old", 0), Place("young", 6, ready_at=4.0))
        turns = Counter(getattr(schedule.pick(5.0, partial=False), "name", "") for _ in range(10))

        assert {"old": 10} == turns


class TestMove:
    """A lane that gains or loses items while it waits."""

    def test_level(self) -> None:
        """It counts for its new level."""
        place, other = Place("grown", 0), Place("other", 3)
        schedule = schedule_of(place, other)
        schedule.move(place, 5)

        assert place is schedule.pick(0.0, partial=True)
        assert 5 == place.level

    def test_age(self) -> None:
        """It keeps its place among the longest-waiting."""
        place, other = Place("grown", 0, ready_at=1.0), Place("other", 0, ready_at=2.0)
        schedule = schedule_of(place, other)
        schedule.move(place, 5)

        assert 6.0 == schedule.next_overdue()

    def test_full(self) -> None:
        """When it becomes full it need not wait for more."""
        place = Place(level=6)
        schedule = schedule_of(place)
        schedule.move(place, 7)

        assert schedule.has_any(0.0, partial=False)

    def test_remove(self) -> None:
        """It can be removed from its new level."""
        place = Place(urgent=True)
        schedule = schedule_of(place)
        schedule.move(place, 4)
        schedule.remove(place)

        assert schedule.pick(1000.0, partial=True) is None
