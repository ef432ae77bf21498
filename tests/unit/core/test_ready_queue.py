from collections import Counter

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmark.core.concurrency import Health
from chatmark.core.ready_queue import ReadyQueue, level_of


@attrs.define(eq=False)
class Place:
    """The facts about a lane that decide on its place."""

    name: str = ""
    level: int = 0
    urgent: bool = False
    ready_at: float = 0.0
    health: int = Health.UNKNOWN


def queue_of(*places: Place) -> ReadyQueue[Place]:
    """Return a queue that holds these."""
    queue: ReadyQueue[Place] = ReadyQueue()
    for place in places:
        queue.add(place)
    return queue


def turns_of(
    queue: ReadyQueue[Place], count: int, *, now: float = 0.0, partial: bool = True
) -> list[str]:
    """Return whose the next turns are, empty for nobody's."""
    return [getattr(queue.pick(now, partial=partial), "name", "") for _ in range(count)]


class TestLevelOf:
    @pytest.mark.parametrize(
        ("limit", "levels"),
        [
            (100, {1: 0, 2: 1, 3: 1, 4: 2, 7: 2, 8: 3, 63: 5, 64: 6, 99: 6, 100: 7}),
            (2, {1: 0, 2: 7, 3: 7}),
            (300, {128: 6, 299: 6, 300: 7}),
        ],
    )
    def test_values(self, limit: int, levels: dict[int, int]) -> None:
        """Each level begins at a power of two; the last is for lanes that fill a request."""
        assert levels == {size: level_of(size, limit) for size in levels}

    @given(st.integers(1, 500), st.integers(1, 500))
    def test_order(self, size: int, limit: int) -> None:
        """Levels are 0 to 7, 7 is for full lanes alone, and a fuller lane is on no lower level."""
        level = level_of(size, limit)

        assert level in range(8)
        assert (size >= limit) == (level == 7)
        assert level <= level_of(size + 1, limit)


class TestHasAny:
    def test_empty(self) -> None:
        """No lane may send when none is there, or it was removed."""
        place = Place(urgent=True)
        removed = queue_of(place)
        removed.remove(place)

        for queue in (queue_of(), removed):
            assert not queue.has_any(1000.0, partial=True)
            assert queue.pick(1000.0, partial=True) is None
            assert queue.next_overdue() is None

    @pytest.mark.parametrize(
        ("places", "whole", "partial"),
        [
            ([Place(urgent=True)], True, True),
            ([Place(level=6)], False, True),
            ([Place(), Place(level=7)], True, True),
        ],
        ids=["a caller waits", "not full", "full"],
    )
    def test_lanes(self, places: list[Place], whole: bool, partial: bool) -> None:
        """A bulk lane that is not full may send only when partial requests may."""
        queue = queue_of(*places)

        assert [whole, partial] == [queue.has_any(0.0, partial=each) for each in (False, True)]
        assert whole == (queue.pick(0.0, partial=False) is not None)

    def test_patience(self) -> None:
        """Any bulk lane may after five seconds, and the queue says when that is."""
        queue = queue_of(Place(ready_at=1.0), Place(ready_at=2.0))

        assert 6.0 == queue.next_overdue()
        assert [False, True] == [queue.has_any(now, partial=False) for now in (5.9375, 6.0)]


class TestPick:
    def test_fullest(self) -> None:
        """Of bulk lanes the fullest goes; among equals the first that came."""
        queue = queue_of(Place("a", 3), Place("b", 5), Place("c", 5), Place("d", 1))
        order = []
        while (place := queue.pick(0.0, partial=True)) is not None:
            order.append(place.name)
            queue.remove(place)

        assert ["b", "c", "a", "d"] == order

    def test_four_turns(self) -> None:
        """Of four turns the first is the longest-waiting caller's, the last a bulk lane's."""
        places = [Place("old", 0, urgent=True), Place("full", 7, urgent=True), Place("bulk")]
        queue = queue_of(*places)

        assert ["old", "full", "full", "bulk"] * 2 == turns_of(queue, 8)
        queue.remove(places[2])
        assert ["old", "full", "full", "full"] * 2 == turns_of(queue, 8)

    def test_bulk_that_waits_gets_none(self) -> None:
        """A bulk lane that waits for more rows leaves its turns to the others."""
        queue = queue_of(Place("bulk"), Place("urgent", urgent=True))

        assert ["urgent"] * 9 == turns_of(queue, 9, partial=False)

    @pytest.mark.parametrize("partial", [False, True])
    def test_overdue_shares_with_the_fullest(self, partial: bool) -> None:
        """A bulk lane whose patience is over and the fullest one take turns."""
        queue = queue_of(Place("old", 0), Place("full", 7, ready_at=5.0))
        turns = Counter(turns_of(queue, 100, now=5.0, partial=partial))

        assert {"old": 50, "full": 50} == turns

    def test_overdue_alone(self) -> None:
        """When no other may send, every turn is its."""
        queue = queue_of(Place("old", 0), Place("young", 6, ready_at=4.0))

        assert ["old"] * 9 == turns_of(queue, 9, now=5.0, partial=False)


class TestMove:
    """A lane that gains or loses items while it waits."""

    def test_level(self) -> None:
        """It counts for its new level, and keeps its place among the longest-waiting."""
        place, other = Place("grown", 0, ready_at=1.0), Place("other", 3, ready_at=2.0)
        queue = queue_of(place, other)
        queue.move(place, 5)

        assert (["grown"], 5, 6.0) == (turns_of(queue, 1), place.level, queue.next_overdue())
        queue.remove(place)
        assert ["other"] == turns_of(queue, 1)

    def test_full(self) -> None:
        """When it becomes full it need not wait for more."""
        place = Place(level=6)
        queue = queue_of(place)
        queue.move(place, 7)

        assert queue.has_any(0.0, partial=False)
